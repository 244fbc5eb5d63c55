"""The teachers of a training (`train.teacher`): models of completed experiments, copied into the experiment's folder.

The copy is what the training goes by. So it continues in the same way when an experiment that taught it is gone, and on another
machine.
"""

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from episodes.records import finished_phase
from tasks import phases
from tasks.experiment import Experiment, open_store
from tasks.sharing import TEACHER
from tracking import resolve_model, resolve_tracking_uri

if TYPE_CHECKING:
    from agents import Teachers

logger = logging.getLogger(__name__)


class TeacherUnavailableError(RuntimeError):
    """The experiment of a teacher does not exist, or has no model yet; the message says what to do."""


@task(name="teachers", cache_policy=NO_CACHE, persist_result=False)
def fetch_teachers(experiment: Experiment) -> None:
    """Copy the model of each level's teacher into the experiment's folder, unless it is there.

    Raises:
        TeacherUnavailableError: an experiment is missing or has not been trained.
        TeacherError: a model does not fit the training.
        ModelNotFoundError, TrackingError: MLflow does not have a model, or does not answer.
    """
    teacher = experiment.config.train.teacher
    if teacher is None or phases.finished(experiment, "train"):
        return
    for level, name in teacher.experiments(experiment.config.environment.level_names).items():
        target = experiment.directory / f"{TEACHER}{level}"
        if not target.exists():
            experiment.required_claim.require_current()
            _copy(_model_of(experiment, name), target)
            logger.info("the teacher of %s is that of %s", level, name)
    load_teachers(experiment)  # refuses those that do not fit, before any work


def load_teachers(experiment: Experiment) -> "Teachers | None":
    """The teachers in the experiment's folder; None: the configuration has none.

    Raises:
        TeacherError: one does not fit the training.
        CheckpointError: one is missing or damaged.
    """
    from agents import Teachers, load_agent

    config = experiment.config
    if config.train.teacher is None:
        return None
    names = config.environment.level_names
    return Teachers({level: load_agent(experiment.directory / f"{TEACHER}{level}") for level in names}, config)


def _model_of(experiment: Experiment, name: str) -> Path:
    """The folder of the model that the experiment `name` has trained."""
    settings = experiment.settings
    with open_store(settings) as store:
        number = store.find_experiment(name)
        record = None if number is None else finished_phase(store, number, "train")
    if number is None:
        raise TeacherUnavailableError(
            f"train.teacher.experiment: there is no experiment {name}: train the teachers first (`mario sweep teachers`), or "
            "name another one; `mario experiments` lists all"
        )
    if record is None:
        raise TeacherUnavailableError(
            f"train.teacher.experiment: {name} has not been trained to its end: complete it first, with `mario run PRESET "
            f"--experiment {name}` or the sweep that it is part of"
        )
    uri = resolve_tracking_uri(settings.tracking_uri, settings.home)
    return resolve_model(str(record.details["model_uri"]), uri, downloads=settings.home / "downloads")


def _copy(model: Path, target: Path) -> None:
    """Copy the folder of a model, completely or not at all.

    Raises:
        CheckpointError: the model is damaged, or the copy could not be written.
    """
    from agents.checkpoints.manifests import Manifest, replace_folder, verify

    def fill(aside: Path) -> Manifest:
        shutil.copytree(model, aside, dirs_exist_ok=True)
        return verify(aside)

    replace_folder(target, fill)
