"""What machines share of an experiment (`MARIO_CHECKPOINTS`): checkpoints, models, and what waits for Postgres and MLflow.

The training works in the folder of its own machine. After each checkpoint this folder is copied to the shared storage, and an
attempt on another machine begins by copying it from there. Whatever happens to a machine, the experiment continues from the
newest shared checkpoint, and the rows that this checkpoint counts are in Postgres or beside it.

Each attempt writes to a folder of its own, which it completes before it deletes those of earlier attempts. So a process that is
stopped, and goes on after another has taken over, overwrites nothing that is ever read.
"""

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from configs import Settings
from episodes import AttemptRecord, ExperimentRecord
from spool import copy_pending
from tasks.experiment import Experiment, spool_of

if TYPE_CHECKING:
    from agents import SharedFolder

logger = logging.getLogger(__name__)

_CHECKPOINTS, _OUTBOXES = "checkpoints", "outboxes"
_MODELS: Final = ("model", "best-model")
_DESCRIPTION: Final = ("config.json", "experiment.json")  # for people who look into the storage
SEARCHED: Final = "demonstrations.json"
"""The file of the demonstrations that were found by search."""
TEACHER: Final = "teacher-"
"""The name of a teacher's folder begins with this. The name of its level follows."""
_COMPLETE = "complete.json"  # in an attempt's folder: it holds all that the attempt before left
_LOCAL = "attempt.json"  # in the experiment's folder: the newest attempt whose state it is complete for


def shared_folder(settings: Settings, experiment_id: int, started: datetime) -> "SharedFolder | None":
    """The shared folder of an experiment; None if no storage is shared.

    Its name stays when the experiment is renamed, and experiments of different databases never have the same.

    Raises:
        SharedStorageError: the storage cannot be used.
    """
    if settings.checkpoints_url is None:
        return None
    from agents import SharedFolder

    return SharedFolder.open(settings.checkpoints_url) / f"{started.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{experiment_id}"


def is_shared(settings: Settings, experiment_id: int, record: ExperimentRecord) -> bool:
    """Whether an attempt has left something in the shared storage that another machine can continue from.

    Raises:
        SharedStorageError: the storage cannot be used.
    """
    folder = shared_folder(settings, experiment_id, record.started)
    return folder is not None and bool(_complete_attempts(folder))


def fetch(experiment: Experiment, attempts: Sequence[AttemptRecord]) -> None:
    """Bring the experiment's folder up to date, if another machine has run it since this one did.

    Args:
        experiment: the experiment, claimed by this attempt, with its folder.
        attempts: all attempts, of which the last is this one.

    Raises:
        SharedStorageError: the storage cannot be used.
    """
    folder = _folder_of(experiment)
    complete = [] if folder is None else _complete_attempts(folder)
    if folder is not None and complete and not _is_newest(experiment.directory, attempts):
        logger.info("fetching what attempt %d at %s has left in %s", complete[-1], experiment.name, folder.url)
        _fetch(experiment, folder / _name(complete[-1]), complete[-1])
    (experiment.directory / _LOCAL).write_text(json.dumps({"attempt": attempts[-1].attempt}), encoding="utf-8")


def publish(experiment: Experiment) -> None:
    """Copy the state of the experiment to the shared storage, if one is used.

    Raises:
        SharedStorageError: the storage cannot be used.
        OutboxError, OSError: the disk of this machine fails.
    """
    folder = _folder_of(experiment)
    if folder is None:
        return
    attempt = experiment.required_claim.token.attempt
    target = folder / _name(attempt)
    # First what a checkpoint relies on, then the checkpoint.
    _publish_files(experiment.directory, target)
    _publish_outboxes(experiment.spool, target / _OUTBOXES)
    _publish_folders(experiment.directory, target)
    if target.read(_COMPLETE) is None:
        target.write(_COMPLETE, json.dumps({"attempt": attempt}).encode())
        for earlier in (name for name in folder.names() if name < _name(attempt)):
            folder.remove(earlier)


def publish_or_warn(experiment: Experiment) -> None:
    """As :func:`publish`. A training goes on when the storage is away; its next checkpoint is another chance."""
    from agents import SharedStorageError

    try:
        publish(experiment)
    except (SharedStorageError, OSError) as error:
        logger.warning("the newest state of %s is on this machine only: %s", experiment.name, error)


