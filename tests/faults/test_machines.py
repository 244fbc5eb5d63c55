"""A sweep on several machines, of which one loses its power, one is stopped, and the servers restart.

`MARIO_MACHINES_ROUNDS` repeats the whole.
"""

import hashlib
import json
import logging
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from agents import load_agent
from configs import PROJECT
from episodes import EpisodeStore
from episodes.attempts import attempts
from episodes.promotions import decisions
from episodes.records import finished_phase, quality_results
from episodes.schema import AttemptRecord
from tests.conftest import MARIO, Postgres
from tests.faults.machines import Machine, Servers, environment, wait_until
from tracking import resolve_model
from tracking.client import connect
from tracking.server import free_port

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

LOG = logging.getLogger(__name__)
ROUNDS = int(os.environ.get("MARIO_MACHINES_ROUNDS", "1"))
STEPS, EVERY = 4_096, 256
SEEDS = [1, 2]
CLOCKS = ["id", "experiment_id", "timestamp", "duration_seconds"]


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two tiny presets, with many checkpoints and a short lease, in a folder that all machines have."""
    folder = tmp_path_factory.mktemp("presets")
    values = yaml.safe_load((PROJECT / "tests" / "data" / "tiny.yaml").read_text())
    values["train"] |= {"total_steps": STEPS, "checkpoint_every": EVERY, "device": "cpu", "progress_bar": False}
    values["retry"] |= {"lease_seconds": 10}
    values["evaluate"] |= {"protocols": ["stochastic", "sticky"]}
    values["report"] = {"video": False}
    del values["tracking"]
    paths = []
    for name, rate in (("steady", 2.5e-4), ("hasty", 1e-3)):
        path = folder / f"{name}.yaml"
        agent = values["agent"] | {"learning_rate": rate}
        path.write_text(yaml.safe_dump(values | {"agent": agent}))
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of the team. A run that gives no sign of life is looked for after 65 s instead of 120 s."""
    servers = Servers(tmp_path_factory.mktemp("servers"), free_port(), free_port())
    with servers.running():
        for automation in servers.ask("/automations/filter", {}):
            if automation["trigger"].get("posture") == "Proactive":
                automation["trigger"]["within"] = 65
                kept = {key: automation[key] for key in ("name", "description", "enabled", "trigger", "actions")}
                servers.ask(f"/automations/{automation['id']}", kept, "PUT")
        yield servers


@pytest.fixture
def shared(servers: Servers, postgres: Postgres, s3: str, tmp_path: Path) -> dict[str, str]:
    """The variables of every machine: all that they have in common."""
    return servers.addresses | {"DATABASE_URL": postgres.url, "MARIO_CHECKPOINTS": f"{s3}/{tmp_path.name}"}


@pytest.fixture
def machines(shared: dict[str, str], tmp_path: Path) -> Iterator[dict[str, Machine]]:
    """Three machines that train, and one that runs what need not wait for a training."""
    folder = tmp_path / "machines"
    found = {name: Machine(name, folder, shared) for name in ("first", "second", "third", "light")}
    for each in found.values():
        (folder / each.name).mkdir(parents=True)
    yield found
    for each in found.values():
        if each.process is not None and each.process.poll() is None:
            each.kill()


@pytest.fixture
def store(postgres: Postgres) -> Iterator[EpisodeStore]:
    with EpisodeStore.open(postgres.url, postgres.home) as store:
        yield store


def attempts_of(store: EpisodeStore, sweep: str) -> dict[str, list[AttemptRecord]]:
    """The attempts at each experiment of a sweep."""
    names = [name for name in store.experiments()["name"] if name.startswith(f"{sweep}-")]
    found = {name: attempts(store, store.experiment(name).id) for name in names}
    return {name: tries for name, tries in found.items() if tries}  # none yet: it is being created


def ran_on(attempt: AttemptRecord, machines: dict[str, Machine]) -> str:
    """The name of the machine that ran an attempt."""
    assert attempt.folder is not None
    return next(each.name for each in machines.values() if Path(attempt.folder).is_relative_to(each.home))


def in_training_on(store: EpisodeStore, sweep: str, machines: dict[str, Machine], name: str) -> str | None:
    """The experiment that a machine is training, and that has recorded a good part of its episodes."""
    for experiment, tries in attempts_of(store, sweep).items():
        number = store.experiment(experiment).id
        if ran_on(tries[-1], machines) != name or finished_phase(store, number, "train") is not None:
            continue
        if finished_phase(store, number, "integration") is not None and store.count(number, "train") >= 10:
            return experiment
    return None


