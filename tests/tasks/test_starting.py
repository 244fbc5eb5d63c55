"""The start of an experiment: it is locked before anything is written, refused if something is missing, and recorded."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from configs import PROJECT, Settings, load
from episodes import EpisodeRow, EpisodeStore, ExperimentLockedError
from episodes.attempts import attempts
from episodes.schema import ATTEMPTS, EPISODES, EXPERIMENTS
from tasks import folder, phases
from tasks.experiment import Experiment, load_experiment, open_store, open_writer
from tasks.folder import MissingFolderError
from tasks.phases import PhaseRecord
from tasks.starting import finish_experiment, mark_crashed, running_experiment
from tracking import TrackingError, resolve_tracking_uri
from tracking.client import connect

pytestmark = pytest.mark.one_python

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@pytest.fixture
def store(settings: Settings) -> Iterator[EpisodeStore]:
    with open_store(settings) as opened:
        yield opened


def start(settings: Settings, name: str, flow_run: str | None = None, **options: Any) -> Any:
    return running_experiment(load(TINY), name, settings, flow_run, **options)


def episode_row(experiment_id: int, episode_index: int = 0) -> EpisodeRow:
    """A row of a training."""
    values: dict[str, Any] = dict.fromkeys(
        ("env_index", "reward", "duration_seconds", "exploration_rate", "coins", "score", "x_pos", "y_pos"), 0
    )
    values |= {"steps": 1, "frames": 4, "distance_traveled": 0, "time": 400, "life": 1, "world": 1, "stage": 1}
    values |= {"status": "small", "level_completed": False, "end_reason": "died", "global_step": 1}
    values |= {"experiment_id": experiment_id, "episode_index": episode_index, "timestamp": datetime.now(UTC)}
    return EpisodeRow(phase="train", protocol="training", **values)


def train_a_little(experiment: Experiment) -> None:
    """Write what an interrupted training leaves: a row, the folder of a checkpoint, and a phase record with a path."""
    with open_store(experiment.settings) as store, open_writer(experiment, store) as writer:
        writer.put(episode_row(experiment.id), {}, b"\0")
    checkpoint = experiment.directory / "checkpoints" / "step-000000001"
    checkpoint.mkdir(parents=True)
    details = {"model_path": str(experiment.directory / "model"), "episodes": 1}
    phases.save(experiment, PhaseRecord("train", 1.0, details))


def mlflow_run(settings: Settings, run_id: str | None) -> Any:
    assert run_id is not None
    return connect(resolve_tracking_uri(None, settings.home)).get_run(run_id)


@contextmanager
def held_by_another_process(settings: Settings, name: str, flow_run: str) -> Iterator[None]:
    code = f"""
import sys
from configs import Settings, load
from tasks.starting import running_experiment
with running_experiment(load({TINY!r}), {name!r}, Settings.from_environment(), {flow_run!r}):
    print("held", flush=True)
    sys.stdin.read()
