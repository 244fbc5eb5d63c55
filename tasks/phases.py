"""What a finished phase leaves behind, so that a run that is started again goes on where it stopped.

A record is a small JSON file in the experiment's folder, written when the phase has ended well. Prefect's own task states are
not used for this: they live in Prefect's database, which may be a temporary one, and a flow that was killed has none.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

Phase = Literal["smoke", "integration", "train", "evaluate", "alias", "report"]
PHASES: tuple[Phase, ...] = ("smoke", "integration", "train", "evaluate", "report")


@dataclass(frozen=True)
class PhaseRecord:
    """A phase that ended well.

    Attributes:
        phase: its name.
        seconds: how long it took, on the wall clock, over all its attempts in this process.
        details: what later phases and the report need of it, as JSON types.
    """

    phase: Phase
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict)


def save(directory: Path, record: PhaseRecord) -> PhaseRecord:
    """Write `record` into the experiment's `directory`; a reader sees the old file or the new one, never half of it."""
    path = _path(directory, record.phase)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    with aside.open("w") as file:
        json.dump(asdict(record), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    return record


def finished(directory: Path, phase: Phase) -> PhaseRecord | None:
    """The record of `phase` if it has ended well, else None (also for a file that is damaged)."""
    try:
        values = json.loads(_path(directory, phase).read_text())
        return PhaseRecord(phase, float(values["seconds"]), dict(values["details"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(directory: Path, names: Iterable[Phase], kept_as: str) -> None:
    """Let the phases of these names be done again; their records stay in the folder ``phases/KEPT_AS``."""
    for name in names:
        path = _path(directory, name)
        if path.is_file():
            target = path.parent / kept_as / path.name
            target.parent.mkdir(exist_ok=True)
            path.replace(target)


def moved(before: Path, now: Path) -> None:
    """Let the records in `now` name files there instead of in `before`, from where the folder was moved."""
    for phase in get_args(Phase):
        if (record := finished(now, phase)) is not None:
            details = {name: _moved(value, before, now) for name, value in record.details.items()}
            save(now, PhaseRecord(phase, record.seconds, details))


def _moved(value: Any, before: Path, now: Path) -> Any:
    inside = isinstance(value, str) and value.startswith(f"{before}{os.sep}")
    return f"{now}{value.removeprefix(str(before))}" if inside else value


def _path(directory: Path, phase: Phase) -> Path:
    return directory / "phases" / f"{phase}.json"
