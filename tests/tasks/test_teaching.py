"""Teachers are found by the names of their experiments, copied, and asked."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from agents import CheckpointError, TeacherError, Teachers
from configs import Config, ConfigError, Settings, load
from tasks.experiment import Experiment
from tasks.phases import finished
from tasks.starting import running_experiment
from tasks.teaching import TeacherUnavailableError, fetch_teachers, load_teachers
from tasks.train import train_agent
from tasks.transient import is_transient
from tests.conftest import TINY
from tracking import resolve_tracking_uri

pytestmark = pytest.mark.usefixtures("prefect_away")

TILES = ["environment.observation=tiles", "agent.network.features=tiles"]
QUICK = [
    "train.device=cpu",
    "tracking.system_metrics=false",
    "train.total_steps=640",
    "train.validation=null",
    "evaluate.model=last",
]


def config(*changes: str) -> Config:
    return load(TINY, [*QUICK, *changes])


def train(experiment: Experiment) -> Any:
    task: Any = train_agent.fn
    return task(experiment)


def fetch(experiment: Experiment) -> None:
    task: Any = fetch_teachers.fn
    task(experiment)


def test_a_pupil_learns_from_what_completed_experiments_have_trained(settings: Settings) -> None:
    with running_experiment(config(*TILES), "teacher-1-1", settings, None) as teacher:
        details = train(teacher).details
    with running_experiment(config("train.teacher.experiment=teacher-{level}"), "pupil", settings, None) as pupil:
        with pytest.raises(CheckpointError, match="teacher-1-1"):
            load_teachers(pupil)
        fetch(pupil)
        copy = pupil.directory / "teacher-1-1"
        assert (copy / "manifest.json").read_bytes() == (Path(details["model_path"]) / "manifest.json").read_bytes()
        shutil.rmtree(teacher.directory)
        fetch(pupil)
        assert isinstance(load_teachers(pupil), Teachers)
        train(pupil)
        shutil.rmtree(copy)
        fetch(pupil)
        assert not copy.exists(), "after the training nobody needs it"
    assert "train/teacher_divergence" in metrics(pupil)
    assert "train/teacher_divergence" not in metrics(teacher)


def metrics(experiment: Experiment) -> dict[str, float]:
    from mlflow import MlflowClient

    client = MlflowClient(resolve_tracking_uri(experiment.settings.tracking_uri, experiment.settings.home))
    assert experiment.run_id is not None
    return dict(client.get_run(experiment.run_id).data.metrics)


def test_what_cannot_teach_is_refused_before_any_work(settings: Settings) -> None:
    with running_experiment(config(*TILES), "untrained-1-1", settings, None):
        pass
    with running_experiment(config(), "pictures", settings, None) as experiment:
        train(experiment)
    for name, error, message in [
        ("nobody-{level}", TeacherUnavailableError, "there is no experiment nobody-1-1: train the teachers first"),
        ("untrained-{level}", TeacherUnavailableError, "untrained-1-1 has not been trained to its end: complete it first"),
        ("pictures", TeacherError, "the teacher of 1-1 does not fit: it sees frames, not tiles"),
    ]:
        pupil = f"of-{name.partition('-')[0]}"
        with (
            running_experiment(config(f"train.teacher.experiment={name}"), pupil, settings, None) as experiment,
            pytest.raises(error, match=message) as caught,
        ):
            fetch(experiment)
        assert not is_transient(caught.value)
        assert finished(experiment, "train") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.teacher.experiment=t-{stage}"], r"only \{level\} may be in braces"),
        (["train.teacher={experiment: t, weight: 0}"], "the weight must be above 0"),
        (["train.teacher.experiment=t", "environment.emulator=nes-py"], "set environment.emulator to fast"),
        (["train.teacher.experiment=t", "environment.game=full"], "environment.game to level"),
    ],
)
def test_configurations_that_cannot_be_taught_are_refused(changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(*changes)


def test_only_ppo_is_taught() -> None:
    with pytest.raises(ConfigError, match=r"only ppo learns from a teacher, and agent\.algorithm is pqn"):
        load("pqn", ["train.teacher.experiment=t"])


def test_each_level_has_the_experiment_of_its_name() -> None:
    teacher = config("train.teacher.experiment=sweep-{level}-seed0").train.teacher
    assert teacher is not None
    assert teacher.experiments(["1-1", "4-2"]) == {"1-1": "sweep-1-1-seed0", "4-2": "sweep-4-2-seed0"}
