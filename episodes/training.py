"""What a report shows of a training, selected and computed by Postgres.

However many episodes there are, no more than some 50 000 short rows are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import numpy as np
import pandas as pd
from sqlalchemy import BigInteger, Double, Integer, Select, cast, extract, func, literal, select, true

from episodes.comparison import WINDOW
from episodes.schema import EPISODES
from episodes.store import EpisodeStore, with_trajectory

ALL: Final = 50_000
"""Up to so many episodes, a curve has them all."""

POINTS: Final = 500
"""Points of a curve of more episodes."""

LAST: Final = 100
"""Episodes that stand for the agent at the end of its training."""

_PACES: Final = 60
_SPANS: Final = 100

Conditions = Sequence[Any]


@dataclass(frozen=True)
class Training:
    """The training episodes of an experiment, in the parts and sums that a report shows.

    Attributes:
        episodes: how many there are.
        steps: decisions up to the last of them.
        completed: how many completed a level.
        curve: `global_step`, `distance_traveled`, `reward` and `level_completed` of episodes, in the order of their steps. All
            episodes, or :data:`POINTS` of them and the 99 before each, so that moving means can be computed. `shown`: whether
            it is a point of the curve.
        pace: `seconds` since the training began and `steps` at most until then, at the first and at the last end of an episode
            in each of `paces` equal spans of time.
        paces: how many spans of time there are.
        spans: means in equal spans of decisions: `steps` (the end of the span), `episodes` (that ended in it),
            `distance_mean` (pixels), `completed_share`, `reward_mean` and `episode_steps_mean`. Means are NaN in a span without
            episodes.
        last: the :data:`LAST` episodes by their steps, with all columns of :meth:`episodes.EpisodeStore.episodes`.
        best, typical: ids of the best episode (a completed one, then the longest distance, then the largest reward) and of the
            one nearest to the median distance, then to the median reward; None: there are no episodes.
        chosen: the rows of these two, with the same columns as `last`.
        validation: the means of `distance_traveled`, `reward` and `level_completed` for each `global_step` that was validated.
    """

    episodes: int
    steps: int
    completed: int
    curve: pd.DataFrame
    pace: pd.DataFrame
    paces: int
    spans: pd.DataFrame
    last: pd.DataFrame
    best: int | None
    typical: int | None
    chosen: pd.DataFrame
    validation: pd.DataFrame


def read_training(store: EpisodeStore, experiment_id: int) -> Training:
    """The training of an experiment.

    Raises:
        StoreError: the database fails.
    """
    rows = EPISODES.c
    of_phase = [rows.experiment_id == int(experiment_id), rows.phase == "train"]
    trained = [*of_phase, rows.protocol == "training"]
    sums = func.count(), func.coalesce(func.max(rows.global_step), 0), func.count().filter(rows.level_completed)
    with store.transaction("adding up the training") as connection:
        episodes, steps, completed = map(int, connection.execute(select(*sums).where(*trained)).one())
        best, typical = (connection.execute(query(trained)).scalar() for query in (best_episode, typical_episode))
    paces = max(1, min(_PACES, episodes // 4))
    return Training(
        episodes=episodes,
        steps=steps,
        completed=completed,
        curve=_frame(store, _curve(trained, episodes)),
        pace=_frame(store, _pace(trained, paces)),
        paces=paces,
        spans=_spans(store, trained, episodes, steps),
        last=_rows(store, select(rows.id).where(*trained).order_by(rows.global_step.desc(), rows.id.desc()).limit(LAST)),
        best=best,
        typical=typical,
        chosen=_rows(store, [best, typical]),
        validation=_frame(store, _validation([*of_phase, rows.protocol != "training"])),
    )


def mastered_after(store: EpisodeStore, experiment_id: int, share: float = 0.95) -> int | None:
    """Decisions after which at least `share` of the latest :data:`LAST` training episodes completed the level; None: never.

    Only episodes from the level's start count: a curriculum begins others further on.

    Raises:
        StoreError: the database fails.
    """
    rows = EPISODES.c
    order = rows.global_step, rows.id
    trained = rows.experiment_id == int(experiment_id), rows.phase == "train", rows.protocol == "training"
    completed = func.sum(cast(rows.level_completed, Integer)).over(order_by=order, rows=(1 - LAST, 0))
    number = func.row_number().over(order_by=order)
    latest = (
        select(rows.global_step, completed.label("completed"), number.label("number"))
        .where(*trained, rows.start_decision.is_(None))
        .subquery()
        .c
    )
    query = select(func.min(latest.global_step)).where(latest.number >= LAST, latest.completed >= ceil(share * LAST))
    with store.transaction("reading the training") as connection:
        found: int | None = connection.execute(query).scalar()
    return found


def best_episode(conditions: Conditions) -> Select[Any]:
    """The id of the best of the episodes that meet the conditions."""
    rows = EPISODES.c
    order = rows.level_completed.desc(), rows.distance_traveled.desc(), rows.reward.desc(), rows.id
    return select(rows.id).where(*conditions).order_by(*order).limit(1)


def typical_episode(conditions: Conditions) -> Select[Any]:
    """The id of the episode nearest to the medians of the episodes that meet the conditions."""
    rows = EPISODES.c
    median = func.percentile_cont(0.5)
    distance, reward = median.within_group(rows.distance_traveled), median.within_group(rows.reward)
    medians = select(distance.label("distance"), reward.label("reward")).where(*conditions).subquery()
    off = func.abs(rows.distance_traveled - medians.c.distance), func.abs(rows.reward - medians.c.reward)
    return select(rows.id).join(medians, true()).where(*conditions).order_by(*off, rows.id).limit(1)


def _curve(conditions: Conditions, episodes: int) -> Select[Any]:
    rows = EPISODES.c
    shown = rows.global_step, rows.distance_traveled, rows.reward, rows.level_completed
    if episodes <= ALL:
        return select(*shown, true().label("shown")).where(*conditions).order_by(rows.global_step, rows.id)
    number = func.row_number().over(order_by=(rows.global_step, rows.id)).label("number")
    numbered = select(*shown, number).where(*conditions).subquery().c
    # The points are the episodes number episodes * k / POINTS, rounded up; this is the first at or after each episode.
    point = _ceiling(((numbered.number - 1) * POINTS // episodes + 1) * episodes, POINTS)
    return (
        select(*(numbered[each.name] for each in shown), (point == numbered.number).label("shown"))
        .where(point - numbered.number < WINDOW)
        .order_by(numbered.number)
    )


def _pace(conditions: Conditions, paces: int) -> Select[Any]:
    """The rows at the ends of each span are enough: between the ends of two spans nothing is interpolated."""
    rows = EPISODES.c
    order = rows.timestamp, rows.id
    first = select(rows.timestamp, rows.duration_seconds).where(*conditions).order_by(*order).limit(1).subquery()
    timed = (
        select(
            (cast(extract("epoch", rows.timestamp - first.c.timestamp), Double) + first.c.duration_seconds).label("seconds"),
            # A training that was resumed from a checkpoint repeats steps; they count once.
            func.max(rows.global_step).over(order_by=order).label("steps"),
        )
        .join(first, true())
        .where(*conditions)
        .subquery()
        .c
    )
    longest = func.nullif(func.max(timed.seconds).over(), 0.0)
    span = func.least(func.floor(timed.seconds / longest * paces), paces - 1)
    placed = select(timed.seconds, timed.steps, span.label("span")).subquery().c
    first_end, last_end = (each(placed.seconds).over(partition_by=placed.span) for each in (func.min, func.max))
    ends = select(placed.seconds, placed.steps, first_end.label("first_end"), last_end.label("last_end")).subquery().c
    return (
        select(ends.seconds, ends.steps)
        .where((ends.seconds == ends.first_end) | (ends.seconds == ends.last_end))
        .order_by(ends.seconds, ends.steps)
    )


def _spans(store: EpisodeStore, conditions: Conditions, episodes: int, steps: int) -> pd.DataFrame:
    rows = EPISODES.c
    spans = max(1, min(_SPANS, episodes // 10))
    place = func.greatest(_ceiling(rows.global_step * spans, max(1, steps)) - 1, 0)
    played = select(EPISODES, place.label("place")).where(*conditions).subquery().c
    query = (
        select(
            played.place,
            func.count().label("episodes"),
            func.avg(cast(played.distance_traveled, Double)).label("distance_mean"),
            func.avg(cast(cast(played.level_completed, Integer), Double)).label("completed_share"),
            func.avg(played.reward).label("reward_mean"),
            func.avg(cast(played.steps, Double)).label("episode_steps_mean"),
        )
        .group_by(played.place)
        .order_by(played.place)
    )
    table = _frame(store, query).set_index("place").reindex(range(spans))
    table["episodes"] = table["episodes"].fillna(0).astype(int)
    table.insert(0, "steps", np.rint(np.linspace(0, steps, spans + 1)[1:]).astype(int))
    return table


def _validation(conditions: Conditions) -> Select[Any]:
    rows = EPISODES.c
    means = (
        func.avg(cast(rows.distance_traveled, Double)).label("distance_traveled"),
        func.avg(rows.reward).label("reward"),
        func.avg(cast(cast(rows.level_completed, Integer), Double)).label("level_completed"),
    )
    return select(rows.global_step, *means).where(*conditions).group_by(rows.global_step).order_by(rows.global_step)


def _ceiling(value: Any, divisor: int) -> Any:
    """The quotient of two whole numbers above 0, rounded up."""
    return (value + literal(divisor - 1, BigInteger)) // literal(divisor, BigInteger)


def _rows(store: EpisodeStore, ids: Any) -> pd.DataFrame:
    rows = EPISODES.c
    return _frame(store, with_trajectory().where(rows.id.in_(ids)).order_by(rows.global_step, rows.id))


def _frame(store: EpisodeStore, query: Select[Any]) -> pd.DataFrame:
    with store.transaction("reading the training") as connection:
        return pd.read_sql_query(query, connection)
