"""What the earlier attempts at an experiment left on disk for Postgres and MLflow: the new attempt sends it, or sets it aside.

Each attempt has a folder of its own, because an earlier process may be stopped and still have its files open. An attempt that
continues on the same machine takes over what the one before has not sent: its checkpoint counts these rows. If another machine
has run the experiment since, it has played those episodes again, and the old ones are not written.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from episodes import AttemptRecord
from spool import Outbox, OutboxLockedError, count_pending, read_pending
from tasks.experiment import Experiment, spool_of

logger = logging.getLogger(__name__)

_ASIDE: Final = "not-recorded"
_COPIED: Final = "copied"  # marks a folder whose records another attempt has, while a process still has its files open


def adopt_outboxes(experiment: Experiment, attempts: Sequence[AttemptRecord]) -> None:
    """Move what earlier attempts left to the outboxes of this one, before it opens them.

    Args:
        experiment: the experiment, claimed by this attempt.
        attempts: all attempts, of which the last is this one.

    Raises:
        OutboxError, OSError: the disk fails, or a stopped process is writing one of the files.
    """
    if experiment.run_id is None:
        return  # none of them has come as far as to send something, and whose it would be is not known yet
    mine = attempts[-1]
    elsewhere = [
        each.attempt
        for each in attempts[:-1]
        if each.folder is not None and (each.host, each.folder) != (mine.host, mine.folder)
    ]
    for number, folder in _earlier_folders(experiment.directory, mine.attempt):
        if (folder / _COPIED).exists():
            continue
        if any(number < other for other in elsewhere):
            _set_aside(folder, f"another machine has run {experiment.name} since")
        else:
            _adopt(folder, experiment)


def set_outboxes_aside(experiment: Experiment) -> None:
    """Keep what this attempt has not sent under another name, now that another attempt has taken over."""
    _set_aside(experiment.spool, "another attempt has taken over")


def _earlier_folders(directory: Path, attempt: int) -> Iterator[tuple[int, Path]]:
    """The folders of earlier attempts, oldest first; 0: that of versions in which attempts shared one."""
    yield 0, directory / "spool"
    for number in range(1, attempt):
        if (folder := spool_of(directory, number)).is_dir():
            yield number, folder


def _outboxes(folder: Path) -> list[Path]:
    # `.spool` is the form of an earlier version, which `Outbox` reads.
    return sorted({file.with_suffix(".sqlite") for suffix in ("sqlite", "spool") for file in folder.glob(f"*.{suffix}")})


def _adopt(folder: Path, experiment: Experiment) -> None:
    in_use = False
    for file in _outboxes(folder):
        owner = experiment.owner if file.name.startswith("episodes") else str(experiment.run_id)
        with closing(Outbox(experiment.spool / file.name, owner)) as mine:
            try:
                with closing(Outbox(file, owner)) as earlier:
                    # Copied before they are removed. After a crash in between they are delivered twice, which does no harm.
                    mine.append(earlier.peek())
                    earlier.remove(earlier.count)
            except OutboxLockedError:
                mine.append(read_pending(file, owner))
                in_use = True
                continue
        for each in (file, file.with_name(f"{file.name}.lock")):
            each.unlink(missing_ok=True)
    if in_use:
        (folder / _COPIED).touch()
    elif folder.name != "spool" and not any(folder.iterdir()):
        folder.rmdir()


def _set_aside(folder: Path, reason: str) -> None:
    counts = {file: number for file in _outboxes(folder) if (number := count_pending(file))}
    if not counts:
        return
    target = folder.with_name(f"{folder.name}-{_ASIDE}")
    target.mkdir(exist_ok=True)
    for file in _outboxes(folder):
        for each in (file, file.with_suffix(".spool")):
            if each.exists():
                shutil.move(each, target / each.name)
    found = ", ".join(f"{number} in {file.name}" for file, number in counts.items())
    logger.warning("%s: what an earlier attempt has not sent is kept in %s and not recorded (%s)", reason, target, found)
