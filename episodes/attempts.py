"""The attempts of an experiment: each start of a process for it, numbered from 1."""

from itertools import pairwise
from typing import Any

from sqlalchemy import Row, select

from episodes.schema import ATTEMPTS, AttemptRecord
from episodes.store import EpisodeStore


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
