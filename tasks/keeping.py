"""Copying of a completed run into the project: its results as a folder, its policy as a model that anyone can load."""

import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs import Settings
from episodes import EpisodeStore, ExperimentRecord
from episodes.attempts import attempts, describe_attempts
from episodes.records import finished_phase
from tasks import phases
from tasks.evaluate import evaluation_json
from tasks.experiment import Experiment, checked_name, load_experiment, open_store
from tasks.phases import PhaseRecord
from tasks.report import experiment_data, stored_play

if TYPE_CHECKING:
    from reports.kept import KeptResults
    from reports.levels.keeping import KeptLevel


class UnfinishedError(RuntimeError):
    """The run's training or evaluation is not complete; the message says which."""


def keep_experiment(
    name: str, settings: Settings, folder: Path, target: str | None, *, replace_other: bool = False
) -> "KeptResults":
    """Write the results of the experiment `name` to `folder`/`target` (default: its preset); see :mod:`reports.kept`.

    Raises:
        StoreError: there is no such experiment.
        UnfinishedError: it has not ended.
        ReportError: the folder holds something else, or the report is too large.
    """
    from reports.kept import keep_results
    from reports.results import protocol_summaries

    experiment = load_experiment(name, settings)
    trained, _ = _finished_phases(experiment)
    with open_store(settings) as store:
        data = experiment_data(experiment, store)
        return keep_results(
            data,
            folder / checked_name(target or experiment.config.name),
            run=_provenance(store, experiment, trained),
            evaluation=evaluation_json(protocol_summaries(data)),
            replace_other=replace_other,
        )


def keep_level_of(
    name: str, settings: Settings, folder: Path, target: str | None, *, replace_other: bool = False
) -> "KeptLevel":
    """Write the results of the experiment `name`, trained on one level, to `folder`/`target` (default: the level).

    Raises:
        StoreError, UnfinishedError: as :func:`keep_experiment`.
        ReportError: see :func:`reports.levels.keeping.keep_level`.
    """
    from episodes.training import mastered_after
    from reports.levels.keeping import keep_level

    experiment = load_experiment(name, settings)
    run, evaluation = level_provenance(name, settings)
    environment = experiment.config.environment
    with open_store(settings) as store:
        return keep_level(
            experiment_data(experiment, store),
            folder / checked_name(target or environment.level_name),
            run=run,
            evaluation=evaluation,
            mastered_after=mastered_after(store, experiment.id),
            play=partial(stored_play, store, environment),
            replace_other=replace_other,
        )


def level_provenance(name: str, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """The provenance of a finished run, and its figures by protocol.

    Raises:
        StoreError, UnfinishedError: as :func:`keep_experiment`.
    """
    experiment = load_experiment(name, settings)
    trained, evaluated = _finished_phases(experiment)
    with open_store(settings) as store:
        return _provenance(store, experiment, trained), dict(evaluated.details["protocols"])


def ship_model(
    name: str,
    settings: Settings,
    folder: Path,
    target: str | None,
    *,
    half_precision: bool = False,
    evaluation: Mapping[str, Any] | None = None,
) -> Path:
    """Write the policy of the experiment `name` to two files `folder`/`target`, by default ``world-1-1`` or ``full-game``.

    Args:
        half_precision: see :func:`agents.ship`.
        evaluation: the policy's figures by protocol. None: those of the experiment's own evaluation.

    Returns:
        The manifest; the weights are next to it.

    Raises:
        StoreError: there is no such experiment.
        UnfinishedError: it has not ended.
        CheckpointError: its model is damaged or too large.
    """
    from agents import ship

    experiment = load_experiment(name, settings)
    trained, evaluated = _finished_phases(experiment)
    environment = experiment.config.environment
    level = environment.level_name if environment.game == "full" or environment.levels else f"world-{environment.level_name}"
    with open_store(settings) as store:
        origin = _provenance(store, experiment, trained)
    for teacher in origin.get("teachers", []):
        del teacher["config"]  # as large as the policy's own
    return ship(
        Path(trained.details["model_path"]),
        folder / checked_name(target or level),
        evaluation=evaluated.details["protocols"] if evaluation is None else evaluation,
        origin=origin,
        half_precision=half_precision,
    )


def _finished_phases(experiment: Experiment) -> tuple[PhaseRecord, PhaseRecord]:
    """The records of training and evaluation."""
    trained, evaluated = phases.finished(experiment, "train"), phases.finished(experiment, "evaluate")
    if trained is None or evaluated is None:
        raise UnfinishedError(
            f"experiment {experiment.name} has not been {'trained completely' if trained is None else 'evaluated'}: "
            f"repeat the command of its run with --experiment {experiment.name} to continue it"
        )
    return trained, evaluated


def _provenance(store: EpisodeStore, experiment: Experiment, trained: PhaseRecord) -> dict[str, Any]:
    """The provenance of the run as JSON types."""
    record = store.experiment(experiment.id).record
    return {
        "experiment": record.name,
        "started": record.started.isoformat(timespec="seconds"),
        "commit": record.git_commit,
        "dirty": record.git_dirty,
        "attempts": describe_attempts(attempts(store, experiment.id)),
        "config_hash": record.config_hash,
        "seed": record.seed,
        "steps": trained.details["steps"],
        # Earlier versions always evaluated the last model.
        "model_steps": trained.details.get("model_steps", trained.details["steps"]),
        "validations": trained.details.get("validations", []),
        "training_episodes": trained.details["episodes"],
        "training_seconds": trained.details["training_seconds"],
        # `training_seconds` starts at the last resumption, so this is longer for an interrupted training.
        "first_to_last_episode_seconds": store.totals(experiment.id, "train", "training").seconds,
        **_teachers(store, experiment),
        "device": record.device,
        **_machine(record),
        "python": record.python_version,
        "packages": dict(record.packages or {}),
    }


def _teachers(store: EpisodeStore, experiment: Experiment) -> dict[str, Any]:
    """What trained the teachers; empty if the configuration has none. Of one that is no longer stored, its name remains."""
    teacher = experiment.config.train.teacher
    if teacher is None:
        return {}
    found = []
    for level, name in teacher.experiments(experiment.config.environment.level_names).items():
        number = store.find_experiment(name)
        known: dict[str, Any] = {}
        if number is not None and (trained := finished_phase(store, number, "train")) is not None:
            record = store.experiment(number).record
            known = {name: trained.details[name] for name in ("steps", "training_seconds")}
            known |= {"seed": record.seed, "commit": record.git_commit, "config": record.config}
        found.append({"level": level, "experiment": name, **known})
    return {"teachers": found}


def _machine(record: ExperimentRecord) -> dict[str, Any]:
    """The number of cores and the memory, if the run was on this machine."""
    if record.host != socket.gethostname():
        return {}
    import psutil

    return {"cores": psutil.cpu_count(logical=True), "memory_gb": round(psutil.virtual_memory().total / 2**30, 1)}