def recorded(store: EpisodeStore, servers: Servers, name: str) -> dict[str, Any]:
    """All that is recorded of an experiment, in Postgres and MLflow."""
    stored = store.experiment(name)
    client = connect(servers.addresses["MLFLOW_TRACKING_URI"])
    run = client.get_run(str(stored.record.mlflow_run_id))
    return {
        "experiment": stored,
        "rows": store.episodes(stored.id).to_dict("records"),
        "quality": quality_results(store, stored.id),
        "run": run.to_dictionary(),
        "histories": {metric: client.get_metric_history(run.info.run_id, metric) for metric in run.data.metrics},
        "versions": [each.version for each in client.search_model_versions(f"run_id='{run.info.run_id}'")],
    }


def outcome(store: EpisodeStore, servers: Servers, name: str) -> dict[str, Any]:
    """What a training left: its weights, its rows without their clocks, and its metrics by step."""
    stored = store.experiment(name)
    details = finished_phase(store, stored.id, "train")
    assert details is not None
    uri = servers.addresses["MLFLOW_TRACKING_URI"]
    weights = load_agent(resolve_model(details.details["model_uri"], uri)).model.state_dict()
    client, run_id = connect(uri), str(stored.record.mlflow_run_id)
    metrics = {
        metric: {point.step: point.value for point in client.get_metric_history(run_id, metric)}
        for metric in client.get_run(run_id).data.metrics
        if metric.startswith(("train/", "rollout/", "validate/"))
    }
    return {
        "rows": store.episodes(stored.id, phase="train").drop(columns=CLOCKS),
        "weights": hashlib.sha256(b"".join(weights[key].numpy().tobytes() for key in sorted(weights))).hexdigest(),
        "metrics": metrics,
        "counts": [details.details[key] for key in ("steps", "frames", "episodes", "reward_sum", "validations")],
    }


