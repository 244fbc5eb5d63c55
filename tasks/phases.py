"""Records of finished phases, by which a restarted run continues where it stopped.

A record is a small JSON file in the experiment's folder, written when the phase has finished. Prefect's task states would not
do: Prefect's database may be temporary, and a flow that was killed has no final state.
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
    """The record of a finished phase.

    Attributes:
        phase: its name.
        seconds: its wall-clock time.
        details: results for later phases and the report, as JSON types.
    """

    phase: Phase
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict)


def save(directory: Path, record: PhaseRecord) -> PhaseRecord:
    """Write `record` into the experiment's `directory` atomically. Returns `record`."""
    path = _path(directory, record.phase)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        json.dump(asdict(record), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return record


def finished(directory: Path, phase: Phase) -> PhaseRecord | None:
    """The record of `phase`; None if it has not finished, or the file is damaged."""
    try:
        values = json.loads(_path(directory, phase).read_text())
        return PhaseRecord(phase, float(values["seconds"]), dict(values["details"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def archive(directory: Path, names: Iterable[Phase], kept_as: str) -> None:
    """Move the records of these phases to the folder ``phases/KEPT_AS``, so that the phases run again."""
    for name in names:
        path = _path(directory, name)
        if path.is_file():
            target = path.parent / kept_as / path.name
            target.parent.mkdir(exist_ok=True)
            path.replace(target)


def update_paths(before: Path, now: Path) -> None:
    """Replace paths below `before` by paths below `now` in the records of the folder `now`, which was moved from `before`."""
    for phase in get_args(Phase):
        if (record := finished(now, phase)) is not None:
            details = {name: _updated(value, before, now) for name, value in record.details.items()}
            save(now, PhaseRecord(phase, record.seconds, details))


def _updated(value: Any, before: Path, now: Path) -> Any:
    inside = isinstance(value, str) and value.startswith(f"{before}{os.sep}")
    return f"{now}{value.removeprefix(str(before))}" if inside else value


def _path(directory: Path, phase: Phase) -> Path:
    return directory / "phases" / f"{phase}.json"
