"""What the record of a training holds beside what its newest checkpoint knows of, and whether it can be played once more.

A training that goes on exactly plays the episodes since its checkpoint again and relies on their being the same as those on
record. They are not if another code or version played them, or if an earlier attempt went on from the same checkpoint with
other random numbers. Two small files in the training's folder remember that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mario_env.snapshots import differences

_BEGINNING = "beginning.json"
_CONTINUED = "continued.json"


def differs_from_beginning(directory: Path, surroundings: Mapping[str, Any], *, recorded: bool) -> str | None:
    """Why a training without a checkpoint does not play again what it has on record; None if it does.

    The first call for a folder keeps `surroundings` for the later ones.

    Args:
        directory: the training's folder.
        surroundings: what the course of a training depends on, as JSON types (`agents.moment.surroundings`).
        recorded: whether there are episodes on record.
    """
    begun = _read(directory / _BEGINNING)
    if begun is None:
        _write(directory / _BEGINNING, surroundings)
        return "what is on record was played by an older version" if recorded else None
    if differing := differences(begun, surroundings):
        return f"what is on record was played under other conditions ({'; '.join(differing)})"
    return None


def note_inexact(directory: Path, steps: int, reason: str) -> None:
    """Remember that the training goes on from its checkpoint at `steps` (0: from its beginning) with other random numbers."""
    _write(directory / _CONTINUED, {"steps": steps, "reason": reason})


def inexact_before(directory: Path, steps: int) -> str | None:
    """Whether an earlier attempt went on from here with other random numbers, in words; None if not."""
    noted = _read(directory / _CONTINUED)
    if noted is None or int(noted.get("steps", -1)) < steps:
        return None
    reason = noted.get("reason")
    return f"an earlier attempt went on from here with other random numbers, and what it played is on record ({reason})"


def forget(directory: Path) -> None:
    """Remove both files: the training begins from nothing."""
    for name in (_BEGINNING, _CONTINUED):
        (directory / name).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