"""
    environment = os.environ | {"MARIO_HOME": str(settings.home)}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield
        finally:
            process.kill()


def test_a_second_start_does_not_affect_the_first(settings: Settings, store: EpisodeStore) -> None:
    with held_by_another_process(settings, "twice", "first-flow-run"):
        before = store.experiment("twice")
        run = mlflow_run(settings, before.record.mlflow_run_id)
        for options in ({}, {"restart": True}):
            with (
                pytest.raises(ExperimentLockedError, match="run by another process"),
                start(settings, "twice", "second", **options),
            ):
                pass
        assert store.experiment("twice") == before
        assert before.record.status == "running"
        assert before.record.prefect_flow_run_id == "first-flow-run"
        assert mlflow_run(settings, run.info.run_id).to_dictionary() == run.to_dictionary()
        assert len(attempts(store, before.id)) == 1


def test_each_attempt_is_recorded(settings: Settings, store: EpisodeStore, caplog: pytest.LogCaptureFixture) -> None:
    with start(settings, "attempted", "one") as experiment:
        pass
    with store.transaction("pretending") as connection:
        code = {**attempts(store, experiment.id)[0].code, "agents": "other"}
        other = update(ATTEMPTS).where(ATTEMPTS.c.experiment_id == experiment.id)
        connection.execute(other.values(git_commit="abc", torch_version="1.0", code=code))
    with caplog.at_level("INFO"), start(settings, "attempted", "two") as again:
        assert again == experiment
    first, second = attempts(store, experiment.id)
    assert (first.attempt, first.prefect_flow_run_id, second.attempt, second.prefect_flow_run_id) == (1, "one", 2, "two")
    assert second.mlflow_run_id == experiment.run_id
    assert second.started > first.started
    assert set(second.code) >= {"agents", "mario_env", "configs"}
    assert "attempt 2" in caplog.text
    assert "differences from attempt 1: code.agents: other then, " in caplog.text
    assert "git_commit: abc then" in caplog.text
    assert "torch_version: 1.0 then" in caplog.text
    assert "code.mario_env" not in caplog.text
    tags = mlflow_run(settings, experiment.run_id).data.tags
    assert tags["attempt"] == "2"
    assert tags["mlflow.source.name"] == "train-mario"
    assert tags["mlflow.source.git.commit"] == second.git_commit
    assert tags["mlflow.user"] not in ("", "unknown")
    note = tags["mlflow.note.content"]
    what = "PPO on level 1-1 (preset `tiny`, observation frames, seed 0), trained for 1,536 decisions. The whole pipeline"
    assert note.startswith(what)
    assert f"Experiment `attempted` (row {experiment.id} in Postgres); files in `{experiment.directory}`" in note
    assert f"`mario watch {experiment.run_id}`" in note
    assert "`mario run config.yaml --experiment attempted`" in note


def test_a_run_stays_in_its_experiment_of_mlflow(settings: Settings, store: EpisodeStore) -> None:
    """Earlier versions kept all runs in the MLflow experiment train-mario."""
    client = connect(resolve_tracking_uri(None, settings.home))

    def place(run_id: str | None) -> str:
        return str(client.get_experiment(mlflow_run(settings, run_id).info.experiment_id).name)

    with running_experiment(load(TINY, ["tracking.experiment=train-mario"]), "moved", settings, None) as experiment:
        assert place(experiment.run_id) == "train-mario"
    with start(settings, "moved") as again:
        assert again.run_id == experiment.run_id
    with store.transaction("pretending") as connection:  # it was killed before the run's id was stored
        connection.execute(update(EXPERIMENTS).where(EXPERIMENTS.c.id == experiment.id).values(mlflow_run_id=None))
    with start(settings, "moved") as found:
        assert found.run_id == experiment.run_id
    with start(settings, "placed") as other:
        assert place(other.run_id) == "mario-1-1"


def test_mlflow_and_postgres_have_the_status_of_the_pipeline(settings: Settings, store: EpisodeStore) -> None:
    for status, word in (("failed", "FAILED"), ("interrupted", "KILLED"), ("completed", "FINISHED")):
        with start(settings, "ended") as experiment:
            running = mlflow_run(settings, experiment.run_id)
            assert (running.info.status, running.data.tags["pipeline_status"]) == ("RUNNING", "running")
            finish_experiment(experiment, status)
        ended = mlflow_run(settings, experiment.run_id)
        assert (ended.info.status, ended.data.tags["pipeline_status"]) == (word, status)
        assert store.experiment("ended").record.status == status


def test_a_failed_start_is_not_recorded_as_running(
    settings: Settings, store: EpisodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = replace(settings, tracking_uri="http://127.0.0.1:1")
    with pytest.raises(TrackingError), start(away, "not-started"):
        pass
    record = store.experiment("not-started").record
    assert (record.status, record.ended is None, record.mlflow_run_id) == ("failed", False, None)
    with start(settings, "not-started") as experiment:
        record = store.experiment("not-started").record
        assert (record.status, record.ended) == ("running", None)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.starting.write_waiting_rows", interrupted)
    with pytest.raises(KeyboardInterrupt), start(settings, "not-started"):
        pass
    assert store.experiment("not-started").record.status == "interrupted"
    assert mlflow_run(settings, experiment.run_id).info.status == "KILLED"


@pytest.mark.parametrize("where", ["store.create_experiment", "TrackedRun.open", "store.update_experiment", "acquire"])
def test_a_kill_in_the_start_leaves_one_experiment_and_one_run(where: str, settings: Settings, store: EpisodeStore) -> None:
    """The start is killed after each of its steps, the experiment is marked as crashed, and started again."""
    name = f"killed-{where.replace('.', '-').replace('_', '-')}"
    target = where.replace("store.", "EpisodeStore.")
    code = f"""
import os, signal
from configs import Settings, load
from episodes import EpisodeStore
from tasks import starting
from tasks.starting import TrackedRun, running_experiment
owner, _, function = "starting.{target}".rpartition(".")
owner = eval(owner.replace("starting.EpisodeStore", "EpisodeStore"))
original = getattr(owner, function)
def then_die(*arguments, **options):
    original(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, function, then_die)
with running_experiment(load({TINY!r}), {name!r}, Settings.from_environment(), None):
    pass
