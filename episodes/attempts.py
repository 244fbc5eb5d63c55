"""The attempts of an experiment: each start of a process for it, numbered from 1."""

from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any

from sqlalchemy import Row, func, insert, select

from episodes import boundary
from episodes.schema import ATTEMPTS, AttemptRecord
from episodes.store import EpisodeStore


def record_attempt(store: EpisodeStore, experiment_id: int, origin: Mapping[str, Any]) -> AttemptRecord:
    """Record a new attempt at an experiment, whose lock the caller holds, and return it with its number.

    Args:
        store: the episode store.
        experiment_id: the experiment.
        origin: the other columns of :class:`episodes.schema.AttemptRecord`.

    Raises:
        RowError: a value cannot be stored; StoreError: the database fails.
    """
    with store.transaction("recording an attempt") as connection:
        newest = select(func.max(ATTEMPTS.c.attempt)).where(ATTEMPTS.c.experiment_id == int(experiment_id))
        number = int(connection.execute(newest).scalar() or 0) + 1
        record = AttemptRecord(experiment_id=experiment_id, attempt=number, **origin)
        values = {each.name: getattr(record, each.name) for each in fields(record)}
        connection.execute(insert(ATTEMPTS).values(boundary.row_values(ATTEMPTS, values)))
    return record


def attempts(store: EpisodeStore, experiment_id: int) -> list[AttemptRecord]:
    """All attempts of an experiment, oldest first."""
    query = select(ATTEMPTS).where(ATTEMPTS.c.experiment_id == int(experiment_id)).order_by(ATTEMPTS.c.attempt)
    with store.transaction("reading the attempts") as connection:
        return [_attempt(row) for row in connection.execute(query)]


def _attempt(row: Row[Any]) -> AttemptRecord:
    return AttemptRecord(**{str(name): value for name, value in row._mapping.items() if name != "id"})


def describe_attempts(records: list[AttemptRecord]) -> str:
    """How many attempts there were, and which had other code or another number of steps than the one before; for a report."""
    changed = [
        str(now.attempt)
        for before, now in pairwise(records)
        if before.code and (before.code, before.git_commit) != (now.code, now.git_commit)
    ]
    parts = [f"{len(records)}"]
    parts += [f"other code from attempt {', '.join(changed)} on"] if changed else []
    parts += [
        f"to {now.total_steps} steps instead of {before.total_steps} from attempt {now.attempt} on"
        for before, now in pairwise(records)
        if now.total_steps != before.total_steps
    ]
    return "; ".join(parts)
