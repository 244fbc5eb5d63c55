"""Rows that could not be written, kept in a file of JSON lines until they can be."""

import base64
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from episodes.errors import StoreError


@dataclass(frozen=True)
class PendingEpisode:
    """An episode on its way into the database: the row's values, converted, and what it takes to play it again."""

    values: dict[str, Any]
    start: dict[str, Any] | None
    actions: bytes | None


def keep(pending: Iterable[PendingEpisode], home: Path) -> Path:
    """Write the episodes to a new file in HOME, readable by its user alone, and return its path."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = home / f"unwritten-episodes-{moment}-{os.getpid()}.jsonl"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for episode in pending:
            actions = None if episode.actions is None else base64.b64encode(episode.actions).decode()
            values = episode.values | {"timestamp": episode.values["timestamp"].isoformat()}
            file.write(json.dumps({"values": values, "start": episode.start, "actions": actions}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return path


def kept(path: Path) -> Iterator[PendingEpisode]:
    """Read the episodes of such a file.

    Raises:
        StoreError: a line is damaged; the message names it.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                entry = json.loads(line)
                values = entry["values"] | {"timestamp": datetime.fromisoformat(entry["values"]["timestamp"])}
                actions = None if entry["actions"] is None else base64.b64decode(entry["actions"], validate=True)
                start = entry["start"]
            except (ValueError, KeyError, TypeError) as error:
                raise StoreError(f"{path}, line {number} is damaged ({error}): remove the line to read the rest") from None
            yield PendingEpisode(values, start, actions)
