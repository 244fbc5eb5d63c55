"""The progress of each experiment, counted by Postgres."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Float, Integer, Select, and_, cast, func, select, true

from episodes.schema import EPISODES, EXPERIMENTS

if TYPE_CHECKING:
    from episodes.store import EpisodeStore

_RECENT = 100  # training episodes


@dataclass(frozen=True)
class ExperimentOverview:
    """One experiment and its progress.

    Attributes:
        status: as recorded; a process that was killed leaves `running`.
        attempt: the number of its newest attempt; 0: there was none yet.
        held: whether a process holds the experiment, which means that it runs it.
        steps: decisions up to the training's last episode.
        total_steps: decisions that the training is to have.
        played: episodes of the evaluation under the protocol `stochastic`.
        completed: how many of those completed the level.
        recent: the share of the last 100 training episodes that completed the level; None: there are no episodes.
    """

    id: int
    name: str
    preset: str
    status: str
    attempt: int
    held: bool
    started: datetime
    steps: int
    total_steps: int
    played: int
    completed: int
    recent: float | None


def query(
    running: Collection[int],
    count: int,
    status: str | None,
    preset: str | None,
    held: bool | None,
    names: Collection[str] | None,
) -> Select[Any]:
    """The newest `count` experiments that match, newest first; None matches all.

    Args:
        running: the ids of the experiments that a process holds.
    """
    name = EXPERIMENTS.c.config["name"].astext
    is_held = EXPERIMENTS.c.id.in_(running)
    trained = and_(EPISODES.c.phase == "train", EPISODES.c.protocol == "training")
    judged = and_(EPISODES.c.phase == "evaluate", EPISODES.c.protocol == "stochastic")
    counts = (
        select(
            func.coalesce(func.max(EPISODES.c.global_step).filter(trained), 0).label("steps"),
            func.count().filter(judged).label("played"),
            func.count().filter(judged, EPISODES.c.level_completed).label("completed"),
        )
        .where(EPISODES.c.experiment_id == EXPERIMENTS.c.id)
        .lateral("counts")
    )
    last = (
        select(cast(EPISODES.c.level_completed, Integer).label("completed"))
        .where(EPISODES.c.experiment_id == EXPERIMENTS.c.id, trained)
        .order_by(EPISODES.c.global_step.desc())
        .limit(_RECENT)
        .correlate(EXPERIMENTS)
        .subquery("last_episodes")
    )
    recent = select(cast(func.avg(last.c.completed), Float)).scalar_subquery()
    wanted = [] if status is None else [EXPERIMENTS.c.status == status]
    wanted += [] if preset is None else [name == preset]
    wanted += [] if names is None else [EXPERIMENTS.c.name.in_(names)]
    wanted += [] if held is None else [is_held if held else ~is_held]
    newest = (
        select(
            EXPERIMENTS.c.id,
            EXPERIMENTS.c.name,
            name.label("preset"),
            EXPERIMENTS.c.status,
            EXPERIMENTS.c.attempt,
            is_held.label("held"),
            EXPERIMENTS.c.started,
            cast(EXPERIMENTS.c.config["train"]["total_steps"].astext, BigInteger).label("total_steps"),
            *counts.c,
            recent.label("recent"),
        )
        .select_from(EXPERIMENTS)
        .join(counts, onclause=true())
    )
    return newest.where(*wanted).order_by(EXPERIMENTS.c.id.desc()).limit(count)


def ended_since(store: "EpisodeStore", moment: datetime) -> list[tuple[int, str]]:
    """The id and name of each experiment that ended at `moment` or later, oldest first.

    Raises:
        StoreError: the database fails.
    """
    statement = select(EXPERIMENTS.c.id, EXPERIMENTS.c.name).where(EXPERIMENTS.c.ended >= moment).order_by(EXPERIMENTS.c.id)
    with store.transaction("listing the experiments that have ended") as connection:
        return [(int(number), str(name)) for number, name in connection.execute(statement)]
