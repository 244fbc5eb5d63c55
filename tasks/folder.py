"""The folder of an experiment: which one it belongs to, whether it is there, and how it gives way to a fresh one.

Rows are in Postgres, checkpoints and phase records in the folder. Either without the other would be found out only by the
reconciliation after the whole training; here it is found out at the start.
"""

import json
import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from configs import Settings
from episodes import EpisodeStore, ExperimentRecord
from tasks import phases

logger = logging.getLogger(__name__)

_CONFIG, _IDENTITY = "config.json", "experiment.json"
_LONGEST = 90  # characters of a name that are kept: the new one must be a name too
_STATE = ("phases", "checkpoints")  # what makes a folder more than an empty one


class MissingFolderError(RuntimeError):
    """Rows and folder of an experiment do not belong together, or one of them is missing; the message says what to do."""


def create(record: ExperimentRecord, settings: Settings) -> Path:
    """Make the folder of an experiment, if it is not there, and return it. It says whose it is."""
    directory = settings.experiment_directory(record.name)
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / _CONFIG).exists():
        (directory / _CONFIG).write_text(json.dumps(record.config, indent=2))
    if not (directory / _IDENTITY).exists():
        (directory / _IDENTITY).write_text(json.dumps(_identity(record), indent=2))
    return directory


def require(store: EpisodeStore, experiment_id: int, settings: Settings) -> None:
    """Refuse to go on with an experiment whose rows are there and whose folder is not.

    Raises:
        MissingFolderError: the folder is not there, or is another experiment's.
    """
    record = store.experiment(experiment_id).record
    directory = settings.experiment_directory(record.name)
    known = _known(directory)
    if known is not None and known != record.started.isoformat():
        raise MissingFolderError(
            f"{directory} belongs to another experiment (begun {known}) than the one that Postgres ({store.masked_url}) has "
            f"under the name {record.name} (begun {record.started.isoformat()}): use the other's database, give another "
            "--experiment, or say --restart to begin again; both are kept under other names then"
        )
    # An evaluation by itself needs nothing from the folder: its episodes are counted in Postgres.
    rows = sum(store.count(experiment_id, phase=phase) for phase in ("integration", "train"))
    if rows == 0 or (directory / _CONFIG).exists():
        return
    raise MissingFolderError(
        f"experiment {record.name} has {rows} episodes in Postgres ({store.masked_url}), but its folder {directory}, with "
        f"checkpoints and records of phases, is not there. It was begun on {record.host}: go on there, or copy that folder "
        f"here. To begin again at step 0 say --restart: the rows are kept, under the name {record.name}-old-1 or the next free"
    )


def require_free(name: str, settings: Settings) -> None:
    """Refuse to begin an experiment in a folder that holds the state of one that this database does not know.

    Raises:
        MissingFolderError: it does.
    """
    directory = settings.experiment_directory(name)
    if any((directory / part).is_dir() for part in _STATE):
        raise MissingFolderError(
            f"{directory} holds checkpoints or phase records, but this database has no experiment {name}: use the database it "
            "was begun with (DATABASE_URL), give another --experiment, or say --restart to begin again; the folder is kept "
            f"under the name {name}-old-1 or the next free"
        )


def set_aside(store: EpisodeStore, name: str, settings: Settings, experiment_id: int | None) -> None:
    """Give the experiment `name`, whose lock the caller holds, another name: its row and its folder.

    The new name is `name` with ``-old-`` and the first free number. Rows, checkpoints, models, reports and the MLflow run stay
    what they are.

    Args:
        store: the episode store.
        name: the name that becomes free.
        settings: places and servers.
        experiment_id: of its row; None: there is none, perhaps a folder.
    """
    directory = settings.experiment_directory(name)
    record = None if experiment_id is None else store.experiment(experiment_id).record
    identity = None if record is None else record.started.isoformat()
    if record is None or (directory.exists() and _known(directory) not in (None, identity)):
        _move_folder(directory, next(_free_names(store, name, settings, None)))
        logger.warning("%s was no folder of this database's experiment %s; it is kept beside it", directory, name)
    if record is None or experiment_id is None:
        return
    new_name = next(_free_names(store, name, settings, None if directory.exists() else identity))
    # The folder first: a kill in between leaves a row without a folder, which the next start refuses, and the next --restart
    # finds the folder at the place it has been moved to.
    _move_folder(directory, new_name)
    # The lock is held here: whatever ran it has ended.
    status = "interrupted" if record.status == "running" else record.status
    store.update_experiment(experiment_id, name=new_name, status=status)
    logger.warning("experiment %s is kept as %s (row %d)", name, new_name, experiment_id)


def _move_folder(directory: Path, name: str) -> None:
    if directory.exists():
        target = directory.with_name(name)
        directory.rename(target)
        phases.moved(directory, target)


def _free_names(store: EpisodeStore, name: str, settings: Settings, moved: str | None) -> Iterator[str]:
    """Names that neither a row nor a folder has, but for the folder that an earlier attempt has moved already."""
    for number in count(1):
        candidate = f"{name[:_LONGEST]}-old-{number}"
        target = settings.experiment_directory(candidate)
        free = not target.exists() or (moved is not None and _known(target) == moved)
        if free and store.find_experiment(candidate) is None:
            yield candidate


def _identity(record: ExperimentRecord) -> dict[str, str]:
    return {"name": record.name, "started": record.started.isoformat()}


def _known(directory: Path) -> str | None:
    """When the experiment was begun whose folder it is; None if it does not say (an older version's) or is not there."""
    try:
        return str(json.loads((directory / _IDENTITY).read_text(encoding="utf-8"))["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
