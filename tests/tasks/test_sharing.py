"""An experiment moves between machines: two homes with one Postgres, one MLflow and one shared storage."""

import json
import logging
import shutil
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents import SharedFolder, SharedStorageError, latest_checkpoint
from configs import Config, Settings, load
from episodes import pending
from episodes.attempts import attempts
from episodes.records import archive_phases
from spool import Outbox, count_pending
from tasks import folder, sharing
from tasks.experiment import Experiment, open_store
from tasks.folder import MissingFolderError
from tasks.phases import finished
from tasks.starting import running_experiment
from tasks.train import train_agent
from tasks.transient import is_transient
from tests.agents.checkpoints.test_shared import complete_folder
from tests.conftest import TINY, Postgres
from tests.tasks.test_starting import episode_row

pytestmark = [pytest.mark.usefixtures("prefect_away"), pytest.mark.one_python]


@pytest.fixture
def machines(postgres: Postgres, tmp_path: Path, s3: str) -> tuple[Settings, Settings]:
    """Two homes that share all else."""
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    checkpoints = f"{s3}/{tmp_path.name}"
    here, there = (Settings(tmp_path / home, postgres.url, tracking, checkpoints) for home in ("here", "there"))
    return here, there


@pytest.fixture
def config() -> Config:
    return load(TINY, ["train.device=cpu", "tracking.system_metrics=false"])


def storage(settings: Settings) -> SharedFolder:
    """The folder of the only experiment."""
    assert settings.checkpoints_url is not None
    root = SharedFolder.open(settings.checkpoints_url)
    (name,) = root.names()
    return root / name


def give_checkpoint(experiment: Experiment, step: int, content: str) -> None:
    complete_folder(experiment.directory / "checkpoints" / f"step-{step:09d}", state=content)


def checkpoints(experiment: Experiment) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in sorted(experiment.directory.glob("checkpoints/step-*/state"))}


def test_teachers_move_with_their_pupil(machines: tuple[Settings, Settings], config: Config) -> None:
    here, there = machines
    with running_experiment(config, "taught", here, None) as experiment:
        complete_folder(experiment.directory / "teacher-1-1", state="a teacher")
        sharing.publish(experiment)
    with running_experiment(config, "taught", there, None) as experiment:
        assert (experiment.directory / "teacher-1-1" / "state").read_text() == "a teacher"


