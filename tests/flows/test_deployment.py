"""The deployments: the servers of `mario ui`, its workers and pools, a worker elsewhere, and `prefect deployment run`."""

import base64
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from prefect.plugins import register_hook
from sqlalchemy import create_engine, delete, insert, select

from configs import PROJECT, Settings, preset_names
from episodes.attempts import attempts
from episodes.schema import EPISODES
from flows import prefect_access
from flows.prefect_plugin import full_name
from tasks.experiment import open_store
from tests.servers import MARIO, prefect, running_servers
from tracking import resolve_tracking_uri
from tracking.server import free_port

pytestmark = pytest.mark.one_python

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@dataclass(frozen=True)
class Servers:
    """The servers that `mario ui` has started.

    Attributes:
        api: the URL of Prefect's API.
        mlflow: the address of MLflow's server.
        secret: `USER:PASSWORD` of Prefect's server.
        process: the process of `mario ui`.
        output: its output.
    """

    api: str
    mlflow: str
    secret: str
    process: "subprocess.Popen[str]"
    output: str

    def status(self, path: str, method: str = "GET", **headers: str) -> int:
        """The status code of the response to a request without the secret."""
        request = urllib.request.Request(f"{self.api}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def fetch(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": self.authorization}
        with urllib.request.urlopen(urllib.request.Request(f"{self.api}{path}", data, headers), timeout=20) as answer:
            return json.loads(answer.read())

    @property
    def client(self) -> dict[str, str]:
        """The variables of a client on another machine."""
        return {"PREFECT_API_URL": self.api, "PREFECT_API_AUTH_STRING": self.secret}

    @property
    def authorization(self) -> str:
        return f"Basic {base64.b64encode(self.secret.encode()).decode()}"


@pytest.fixture(scope="module")
def servers(home: Path, pipeline: Any) -> Iterator[Servers]:
    """`mario ui` on free ports, ended by Ctrl-C."""
    with running_servers() as running:
        with urllib.request.urlopen(f"{running.mlflow}/health", timeout=20) as answer:
            assert answer.status == 200
        assert running.secret == (home / "prefect-server" / "secret").read_text().strip()
        yield Servers(f"{running.prefect}/api", running.mlflow, running.secret, running.process, running.output)
    assert not (home / "prefect-server" / "url").exists()


def test_the_short_name_of_the_deployment_runs_it(servers: Servers, pipeline: Any, settings: Settings) -> None:
    """The experiment is completed, so nothing is played: only the way from the command to the flow is tested."""
    with open_store(settings) as store:
        experiment = store.experiment(pipeline.name)
        before = store.count(experiment.id)
    # The proxy does not exist: a request to loopback through it would fail.
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:1")
    experiment_name = f"experiment={pipeline.name}"
    arguments = ["--param", f"preset={TINY}", "--param", experiment_name, "--watch"]
    done = prefect("deployment", "run", "train-mario", *arguments, **proxies)
    assert done.returncode == 0, done.stdout + done.stderr
    with open_store(settings) as store:
        assert store.count(experiment.id) == before
        assert store.experiment(pipeline.name).record.status == "completed"


