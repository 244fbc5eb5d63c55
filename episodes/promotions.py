"""The decisions about champions: which version of a registered model is the one to use, and on what evidence."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from sqlalchemy import func, insert, select, update

from episodes import boundary
from episodes.schema import PROMOTIONS, PromotionRecord
from episodes.store import EpisodeStore


def record_decision(store: EpisodeStore, record: PromotionRecord) -> int:
    """Record a decision. Returns the id of its row.

    Raises:
        RowError: a value cannot be stored; StoreError: the database fails.
    """
    values = boundary.row_values(PROMOTIONS, {each.name: getattr(record, each.name) for each in fields(record)})
    with store.transaction("recording a promotion") as connection:
        number: int = connection.execute(insert(PROMOTIONS).values(values).returning(PROMOTIONS.c.id)).scalar_one()
    return number


@contextmanager
def applying(store: EpisodeStore, decision: int, model: str) -> Iterator[None]:
    """Move the alias of `model` in a `with` block, and record that the decision is applied when the block ends.

    Others that move it wait meanwhile.
    """
    with store.transaction("applying a promotion") as connection:
        connection.execute(select(PROMOTIONS.c.id).where(PROMOTIONS.c.model == model).with_for_update())
        yield
        connection.execute(update(PROMOTIONS).where(PROMOTIONS.c.id == decision).values(applied=func.now()))


def decisions(store: EpisodeStore, model: str) -> list[PromotionRecord]:
    """All decisions about `model`, oldest first."""
    query = select(PROMOTIONS).where(PROMOTIONS.c.model == model).order_by(PROMOTIONS.c.id)
    with store.transaction("reading the promotions") as connection:
        return [PromotionRecord(**_columns(row._mapping)) for row in connection.execute(query)]


def champions(records: list[PromotionRecord]) -> list[int]:
    """The versions that were champion and may be again, the present one last; a rollback removes the last one."""
    found: list[int] = []
    for record in records:
        if record.applied is None:
            continue
        if record.decision in ("first", "promoted"):
            found.append(record.version)
        elif record.decision == "rolled back":
            found.pop()
    return found


def _columns(row: Any) -> dict[str, Any]:
    return {str(name): value for name, value in row.items() if name != "id"}
