"""The folder of an experiment: creation, the check that it matches the rows, and archiving.

Rows and records are in Postgres; checkpoints are in the folder. If one of them were missing, the data-quality check would
notice only after the whole training. This module notices at the start.
"""

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from pathlib import Path

from configs import Settings
from episodes import Claim, EpisodeStore, ExperimentRecord
from tasks.sharing import is_shared

logger = logging.getLogger(__name__)

_CONFIG, _IDENTITY = "config.json", "experiment.json"
_MAX_PREFIX = 90  # characters of the old name that the new name begins with; it must be a valid name too
_STATE = ("phases", "checkpoints")  # folders with the state of an experiment; versions before 0005 had phases


class MissingFolderError(RuntimeError):
    """Rows and folder of an experiment do not match, or one of them is missing; the message says what to do."""


def create(record: ExperimentRecord, settings: Settings) -> Path:
    """Create the folder of an experiment if it does not exist, with files that identify the experiment. Returns the folder."""
    directory = settings.experiment_directory(record.name)
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / _CONFIG).exists():
        (directory / _CONFIG).write_text(json.dumps(record.config, indent=2))
    if not (directory / _IDENTITY).exists():
        (directory / _IDENTITY).write_text(json.dumps(_identity(record), indent=2))
    return directory


def folder_of(name: str, started: datetime, settings: Settings) -> Path | None:
    """The folder of the experiment `name` that began at `started`; None if it is not on this machine."""
    directory = settings.experiment_directory(name)
    return directory if _recorded_start(directory) == started.isoformat() else None


def require_matching(store: EpisodeStore, experiment_id: int, settings: Settings) -> None:
    """Refuse to continue an experiment that has rows but not its folder.

    Raises:
        MissingFolderError: the folder does not exist, or belongs to another experiment.
    """
    record = store.experiment(experiment_id).record
    directory = settings.experiment_directory(record.name)
    known = _recorded_start(directory)
    if known is not None and known != record.started.isoformat():
        raise MissingFolderError(
            f"{directory} belongs to another experiment (begun {known}) than the one named {record.name} in Postgres "
            f"({store.masked_url}, begun {record.started.isoformat()}): use the database of the other one, give another "
            "--experiment, or give --restart to start again, which keeps both under other names"
        )
    # A separate evaluation needs nothing from the folder: its episodes are counted in Postgres.
    rows = sum(store.count(experiment_id, phase=phase) for phase in ("integration", "train"))
    if rows == 0 or (directory / _CONFIG).exists() or is_shared(settings, experiment_id, record):
        return
    raise MissingFolderError(
        f"experiment {record.name} has {rows} episodes in Postgres ({store.masked_url}), but its folder {directory}, with its "
        f"checkpoints, does not exist. It was begun on {record.host}: continue there, or copy that folder here. With "
        "MARIO_CHECKPOINTS, machines share checkpoints. To start again at step 0, give --restart: the rows are kept under the "
        f"name {record.name}-old-1 or the next free"
    )


def require_free(name: str, settings: Settings) -> None:
    """Refuse to start an experiment in a folder with the state of an experiment that this database does not know.

    Raises:
        MissingFolderError: the folder contains such state.
    """
    directory = settings.experiment_directory(name)
    if any((directory / part).is_dir() for part in _STATE):
        raise MissingFolderError(
            f"{directory} contains checkpoints or records of phases, but this database has no experiment {name}: use its own "
            "database (DATABASE_URL), give another --experiment, or give --restart to start again, which keeps the folder "
            f"under the name {name}-old-1 or the next free"
        )


def archive(store: EpisodeStore, name: str, settings: Settings, claim: Claim | None) -> None:
    """Rename the row and the folder of the experiment `name`, so that the name becomes free.

    The new name is ``NAME-old-N`` with the first free number. Rows, checkpoints, models, reports and the MLflow run do not
    change.

    Args:
        store: the episode store.
        name: the name that becomes free.
        settings: the home folder and the servers.
        claim: the right to change the experiment's row; None: there is at most a folder.

    Raises:
        FencedError: another process has started the experiment.
    """
    directory = settings.experiment_directory(name)
    record = None if claim is None else store.experiment(claim.token.experiment_id).record
    identity = None if record is None else record.started.isoformat()
    if record is None or (directory.exists() and _recorded_start(directory) not in (None, identity)):
        _move_folder(directory, next(_free_names(store, name, settings, None)))
        logger.warning("%s did not belong to this database's experiment %s; it is kept under another name", directory, name)
    if record is None or claim is None:
        return
    new_name = next(_free_names(store, name, settings, None if directory.exists() else identity))
    # The folder moves first. A kill in between leaves a row without a folder: the next start refuses it, and the next --restart
    # finds the folder under its new name.
    _move_folder(directory, new_name)
    # No other process runs it: the claim would have been refused.
    status = "interrupted" if record.status == "running" else record.status
    store.update_experiment(claim.token, name=new_name, status=status)
    logger.warning("experiment %s is kept as %s (row %d)", name, new_name, claim.token.experiment_id)


def _move_folder(directory: Path, name: str) -> None:
    if directory.exists():
        directory.rename(directory.with_name(name))


def _free_names(store: EpisodeStore, name: str, settings: Settings, moved: str | None) -> Iterator[str]:
    """Names without a row or a folder. A folder whose start is `moved` does not count: an earlier attempt has moved it."""
    for number in count(1):
        candidate = f"{name[:_MAX_PREFIX]}-old-{number}"
        target = settings.experiment_directory(candidate)
        free = not target.exists() or (moved is not None and _recorded_start(target) == moved)
        if free and store.find_experiment(candidate) is None:
            yield candidate


def _identity(record: ExperimentRecord) -> dict[str, str]:
    return {"name": record.name, "started": record.started.isoformat()}


def _recorded_start(directory: Path) -> str | None:
    """The start time recorded in an experiment's folder; None if it has none (earlier versions) or does not exist."""
    try:
        return str(json.loads((directory / _IDENTITY).read_text(encoding="utf-8"))["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