def test_the_prefect_server_shows_each_phase_with_its_artifacts(servers: Servers, pipeline: Any) -> None:
    run = _newest(servers, "train-mario")
    assert run["state_type"] == "COMPLETED"
    tasks = servers.fetch("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    names = {task["name"].rsplit("-", 1)[0] for task in tasks}
    phases = {"smoke test", "integration run", "full training", "evaluation", "analysis report"}
    assert phases <= names
    assert {"data quality: integration", "data quality: train", "data quality: evaluate"} <= {task["name"] for task in tasks}
    keys = {artifact["key"] for artifact in servers.fetch("/artifacts/filter", {"limit": 200})}
    assert {"smoke-test", "quality-train", "quality-evaluate", "report"} <= keys


def test_a_whole_run_completes_on_the_worker(servers: Servers, settings: Settings) -> None:
    from mlflow import MlflowClient

    done = prefect("deployment", "run", "train-mario/train-mario", "--param", f"preset={TINY}", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    run = _newest(servers, "train-mario")
    tasks = servers.fetch("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    assert len(tasks) == 9
    # The flow run is named like its experiment.
    name = run["name"]
    assert re.fullmatch(r"tiny-1-1-seed\d+-\d{4}-\d{4}-[0-9a-f]{4}", name)
    assert {"preset:tiny", "algorithm:ppo", "level:1-1"} <= set(run["tags"])
    with open_store(settings) as store:
        record = store.experiment(name).record
    assert record.prefect_flow_run_id == run["id"]
    found = servers.fetch("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200})
    artifacts = {artifact["key"]: artifact["data"] for artifact in found}
    assert artifacts["training-progress"] == 100.0
    # The links from Prefect to MLflow and back.
    assert f"/runs/{record.mlflow_run_id})" in artifacts["links"]
    assert f"/runs/{record.mlflow_run_id}/artifacts/report/report.html)" in artifacts["links"]
    tracked = MlflowClient(resolve_tracking_uri(None, settings.home)).get_run(str(record.mlflow_run_id))
    assert tracked.info.run_name == name
    assert tracked.data.tags["prefect_flow_run"].endswith(f"/flow-runs/flow-run/{run['id']}")
    assert {"preset", "algorithm", "level", "seed"} <= set(tracked.data.tags)


def test_a_sweep_that_is_killed_and_started_again_runs_nothing_twice(
    servers: Servers, settings: Settings, mario: Any, tmp_path: Path
) -> None:
    file, name = tmp_path / "killed.yaml", "killed-tiny-1-1-seed3"
    overrides = "[train.total_steps=512, 'evaluate.protocols=[stochastic]', report.video=false, evaluate.model=last]"
    file.write_text(f"presets: ['{TINY}']\nseeds: [3]\noverrides: {overrides}\n")

    def flow_runs() -> list[dict[str, Any]]:
        wanted = {"flow_runs": {"tags": {"all_": ["sweep:killed"]}}}
        return list(servers.fetch("/flow_runs/filter", wanted))

    with (tmp_path / "log").open("w") as log:
        sweep = subprocess.Popen([MARIO, "sweep", str(file)], cwd=PROJECT, stdout=log, stderr=log)
        try:
            _wait_until(lambda: [run["state_type"] for run in flow_runs()] == ["RUNNING"], 200)
        finally:
            sweep.kill()
            sweep.wait()
    for _ in range(2):
        done = mario("sweep", str(file))
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"MLflow: {servers.mlflow}/#/experiments/" in done.stdout, "the port is not the usual one"
    (run,) = flow_runs()
    assert (run["name"], run["state_type"]) == (name, "COMPLETED")
    assert {"preset:tiny", "level:1-1", "seed:3"} <= set(run["tags"])
    with open_store(settings) as store:
        experiment = store.experiment(name)
        assert experiment.record.status == "completed"
        assert len(attempts(store, experiment.id)) == 1


def test_a_sweep_whose_pool_has_no_worker_says_so_once(servers: Servers, tmp_path: Path) -> None:
    log, sweep = tmp_path / "log", f"{{'name': 'unserved', 'presets': [{TINY!r}]}}"
    started = f"from flows.sweep_mario import sweep_mario; sweep_mario({sweep}, deployment='train-mario/gpu', poll_seconds=0.1)"
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "-c", started], cwd=PROJECT, stdout=output, stderr=output)
        try:
            _wait_until(lambda: "mario-gpu has no worker: start one with `mario worker mario-gpu`" in log.read_text(), 100)
        finally:
            process.kill()
            process.wait()
    assert log.read_text().count("has no worker") == 1
    (waiting,) = _flow_runs(servers, "unserved-tiny-1-1-seed0")
    deleted = prefect("--no-prompt", "flow-run", "delete", waiting["id"])  # a worker that a later test starts would take it
    assert deleted.returncode == 0, deleted.stdout + deleted.stderr


def test_the_form_lists_the_presets_and_accepts_a_file(servers: Servers) -> None:
    deployment = servers.fetch("/deployments/name/train-mario/train-mario")
    choice, text = deployment["parameter_openapi_schema"]["properties"]["preset"]["anyOf"]
    assert choice["enum"] == preset_names()
    assert text["type"] == "string"


def test_the_pools_and_deployments_of_the_files_are_there(servers: Servers) -> None:
    """A limit that a person has set stays when the same is deployed again."""
    pools = {pool["name"]: pool["concurrency_limit"] for pool in servers.fetch("/work_pools/filter", {})}
    assert pools["mario"] is None
    assert pools["mario-gpu"] == 1
    deployed = {each["name"]: each for each in servers.fetch("/deployments/filter", {})}
    places = {name: (each["work_pool_name"], each["work_queue_name"]) for name, each in deployed.items() if name != "by-hand"}
    assert places == {
        "train-mario": ("mario", "default"),
        "gpu": ("mario-gpu", "default"),
        "sweep-mario": ("mario", "light"),
        "promote-mario": ("mario", "default"),
        "evaluate-mario": ("mario", "default"),
        "check-mario": ("mario", "light"),
    }
    assert {(*each["pull_steps"], each["path"]) for each in deployed.values()} == {(None,)}, "no path of a machine is stored"
    assert [each["active"] for each in deployed["check-mario"]["schedules"]] == [True]

    assert prefect("work-pool", "set-concurrency-limit", "mario-gpu", "2").returncode == 0
    again = subprocess.run(
        [MARIO, "deploy"],
        cwd=PROJECT,
        env=os.environ | servers.client,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert servers.fetch("/work_pools/mario-gpu")["concurrency_limit"] == 2


def test_the_schedule_of_the_check_plans_flow_runs(servers: Servers) -> None:
    """Prefect's server only logs that it fails to: with SQLAlchemy 2.1, Prefect 3.8 does."""
    planned = {
        "deployments": {"name": {"any_": ["check-mario"]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    _wait_until(lambda: any(run["auto_scheduled"] for run in servers.fetch("/flow_runs/filter", planned)), 120)


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_a_pool_of_containers_can_be_created_from_its_file(servers: Servers, kind: str) -> None:
    file = f"flows/pools/{kind}.json"
    made = prefect("--no-prompt", "work-pool", "create", f"mario-{kind}", "--type", kind, "--base-job-template", file)
    assert made.returncode == 0, made.stdout + made.stderr
    assert servers.fetch(f"/work_pools/mario-{kind}")["base_job_template"] == json.loads((PROJECT / file).read_text())


def test_a_worker_elsewhere_uses_its_own_home_and_stops_with_a_checkpoint(
    servers: Servers, home: Path, settings: Settings, tmp_path: Path
) -> None:
    """As on another machine: another folder, another home, the database and servers by their addresses."""
    folder, other, name = tmp_path / "folder", tmp_path / "home", "elsewhere"
    folder.mkdir()
    with open_store(settings) as store:
        addresses = {"DATABASE_URL": store.url, "MLFLOW_TRACKING_URI": resolve_tracking_uri(None, home)}
    environment = (
        os.environ | servers.client | addresses | {"MARIO_HOME": str(other), "PREFECT_HOME": str(tmp_path / "prefect")}
    )
    log = (tmp_path / "log").open("w")
    worker = subprocess.Popen([MARIO, "worker", "mario-gpu"], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        overrides = 'overrides=["train.total_steps=2000000", "train.checkpoint_every=2000000"]'
        arguments = ["--param", f"preset={TINY}", "--param", f"experiment={name}", "--param", overrides]
        started = prefect("deployment", "run", "train-mario/gpu", *arguments)
        assert started.returncode == 0, started.stdout + started.stderr
        _wait_until(lambda: _trained_episodes(home, name) > 0, 200)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(120) == 0, (tmp_path / "log").read_text()
    finally:
        worker.kill()
        log.close()
    manifests = list((other / "experiments" / name / "checkpoints").glob("step-*/manifest.json"))
    assert len(manifests) == 1
    assert not (home / "experiments" / name).exists()
    assert not list(folder.iterdir())
    with open_store(settings) as store:
        record = store.experiment(name).record
    assert record.status == "interrupted"
    assert servers.fetch(f"/flow_runs/{record.prefect_flow_run_id}")["state_type"] == "CRASHED"


def test_a_run_whose_process_is_killed_is_continued_by_itself(servers: Servers, settings: Settings) -> None:
    """The worker reports the crash, Prefect's automation starts the check, and the check starts a flow run that continues."""
    name, overrides = (
        "killed-process",
        'overrides=["train.total_steps=20480", "evaluate.protocols=[greedy]", "report.video=false"]',
    )
    arguments = ["--param", f"preset={TINY}", "--param", f"experiment={name}", "--param", overrides]
    started = prefect("deployment", "run", "train-mario", *arguments)
    assert started.returncode == 0, started.stdout + started.stderr
    checkpoints = settings.experiment_directory(name) / "checkpoints"
    _wait_until(lambda: any(checkpoints.glob("step-*/manifest.json")), 200)
    (first,) = _flow_runs(servers, name)
    os.kill(int(first["infrastructure_pid"].rpartition(":")[2]), signal.SIGKILL)

    def completed() -> bool:
        with open_store(settings) as store:
            return store.experiment(name).record.status == "completed"

    _wait_until(completed, 280)
    _wait_until(lambda: {run["state_type"] for run in _flow_runs(servers, name)} == {"CRASHED", "COMPLETED"}, 60)
    with open_store(settings) as store:
        assert [each.attempt for each in attempts(store, store.experiment(name).id)] == [1, 2]
    (second,) = (run for run in _flow_runs(servers, name) if run["id"] != first["id"])
    lines = servers.fetch("/logs/filter", {"logs": {"flow_run_id": {"any_": [second["id"]]}}, "limit": 200})
    said = [line["message"] for line in lines]
    assert any("exactly as without an interruption" in message for message in said), "\n".join(said)


def _newest(servers: Servers, flow: str) -> dict[str, Any]:
    """The newest run of a flow, without those that the schedule has planned."""
    states = ["PENDING", "RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "CANCELLING"]
    wanted = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"state": {"type": {"any_": states}}}}
    found = servers.fetch("/flow_runs/filter", wanted | {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})
    return dict(found[0])


def _flow_runs(servers: Servers, name: str) -> list[dict[str, Any]]:
    return list(servers.fetch("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}}))


def test_an_experiment_is_evaluated_afresh(servers: Servers, pipeline: Any, settings: Settings) -> None:
    arguments = ["--param", f"model={pipeline.name}", "--param", "episodes=3", "--param", "experiment=afresh"]
    done = prefect("deployment", "run", "evaluate-mario", *arguments, "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    with open_store(settings) as store:
        evaluated = store.experiment("afresh")
        assert store.count(evaluated.id, "evaluate", "stochastic") == 3
    assert evaluated.record.status == "completed"
    run = servers.fetch(f"/flow_runs/{evaluated.record.prefect_flow_run_id}")
    assert (run["name"], run["state_type"]) == ("afresh", "COMPLETED")


def test_the_check_names_stale_runs_and_broken_rows_until_they_are_mended(
    servers: Servers, pipeline: Any, settings: Settings, mario: Any
) -> None:
    with open_store(settings) as store:
        whole = store.experiment(pipeline.name)
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        record = replace(whole.record, name="stale", status="running", started=hour_ago, ended=None, mlflow_run_id=None)
        store.create_experiment(record)
        engine = create_engine(store.url)
    training = (EPISODES.c.experiment_id == whole.id) & (EPISODES.c.phase == "train")
    with engine.begin() as connection:
        row = dict(connection.execute(select(EPISODES).where(training).limit(1)).one()._mapping)
        row |= {"episode_index": 9999, "time": 777, "frames": 1, "level_completed": True}
        del row["id"]
        bad = connection.execute(insert(EPISODES).values(row).returning(EPISODES.c.id)).scalar_one()
    try:
        assert prefect("deployment", "run", "check-mario", "--watch").returncode == 1
    finally:
        with engine.begin() as connection:
            connection.execute(delete(EPISODES).where(EPISODES.c.id == bad))
        engine.dispose()
    run = _newest(servers, "check-mario")
    assert run["state_type"] == "FAILED"
    message = run["state"]["message"]
    assert "stale is recorded as running" in message
    assert f"{pipeline.name}, train: " in message

    assert mario("experiments", "--mark-crashed", "stale").returncode == 0
    done = prefect("deployment", "run", "check-mario", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr


def test_cancelling_ends_the_training_with_a_checkpoint(servers: Servers, home: Path) -> None:
    experiment = "cancelled"
    arguments = ["--param", f"preset={TINY}", "--param", f"experiment={experiment}"]
    # too many steps to end by itself, and no checkpoint before the end
    overrides = 'overrides=["train.total_steps=2000000", "train.checkpoint_every=2000000"]'
    done = prefect("deployment", "run", "train-mario", *arguments, "--param", overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    _wait_until(lambda: _trained_episodes(home, experiment) > 0, 200)
    run = _newest(servers, "train-mario")
    cancelled = prefect("flow-run", "cancel", run["id"])
    assert cancelled.returncode == 0, cancelled.stderr
    _wait_until(lambda: servers.fetch(f"/flow_runs/{run['id']}")["state_type"] == "CANCELLED", 60)
    checkpoints = home / "experiments" / experiment / "checkpoints"
    (steps,) = (int(path.parent.name.removeprefix("step-")) for path in checkpoints.glob("step-*/manifest.json"))
    assert 0 < steps < 2_000_000


def test_requests_without_the_secret_are_refused(servers: Servers) -> None:
    assert servers.status("/admin/version") == 401
    assert servers.status("/flow_runs/filter", "POST") == 401
    assert servers.status("/admin/version", Authorization=f"Basic {base64.b64encode(b'mario:guessed').decode()}") == 401
    assert servers.status("/admin/version", Authorization=servers.authorization) == 200
    assert servers.status("/health") == 200, "the health check needs no secret"


def test_another_host_name_is_refused_even_with_the_secret(servers: Servers) -> None:
    for path in ("/health", "/admin/version", "/../", "/../ui-settings"):
        assert servers.status(path, Host="rebound.example:4200", Authorization=servers.authorization) == 400, path
    port = urlsplit(servers.api).port
    assert servers.status("/admin/version", Host=f"localhost:{port}", Authorization=servers.authorization) == 200


def test_only_the_servers_own_page_passes_cors(servers: Servers) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    port = urlsplit(servers.api).port
    assert port is not None
    for origin in ("https://evil.example", f"http://127.0.0.1:{port + 1}", "null"):
        assert servers.status("/deployments/", "OPTIONS", Origin=origin, **asks) == 400, origin
    for origin in (f"http://127.0.0.1:{port}", f"http://localhost:{port}"):
        assert servers.status("/deployments/", "OPTIONS", Origin=origin, **asks) == 200, origin


def test_the_page_is_served_and_requires_the_secret(servers: Servers) -> None:
    root = servers.api.removesuffix("/api")
    with urllib.request.urlopen(f"{root}/", timeout=20) as answer:
        assert b"<html" in answer.read().lower()
        policy = answer.headers["Content-Security-Policy"]
    assert {urlsplit(each).hostname for each in policy.split()[2:]} == {"127.0.0.1", "localhost"}
    assert policy.startswith("connect-src 'self' ")
    with urllib.request.urlopen(f"{root}/ui-settings", timeout=20) as answer:
        settings = json.loads(answer.read())
    assert settings["auth"] == "BASIC"
    assert settings["api_url"] == servers.api


def test_only_the_user_can_read_the_secret(servers: Servers, home: Path) -> None:
    password = servers.secret.partition(":")[2]
    assert password not in servers.output, "the output may be a file that others read"
    assert str(home / "prefect-server" / "secret") in servers.output
    processes = psutil.Process(servers.process.pid).children(recursive=True)
    assert len(processes) >= 3
    assert not [line for process in processes for line in process.cmdline() if password in line]
    for path in (home / "prefect-server").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_only_this_homes_server_is_used(servers: Servers, home: Path, tmp_path: Path) -> None:
    found = prefect_access.running_server(home)
    assert found is not None
    assert (found.url, found.auth, found.mlflow) == (servers.api, servers.secret, servers.mlflow)
    assert psutil.Process(found.pid).ppid() == servers.process.pid
    # Another home, whose servers had the same port before.
    prefect_access.server_secret(tmp_path)
    prefect_access.publish_server(tmp_path, servers.api)
    assert prefect_access.running_server(tmp_path) is None


def test_running_servers_of_a_home_are_not_started_again(servers: Servers, mario: Any) -> None:
    done = mario("ui", "--prefect-port", str(free_port()), "--mlflow-port", str(free_port()))
    assert done.returncode == 1
    assert f"run already: Prefect's is at {servers.api.removesuffix('/api')}" in done.stderr


def test_an_error_from_outside_gives_a_message_without_a_traceback(servers: Servers, home: Path, mario: Any) -> None:
    """The failed run is recorded by the servers of its home."""
    done = mario("run", TINY, "--experiment", "no-database", DATABASE_URL="postgresql://mario:hunter2@127.0.0.1:1/mario")
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "No server listens there" in done.stderr
    assert "Traceback" not in output
    (name,) = set(re.findall(r"the traceback is in (\S+)", output))
    kept = Path(name)
    assert kept.parent == home / "logs"
    assert "CheckFailedError" in kept.read_text()
    assert "hunter2" not in kept.read_text() + output
    run = _newest(servers, "train-mario")
    assert run["state_type"] == "FAILED"
    assert run["name"] in output


@pytest.fixture
def pool_by_hand(servers: Servers) -> str:
    """A second work pool with the same deployment, for a worker that is started by hand."""
    name = "by-hand"
    servers.fetch("/work_pools/", {"name": name, "type": "process"})
    deployed = servers.fetch("/deployments/name/train-mario/train-mario")
    same = {key: deployed[key] for key in ("flow_id", "entrypoint", "pull_steps", "parameters", "parameter_openapi_schema")}
    servers.fetch("/deployments/", same | {"name": name, "work_pool_name": name})
    return name


def test_a_worker_started_by_hand_sends_the_projects_log_lines_to_prefect(servers: Servers, pool_by_hand: str) -> None:
    started = prefect("deployment", "run", f"train-mario/{pool_by_hand}", "--param", f"preset={TINY}")
    assert started.returncode == 0, started.stdout + started.stderr
    # The smoke test fails, so nothing is played.
    away = "postgresql://mario:hunter2@127.0.0.1:1/mario"
    worked = prefect("worker", "start", "--pool", pool_by_hand, "--run-once", DATABASE_URL=away)
    assert worked.returncode == 0, worked.stdout + worked.stderr
    run = _newest(servers, "train-mario")
    lines = servers.fetch("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
    assert "tasks.checks" in {line["name"] for line in lines}


def _trained_episodes(home: Path, experiment: str) -> int:
    with open_store(Settings(home, None, None)) as store:
        number = store.find_experiment(experiment)
        return 0 if number is None else store.count(number, "train")


def _wait_until(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.5)


def test_a_name_without_a_slash_is_doubled() -> None:
    assert full_name("train-mario") == "train-mario/train-mario"
    assert full_name("a/b") == "a/b"


def test_the_hook_has_prefects_marker() -> None:
    from flows import prefect_plugin

    assert register_hook.project_name == prefect_plugin.register_hook.project_name


@pytest.mark.parametrize("first", ["flows.prefect_plugin", "flows.servers", "prefect"])
def test_the_plugin_loads_in_any_import_order(first: str) -> None:
    code = (
        f"import {first}, prefect; from prefect.client.orchestration import PrefectClient; "
        "print(hasattr(PrefectClient.read_deployment_by_name, '__wrapped__'))"
    )
    environment = os.environ | {"PREFECT_PLUGINS_ENABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    assert "Failed" not in done.stderr
    assert done.stdout.strip() == "True"
