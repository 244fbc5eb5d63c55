"""Whether the episodes that were recorded after the newest checkpoint can be played again exactly.

A training that resumes exactly plays the episodes since its checkpoint again. It relies on their being equal to those on
record. They are not equal if other code or library versions played them, or if an earlier attempt resumed from the same
checkpoint with other random numbers. Two small files in the folder of the training keep track of this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mario_env.snapshots import differences

_START_FILE = "beginning.json"
_INEXACT_FILE = "continued.json"
FILES = (_START_FILE, _INEXACT_FILE)
"""The names of both."""


def start_mismatch(directory: Path, conditions: Mapping[str, Any], *, recorded: bool) -> str | None:
    """Why a training that starts at step 0 cannot play its recorded episodes again exactly; None if it can.

    The first call for a folder saves `conditions`. Later calls compare theirs with the saved ones.

    Args:
        directory: the folder of the training.
        conditions: what the results of a training depend on, as JSON types (`agents.checkpoints.conditions`).
        recorded: whether there are episodes on record.
    """
    first = _read(directory / _START_FILE)
    if first is None:
        _write(directory / _START_FILE, conditions)
        return "the episodes on record were played by an older version" if recorded else None
    if differing := differences(first, conditions):
        return f"the episodes on record were played under other conditions ({'; '.join(differing)})"
    return None


def mark_inexact(directory: Path, steps: int, reason: str) -> None:
    """Save that the training resumed from its checkpoint at `steps` (0: from its start) with other random numbers."""
    _write(directory / _INEXACT_FILE, {"steps": steps, "reason": reason})


def earlier_inexact(directory: Path, steps: int) -> str | None:
    """A sentence if an earlier attempt resumed from the checkpoint at `steps`, or a later one, inexactly; otherwise None."""
    values = _read(directory / _INEXACT_FILE)
    if values is None or int(values.get("steps", -1)) < steps:
        return None
    reason = values.get("reason")
    return f"an earlier attempt resumed from here with other random numbers, and its episodes are on record ({reason})"


def clear(directory: Path) -> None:
    """Delete both files, for a training that starts from scratch."""
    for name in FILES:
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