def start_sweep(file: Path, home: Path, shared: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            [MARIO, "sweep", str(file)], cwd=file.parent, env=environment(home, shared), stdout=output, stderr=output
        )


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_sweep_survives_its_machines(
    number: int,
    servers: Servers,
    shared: dict[str, str],
    machines: dict[str, Machine],
    store: EpisodeStore,
    presets: list[Path],
    tmp_path: Path,
) -> None:
    sweep = f"round{number}"
    file, log, client_home = tmp_path / f"{sweep}.yaml", tmp_path / "sweep.log", tmp_path / "client"
    file.write_text(yaml.safe_dump({"presets": [str(each) for each in presets], "seeds": SEEDS}))
    machines["light"].start("light")
    for name in ("first", "second", "third"):
        machines[name].start("default")

    process = start_sweep(file, client_home, shared, log)
    killed = wait_until(lambda: in_training_on(store, sweep, machines, "first"), 300, "the first machine trains")
    machines["first"].kill()
    before_kill = attempts_of(store, sweep)[killed]
    LOG.info("the first machine lost its power while it trained %s", killed)
    process.kill()
    process.wait()
    process = start_sweep(file, client_home, shared, log)
    wait_until(lambda: log.read_text().count("of them completed before") == 2, 300, "the sweep has begun again")
    stopped = wait_until(lambda: in_training_on(store, sweep, machines, "second"), 300, "the second machine trains")
    machines["second"].stop_between_writes(store)
    LOG.info("the second machine was stopped while it trained %s", stopped)
    servers.stop_prefect()
    servers.start_prefect()
    LOG.info("Prefect's server has restarted")

    def completed(name: str) -> bool:
        return store.experiment(name).record.status == "completed"

    wait_until(lambda: completed(killed) and completed(stopped), 900, "others complete both experiments")
    before = recorded(store, servers, stopped)
    machines["second"].resume()
    over = f"attempt 1 at experiment {stopped} is over, and records nothing more"
    wait_until(lambda: over in machines["second"].log.read_text(), 120, "the second machine says that it was replaced")
    wait_until(lambda: process.poll() is not None, 300, "the sweep ends")
    assert process.returncode == 0, log.read_text()

    # The stopped one has written nothing more, and the killed one was not begun again.
    assert recorded(store, servers, stopped) == before
    tries = attempts_of(store, sweep)
    assert {name: len(each) for name, each in tries.items()} == {name: 1 + (name in (killed, stopped)) for name in tries}
    assert len(tries) == len(presets) * len(SEEDS)
    assert [each.holder for each in tries[killed][:-1]] == [each.holder for each in before_kill]
    assert [ran_on(each, machines) for each in tries[killed]] == ["first", "third"]
    assert [ran_on(each, machines) for each in tries[stopped]] == ["second", "third"]
    resumed = machines["third"].log.read_text()
    assert resumed.count("exactly as without an interruption") == 2, resumed

    worked_on_every_machine_one_after_the_other(store, machines, tries)
    flow_runs = servers.ask("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [f"sweep:{sweep}"]}}})
    assert Counter(run["name"] for run in flow_runs) == {name: len(each) for name, each in tries.items()}
    for name in (killed, stopped):
        compare_with_twin(store, servers, name, twin_of(store, shared, sweep, name, presets, tmp_path))
    assert_one_champion(store, servers, shared, client_home)
    for each in machines.values():
        assert each.opened_homes == {str(each.home)}, f"{each.name} has opened files of another machine, or none"


def worked_on_every_machine_one_after_the_other(
    store: EpisodeStore, machines: dict[str, Machine], tries: dict[str, list[AttemptRecord]]
) -> None:
    """Each machine has run some experiment, and none two at once."""
    spans: dict[str, list[tuple[Any, Any]]] = {}
    for name, each in tries.items():
        ended = store.experiment(name).record.ended
        for attempt in each:
            spans.setdefault(ran_on(attempt, machines), []).append((attempt.started, ended if attempt is each[-1] else None))
    assert sorted(spans) == ["first", "second", "third"]
    for machine, found in spans.items():
        found.sort()
        for (_, ended), (started, _) in pairwise(found):
            assert ended is not None, f"{machine} began a run although another had not ended"
            assert ended <= started, machine


def twin_of(store: EpisodeStore, shared: dict[str, str], sweep: str, name: str, presets: list[Path], folder: Path) -> str:
    """The name of the experiment with the same configuration that nobody has disturbed."""
    twin = name.replace(sweep, "twin", 1)
    if store.find_experiment(twin) is None:
        record = store.experiment(name).record
        (preset,) = (path for path in presets if path.stem == record.config["name"])
        command = [MARIO, "run", str(preset), "--set", f"seed={record.seed}", "--experiment", twin]
        alone = {key: value for key, value in shared.items() if key != "MARIO_CHECKPOINTS" and not key.startswith("PREFECT")}
        done = subprocess.run(
            command, env=environment(folder / "twin", alone), capture_output=True, text=True, check=False, cwd=folder
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return twin


def compare_with_twin(store: EpisodeStore, servers: Servers, name: str, twin: str) -> None:
    """Weights, rows and metrics are equal."""
    mine, other = outcome(store, servers, name), outcome(store, servers, twin)
    pd.testing.assert_frame_equal(mine.pop("rows"), other.pop("rows"))
    assert len(mine["metrics"]["train/loss"]) > 3
    assert mine == other


def assert_one_champion(store: EpisodeStore, servers: Servers, shared: dict[str, str], home: Path) -> None:
    """Two promotions leave one champion, whose evidence is in Postgres."""
    client, model = connect(servers.addresses["MLFLOW_TRACKING_URI"]), "mario-1-1"
    newest = max(int(each.version) for each in client.search_model_versions(f"name='{model}'"))
    for version in (newest - 1, newest):
        done = subprocess.run(
            [MARIO, "promote", model, "--version", str(version), "--episodes", "4"],
            env=environment(home, shared),
            capture_output=True,
            text=True,
            check=False,
            cwd=PROJECT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    champion = client.get_model_version_by_alias(model, "champion")
    made = decisions(store, model)
    (applied,) = [each.version for each in made if each.applied is not None][-1:]
    assert int(champion.version) == applied
    compared = made[-1]
    assert compared.decision in ("promoted", "not shown")
    assert (compared.low, compared.high) == tuple(compared.evidence["total"]["interval"][key] for key in ("low", "high"))
    kept = client.download_artifacts(str(compared.evidence["candidate"]["run_id"]), "promotions")
    document = json.loads(max(Path(kept).glob("*.json"), key=lambda path: int(path.stem)).read_text())
    assert document["total"] == compared.evidence["total"]
    assert document["experiments"] == compared.evidence["experiments"]