"""
    environment = os.environ | {"MARIO_HOME": str(settings.home)}
    killed = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    mark_crashed(name, settings)
    assert store.experiment(name).record.status == "failed"
    with start(settings, name) as experiment:
        pass
    client = connect(resolve_tracking_uri(None, settings.home))
    number = client.get_run(experiment.run_id).info.experiment_id
    found = client.search_runs([number], f"attributes.run_name = '{name}'")
    assert [run.info.run_id for run in found] == [experiment.run_id]
    frame = store.experiments()
    assert list(frame[frame["name"] == name]["mlflow_run_id"]) == [experiment.run_id]


# Missing folders


def test_rows_without_their_folder_are_refused_at_once(settings: Settings, store: EpisodeStore, mario: Any) -> None:
    with start(settings, "lost") as experiment:
        train_a_little(experiment)
    shutil.move(experiment.directory, experiment.directory.with_name("elsewhere"))
    before = store.experiment("lost")
    with pytest.raises(MissingFolderError) as caught, start(settings, "lost"):
        pass
    message = str(caught.value)
    assert "has 1 episodes in Postgres" in message
    assert str(experiment.directory) in message
    assert "--restart" in message
    assert before.record.host in message
    assert store.experiment("lost") == before, "nothing was written"
    done = mario("run", TINY, "--experiment", "lost")
    assert done.returncode == 1
    assert f"error: {message}" in done.stderr
    shutil.move(experiment.directory.with_name("elsewhere"), experiment.directory)
    with start(settings, "lost") as again:
        assert again == experiment, "it continues when its folder is back"


def test_an_evaluation_needs_no_folder(settings: Settings, store: EpisodeStore) -> None:
    with start(settings, "evaluated") as experiment:
        train_a_little(experiment)
        with store.transaction("pretending") as connection:
            all_of_it = update(EPISODES).where(EPISODES.c.experiment_id == experiment.id)
            connection.execute(all_of_it.values(phase="evaluate", protocol="greedy"))
    shutil.rmtree(experiment.directory)
    with start(settings, "evaluated") as again:
        assert again == experiment


def test_a_folder_of_another_database_is_refused(settings: Settings, store: EpisodeStore) -> None:
    with start(settings, "stranger") as experiment:
        train_a_little(experiment)
    moved = experiment.directory.rename(settings.experiment_directory("foreign"))
    with pytest.raises(MissingFolderError, match="this database has no experiment foreign"), start(settings, "foreign"):
        pass
    with start(settings, "foreign", restart=True) as fresh:
        assert not (fresh.directory / "checkpoints").exists()
    assert (moved.with_name("foreign-old-1") / "checkpoints").is_dir()

    shutil.rmtree(fresh.directory)
    shutil.copytree(moved.with_name("foreign-old-1"), fresh.directory)
    with pytest.raises(MissingFolderError, match="belongs to another experiment"), start(settings, "foreign"):
        pass
    with start(settings, "foreign", restart=True) as freshest:
        assert freshest.id > fresh.id
    assert store.experiment("foreign-old-3").id == fresh.id
    assert (moved.with_name("foreign-old-2") / "checkpoints").is_dir(), "the foreign folder has its own name"


# Restarts


def test_a_restart_keeps_the_old_experiment_under_another_name(settings: Settings, store: EpisodeStore) -> None:
    with start(settings, "again") as first:
        train_a_little(first)
    other = load(TINY, ["seed=9"])
    with running_experiment(other, "again", settings, "flow-run", restart=True) as second:
        assert second.id != first.id
        assert second.run_id != first.run_id
        assert second.config.seed == 9
        assert not (second.directory / "checkpoints").exists()
        assert phases.finished(second, "train") is None
    assert store.count(second.id) == 0
    assert store.count(first.id) == 1
    kept = load_experiment("again-old-1", settings)
    assert (kept.id, kept.run_id) == (first.id, first.run_id)
    assert store.experiment(first.id).record.status == "interrupted", "it does not run"
    record = phases.finished(kept, "train")
    assert record is not None
    assert record.details["model_path"] == str(kept.directory / "model")
    assert (kept.directory / "checkpoints" / "step-000000001").is_dir()
    with start(settings, "again-old-1") as old:
        assert old.id == first.id, "it can be continued"
    with running_experiment(other, "again", settings, "flow-run", restart=True) as retried:
        assert retried.id == second.id, "a retried flow run does not restart again"
    with running_experiment(other, "again", settings, "later flow-run", restart=True) as third:
        assert third.id > second.id
    assert store.experiment("again-old-2").id == second.id


def test_a_restart_without_the_folder_keeps_the_rows(settings: Settings, store: EpisodeStore) -> None:
    with start(settings, "gone") as first:
        train_a_little(first)
    shutil.rmtree(first.directory)
    with start(settings, "gone", restart=True) as second:
        assert store.count(second.id) == 0
    assert store.count(store.experiment("gone-old-1").id) == 1


def test_a_restart_that_was_killed_between_folder_and_row_is_completed(settings: Settings, store: EpisodeStore) -> None:
    with start(settings, "halfway") as first:
        train_a_little(first)
    first.directory.rename(first.directory.with_name("halfway-old-1"))
    with pytest.raises(MissingFolderError), start(settings, "halfway"):
        pass
    with start(settings, "halfway", restart=True):
        pass
    kept = load_experiment("halfway-old-1", settings)
    assert kept.id == first.id
    assert (kept.directory / "checkpoints").is_dir()
    assert json.loads((kept.directory / "experiment.json").read_text())["started"]


def test_a_restart_without_an_experiment_starts_one(settings: Settings) -> None:
    with start(settings, "brand-new", restart=True) as experiment:
        assert experiment.directory.is_dir()
    assert not experiment.directory.with_name("brand-new-old-1").exists()


def test_an_experiment_with_the_longest_name_can_be_restarted(settings: Settings, store: EpisodeStore) -> None:
    name = "n" * 100
    with start(settings, name) as first:
        pass
    with start(settings, name, restart=True):
        pass
    assert store.experiment(f"{'n' * 90}-old-1").id == first.id
    assert folder.create(store.experiment(first.id).record, settings) == first.directory.with_name(f"{'n' * 90}-old-1")
