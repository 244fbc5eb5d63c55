"""The progress of each experiment, counted by Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, Integer, Select, and_, cast, column, exists, func, select, table, true

from episodes.schema import EPISODES, EXPERIMENTS
from episodes.store import EXPERIMENT_LOCK, EpisodeStore

_LOCKS = table("pg_locks", column("locktype"), column("database"), column("classid"), column("objid"), column("objsubid"))
_DATABASES = table("pg_database", column("oid"), column("datname"))


_RECENT = 100  # training episodes


@dataclass(frozen=True)
class ExperimentOverview:
    """One experiment and its progress.

    Attributes:
        status: as recorded; a process that was killed leaves `running`.
        held: whether a process holds the experiment's lock, which means that it runs the experiment.
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
    held: bool
    started: datetime
    steps: int
    total_steps: int
    played: int
    completed: int
    recent: float | None


def overview(
    store: EpisodeStore,
    count: int,
    *,
    status: str | None = None,
    preset: str | None = None,
    held: bool | None = None,
    names: Sequence[str] | None = None,
) -> list[ExperimentOverview]:
    """The progress of the newest `count` experiments that match, newest first; None matches all.

    Args:
        store: the episode store.
        count: the largest number of experiments.
        status: only those with this recorded status.
        preset: only those of this preset.
        held: only those that a process runs, or only those that none does.
        names: only those with these names.

    Raises:
        StoreError: the database fails.
    """
    query = _query(count, status, preset, held, names)
    with store.transaction("listing the experiments") as connection:
        return [ExperimentOverview(**row._mapping) for row in connection.execute(query)]


def _query(count: int, status: str | None, preset: str | None, held: bool | None, names: Sequence[str] | None) -> Select[Any]:
    name = EXPERIMENTS.c.config["name"].astext
    is_held = exists().where(
        _LOCKS.c.locktype == "advisory",
        cast(_LOCKS.c.classid, BigInteger) == EXPERIMENT_LOCK,
        cast(_LOCKS.c.objid, BigInteger) == EXPERIMENTS.c.id,
        # Two numbers (the second is the experiment's id), not one of 64 bits.
        cast(_LOCKS.c.objsubid, Integer) == 2,
        _LOCKS.c.database == select(_DATABASES.c.oid).where(_DATABASES.c.datname == func.current_database()).scalar_subquery(),
    )
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
