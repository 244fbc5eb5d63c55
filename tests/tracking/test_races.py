"""Runs that write the same row of MLflow's database at the same time."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from tracking import TrackedRun
from tracking.client import after_races, connect
from tracking.delivery import Entry
from tracking.registry import RegisteredVersion, Registry
from tracking.requests import send

pytestmark = pytest.mark.one_python

ROUNDS = 20
RUNS = 4


def at_once(actions: Sequence[Callable[[], object]]) -> None:
    """Do all of these in threads that start together, and raise the first error."""
    together = threading.Barrier(len(actions))
    errors: list[BaseException] = []

    def act(action: Callable[[], object]) -> None:
        together.wait(60)
        try:
            action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=act, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.fixture
def run_ids(uri: str, home: Path) -> list[str]:
    found = []
    for number in range(RUNS):
        with TrackedRun.open(uri, "races", f"run {number}", home=home) as run:
            found.append(run.run_id)
    return found


def test_runs_that_begin_together_name_the_same_dataset(uri: str, run_ids: list[str]) -> None:
    clients = [connect(uri) for _ in run_ids]
    for number in range(ROUNDS):
        name = f"races-{number}"
        entry = Entry("dataset", (("training", f'{{"name": "{name}", "description": {{"number": {number}}}}}'),))
        at_once([partial(send, client, uri, run_id, entry) for client, run_id in zip(clients, run_ids, strict=True)])
        for run_id in run_ids:
            inputs = clients[0].get_run(run_id).inputs
            assert inputs is not None
            assert name in [each.dataset.name for each in inputs.dataset_inputs]


def test_versions_that_are_ready_together_name_the_same_alias(uri: str, run_ids: list[str]) -> None:
    registry, client = Registry(uri), connect(uri)
    client.create_registered_model("races")
    versions = []
    for run_id in run_ids:
        created = client.create_model_version("races", client.get_run(run_id).info.artifact_uri, run_id)
        versions.append(RegisteredVersion("races", int(created.version), run_id, {}))
    for number in range(ROUNDS):
        alias = f"candidate{number}"
        at_once([partial(registry.set_alias, version, alias) for version in versions])
        found = registry.at_alias("races", alias)
        assert found is not None
        assert found.version in [version.version for version in versions]


def test_what_is_no_race_is_not_tried_again() -> None:
    calls = []

    def refuse() -> None:
        calls.append(1)
        raise MlflowException("no such column", error_code=BAD_REQUEST)

    with pytest.raises(MlflowException, match="no such column"):
        after_races(refuse)
    assert len(calls) == 1


def test_a_race_that_is_lost_every_time_ends() -> None:
    calls = []

    def refuse() -> None:
        calls.append(1)
        raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name", error_code=BAD_REQUEST)

    with pytest.raises(MlflowException, match="UNIQUE"):
        after_races(refuse)
    assert len(calls) == 10