def _folder_of(experiment: Experiment) -> "SharedFolder | None":
    if experiment.settings.checkpoints_url is None:
        return None
    started = json.loads((experiment.directory / "experiment.json").read_text(encoding="utf-8"))["started"]
    return shared_folder(experiment.settings, experiment.id, datetime.fromisoformat(started))


def _name(attempt: int) -> str:
    return f"attempt-{attempt:04d}"


def _complete_attempts(folder: "SharedFolder") -> list[int]:
    found = (re.fullmatch(r"attempt-(\d+)", name) for name in folder.names())
    numbers = sorted(int(match[1]) for match in found if match)
    return [number for number in numbers if (folder / _name(number)).read(_COMPLETE) is not None]


def _is_newest(directory: Path, attempts: Sequence[AttemptRecord]) -> bool:
    """Whether no attempt on another machine has run since this folder was complete."""
    mine = attempts[-1]
    try:
        known = int(json.loads((directory / _LOCAL).read_text(encoding="utf-8"))["attempt"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all((each.host, each.folder) == (mine.host, mine.folder) for each in attempts if each.attempt >= known)


def _fetch(experiment: Experiment, source: "SharedFolder", attempt: int) -> None:
    directory = experiment.directory
    _fetch_files(source, directory)
    checkpoints, local = source / _CHECKPOINTS, directory / _CHECKPOINTS
    names = checkpoints.names()
    for name in reversed(names):
        _fetch_folder(checkpoints, name, local / name)
    for name in (name for name in source.names() if name in _MODELS or name.startswith(TEACHER)):
        _fetch_folder(source, name, directory / name)
    for folder in local.glob("step-*"):
        if folder.name not in names:  # of an attempt that another machine did not continue from
            shutil.rmtree(folder)
    _fetch_outboxes(source / _OUTBOXES, spool_of(directory, attempt))


def _fetch_folder(source: "SharedFolder", name: str, local: Path) -> None:
    """Make the local folder equal to the folder `name`; if that is damaged, there is none."""
    from agents import CheckpointError

    if source.equals(name, local):
        return
    try:
        source.download(name, local)
    except CheckpointError as error:
        logger.warning("%s is skipped: %s", name, error)
        shutil.rmtree(local, ignore_errors=True)


def _fetch_outboxes(source: "SharedFolder", spool: Path) -> None:
    for name in source.names():
        content = source.read(name)
        if content is not None:
            spool.mkdir(parents=True, exist_ok=True)
            (spool / name).write_bytes(content)


def _fetch_files(source: "SharedFolder", directory: Path) -> None:
    from agents import STATE_FILES

    for name in (SEARCHED, *STATE_FILES):
        content = source.read(name)
        if content is None:
            (directory / name).unlink(missing_ok=True)
        else:
            (directory / name).write_bytes(content)


def _publish_files(directory: Path, target: "SharedFolder") -> None:
    from agents import STATE_FILES

    for name in (*_DESCRIPTION, SEARCHED, *STATE_FILES):
        with suppress(FileNotFoundError):
            content = (directory / name).read_bytes()
            if target.read(name) != content:
                target.write(name, content)


def _publish_outboxes(spool: Path, target: "SharedFolder") -> None:
    """What has not been delivered yet. What was delivered meanwhile comes twice, which does no harm."""
    with tempfile.TemporaryDirectory(dir=spool.parent if spool.parent.is_dir() else None, prefix=".copy-") as copies:
        pending = {}
        for outbox in sorted(spool.glob("*.sqlite")):
            copy = Path(copies) / outbox.name
            if copy_pending(outbox, copy):
                pending[outbox.name] = copy.read_bytes()
    for name, content in pending.items():
        target.write(name, content)
    for name in set(target.names()) - set(pending):
        target.remove(name)


def _publish_folders(directory: Path, target: "SharedFolder") -> None:
    checkpoints = target / _CHECKPOINTS
    present = [folder for folder in sorted((directory / _CHECKPOINTS).glob("step-*")) if _is_complete(folder)]
    for folder in present:
        checkpoints.upload(folder, folder.name)
    for name in (*_MODELS, *(folder.name for folder in sorted(directory.glob(f"{TEACHER}*")))):
        if _is_complete(directory / name):
            target.upload(directory / name, name)
    for name in set(checkpoints.names()) - {folder.name for folder in present}:
        checkpoints.remove(name)


def _is_complete(folder: Path) -> bool:
    from agents.checkpoints import MANIFEST

    return (folder / MANIFEST).is_file()
