"""The deployment: servers, a worker, and the command that people type."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.plugins import register_hook

from configs import PROJECT, Settings, preset_names
from flows.prefect_plugin import full_name
from tasks.experiment import open_store
from tracking import resolve_tracking_uri

MARIO = str(Path(sys.executable).with_name("mario"))
PREFECT = str(Path(sys.executable).with_name("prefect"))
TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def servers(home: Path, pipeline: Any) -> Iterator[str]:
    """`mario ui` on ports of its own; yields the URL of Prefect's API. Ctrl-C ends it."""
    prefect, mlflow = free_port(), free_port()
    arguments = [MARIO, "ui", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]
    process = subprocess.Popen(arguments, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        assert lines, "mario ui printed nothing"
        assert lines[-1].startswith("Ctrl-C"), "".join(lines)
        with urllib.request.urlopen(f"http://127.0.0.1:{mlflow}/health", timeout=20) as answer:
            assert answer.status == 200
        yield f"http://127.0.0.1:{prefect}/api"
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    for port in (prefect, mlflow):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, "a server was left running"


def prefect(api: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A `prefect` command as a person types it in the project's folder."""
    environment = os.environ | {"PREFECT_API_URL": api, "PREFECT_PLUGINS_ENABLED": "true"}
    return subprocess.run(
        [PREFECT, *arguments], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.mark.parametrize("name", ["train-mario", "train-mario/train-mario"])
def test_both_names_of_the_deployment_run_it(servers: str, pipeline: Any, settings: Settings, name: str) -> None:
    """The experiment has ended, so that nothing is played again: what is tested is the way there."""
    with open_store(settings) as store:
        experiment = store.experiment(pipeline.name)
        before = store.count(experiment.id)
    done = prefect(
        servers, "deployment", "run", name, "--param", f"preset={TINY}", "--param", f"experiment={pipeline.name}", "--watch"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with open_store(settings) as store:
        assert store.count(experiment.id) == before
        assert store.experiment(pipeline.name).record.status == "completed"


def test_the_prefect_server_shows_each_phase_with_its_artifacts(servers: str, pipeline: Any) -> None:
    runs = fetch(f"{servers}/flow_runs/filter", {"sort": "END_TIME_DESC", "limit": 1})
    assert runs[0]["state_type"] == "COMPLETED"
    tasks = fetch(f"{servers}/task_runs/filter", {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}})
    names = {task["name"].rsplit("-", 1)[0] for task in tasks}
    phases = {"smoke test", "integration run", "full training", "evaluation", "analysis report"}
    assert phases <= names
    assert {"data quality: integration", "data quality: train", "data quality: evaluate"} <= {task["name"] for task in tasks}
    keys = {artifact["key"] for artifact in fetch(f"{servers}/artifacts/filter", {"limit": 200})}
    assert {"smoke-test", "quality-train", "quality-evaluate", "report"} <= keys


def test_a_whole_run_completes_on_the_worker(servers: str, settings: Settings) -> None:
    from mlflow import MlflowClient

    done = prefect(servers, "deployment", "run", "train-mario", "--param", f"preset={TINY}", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    runs = fetch(f"{servers}/flow_runs/filter", {"sort": "END_TIME_DESC", "limit": 1})
    tasks = fetch(f"{servers}/task_runs/filter", {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}})
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    assert len(tasks) == 8
    # Its name says what it is, and is the experiment's.
    name = runs[0]["name"]
    assert re.fullmatch(r"tiny-1-1-seed\d+-\d{4}-\d{4}-[0-9a-f]{4}", name)
    assert {"preset:tiny", "algorithm:ppo", "level:1-1"} <= set(runs[0]["tags"])
    with open_store(settings) as store:
        record = store.experiment(name).record
    assert record.prefect_flow_run_id == runs[0]["id"]
    found = fetch(f"{servers}/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [runs[0]["id"]]}}, "limit": 200})
    artifacts = {artifact["key"]: artifact["data"] for artifact in found}
    assert artifacts["training-progress"] == 100.0
    # From Prefect to MLflow and back.
    assert f"/runs/{record.mlflow_run_id})" in artifacts["links"]
    assert f"/runs/{record.mlflow_run_id}/artifacts/report/report.html)" in artifacts["links"]
    tracked = MlflowClient(resolve_tracking_uri(None, settings.home)).get_run(str(record.mlflow_run_id))
    assert tracked.info.run_name == name
    assert tracked.data.tags["prefect_flow_run"].endswith(f"/flow-runs/flow-run/{runs[0]['id']}")
    assert {"preset", "algorithm", "level", "seed"} <= set(tracked.data.tags)


def test_the_form_offers_the_presets_and_takes_a_file(servers: str) -> None:
    deployment = fetch(f"{servers}/deployments/name/train-mario/train-mario")
    choice, text = deployment["parameter_openapi_schema"]["properties"]["preset"]["anyOf"]
    assert choice["enum"] == preset_names()
    assert text["type"] == "string"


def test_cancelling_ends_the_training_with_a_checkpoint(servers: str, home: Path) -> None:
    experiment = "cancelled"
    arguments = ["--param", f"preset={TINY}", "--param", f"experiment={experiment}"]
    # so many steps that it cannot end by itself, and no checkpoint that is due before
    overrides = 'overrides=["train.total_steps=2000000", "train.checkpoint_every=2000000"]'
    done = prefect(servers, "deployment", "run", "train-mario", *arguments, "--param", overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    _wait_until(lambda: _trained_episodes(home, experiment) > 0, 200)
    run = fetch(f"{servers}/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})[0]
    cancelled = prefect(servers, "flow-run", "cancel", run["id"])
    assert cancelled.returncode == 0, cancelled.stderr
    _wait_until(lambda: fetch(f"{servers}/flow_runs/{run['id']}")["state_type"] == "CANCELLED", 60)
    checkpoints = home / "experiments" / experiment / "checkpoints"
    (steps,) = (int(path.parent.name.removeprefix("step-")) for path in checkpoints.glob("step-*/manifest.json"))
    assert 0 < steps < 2_000_000


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


def test_the_hook_is_what_prefect_registers() -> None:
    from flows import prefect_plugin

    assert register_hook.project_name == prefect_plugin.register_hook.project_name


@pytest.mark.parametrize("first", ["flows.prefect_plugin", "flows.servers", "prefect"])
def test_the_plugin_loads_whatever_is_imported_first(first: str) -> None:
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