def test_a_training_that_another_machine_continues(machines: tuple[Settings, Settings], config: Config) -> None:
    here, there = machines
    train: Any = train_agent.fn
    half = config.model_copy(update={"train": config.train.model_copy(update={"total_steps": config.train.total_steps // 2})})
    with running_experiment(config, "moves", here, None) as experiment:
        train(replace(experiment, config=half))
        checkpoint = latest_checkpoint(experiment.directory)
        assert checkpoint is not None
        stored_steps = checkpoint.steps
        with open_store(here) as store:
            archive_phases(store, experiment.required_claim.token, ["train"], "half")
    shutil.rmtree(here.home)

    with running_experiment(config, "moves", there, None) as experiment:
        found = latest_checkpoint(experiment.directory)
        assert found is not None
        assert found.steps == stored_steps
        assert found.manifest == checkpoint.manifest
        details = train(experiment).details
    assert details["steps"] == config.train.total_steps
    assert Path(details["model_path"]).is_relative_to(there.home)
    assert storage(there).names() == ["attempt-0002"]
    assert "model" in (storage(there) / "attempt-0002").names()


def test_only_the_newest_attempts_state_is_ever_read(machines: tuple[Settings, Settings], config: Config) -> None:
    here, there = machines
    with running_experiment(config, "branches", here, None) as stopped:
        give_checkpoint(stopped, 100, "common")
        sharing.publish(stopped)
    with running_experiment(config, "branches", there, None) as second:
        assert checkpoints(second) == {"step-000000100": "common"}
        # The first was stopped, goes on, and has not noticed yet that another has taken over.
        give_checkpoint(stopped, 300, "abandoned")
        sharing.publish(stopped)
        give_checkpoint(second, 200, "newer")
        sharing.publish(second)
    with running_experiment(config, "branches", here, None) as third:
        assert checkpoints(third) == {"step-000000100": "common", "step-000000200": "newer"}
        assert storage(here).names() == ["attempt-0003"]


def test_a_machine_continues_from_its_own_disk_if_no_other_has_run_since(
    machines: tuple[Settings, Settings], config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here, _ = machines
    with running_experiment(config, "stays", here, None) as experiment:
        give_checkpoint(experiment, 100, "shared")
        sharing.publish(experiment)
        give_checkpoint(experiment, 200, "on this machine only")
        with monkeypatch.context() as away:
            away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            with caplog.at_level(logging.WARNING):
                sharing.publish_or_warn(experiment)
            assert "the newest state of stays is on this machine only" in caplog.text
            with pytest.raises(SharedStorageError) as caught:
                sharing.publish(experiment)
            assert is_transient(caught.value)
    with running_experiment(config, "stays", here, None) as experiment:
        assert checkpoints(experiment) == {"step-000000100": "shared", "step-000000200": "on this machine only"}
        assert (storage(here) / "attempt-0002" / "checkpoints").names() == ["step-000000100", "step-000000200"]


def test_rows_that_wait_for_postgres_move_too(machines: tuple[Settings, Settings], config: Config) -> None:
    here, there = machines
    with ExitStack() as stack:
        experiment = stack.enter_context(running_experiment(config, "rows-move", here, None))
        # What a writer has stored while Postgres was away.
        outbox = stack.enter_context(closing(Outbox(experiment.episode_outbox, experiment.owner)))
        outbox.append([pending.encode(pending.convert(episode_row(experiment.id, 1), None, None, None))])
        give_checkpoint(experiment, 100, "counts the row")
        sharing.publish(experiment)
        assert (storage(here) / "attempt-0001" / "outboxes").names() == ["episodes.sqlite"]
    shutil.rmtree(here.home)

    with running_experiment(config, "rows-move", there, None) as experiment:
        assert experiment.required_claim.store.count(experiment.id, "train") == 1
        assert count_pending(experiment.episode_outbox) == 0
        sharing.publish(experiment)
        assert (storage(there) / "attempt-0002" / "outboxes").names() == []


def test_a_damaged_checkpoint_in_the_storage_is_skipped(
    machines: tuple[Settings, Settings], config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = machines
    with running_experiment(config, "damaged", here, None) as experiment:
        give_checkpoint(experiment, 100, "whole")
        give_checkpoint(experiment, 200, "damaged")
        sharing.publish(experiment)
    (storage(here) / "attempt-0001" / "checkpoints" / "step-000000200").write("state", b"dam4ged")
    with running_experiment(config, "damaged", there, None) as experiment:
        assert checkpoints(experiment) == {"step-000000100": "whole"}
    assert "step-000000200 is skipped" in caplog.text


def test_an_attempt_that_died_while_it_began_is_passed_over(machines: tuple[Settings, Settings], config: Config) -> None:
    here, there = machines
    with running_experiment(config, "dies", here, None) as experiment:
        give_checkpoint(experiment, 100, "first")
        sharing.publish(experiment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "_publish_folders", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt), running_experiment(config, "dies", there, None):
            pass
    assert storage(here).names() == ["attempt-0001", "attempt-0002"]
    with running_experiment(config, "dies", here, None) as experiment:
        assert checkpoints(experiment) == {"step-000000100": "first"}
        assert storage(here).names() == ["attempt-0003"]


def test_without_shared_storage_another_machine_is_refused(machines: tuple[Settings, Settings], config: Config) -> None:
    here, there = (replace(each, checkpoints_url=None) for each in machines)
    with running_experiment(config, "refused", here, None) as experiment, open_store(here) as store:
        with store.writer(experiment.episode_outbox, experiment.owner, token=experiment.required_claim.token) as writer:
            writer.put(episode_row(experiment.id, 1))
        assert len(attempts(store, experiment.id)) == 1
        with pytest.raises(MissingFolderError, match="With MARIO_CHECKPOINTS, machines share checkpoints"):
            folder.require_matching(store, experiment.id, there)
    assert finished(experiment, "train") is None
    assert json.loads((experiment.directory / "attempt.json").read_text()) == {"attempt": 1}
