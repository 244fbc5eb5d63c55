"""Figures of many experiments, computed by Postgres: scores, binned curves, sample efficiency, and where episodes end.

No function returns more than a few rows for each experiment and bin, however many episodes there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import pandas as pd
from sqlalchemy import Double, Integer, Select, case, cast, func, select

from episodes.schema import EPISODE_ACTIONS, EPISODES, EXPERIMENTS, ExperimentRecord
from episodes.store import EpisodeStore, StoredExperiment

WINDOW: Final = 100
"""Training episodes in the moving rate of completion, the usual number."""

_COMPLETED: Final = cast(cast(EPISODES.c.level_completed, Integer), Double)


def experiment_names(store: EpisodeStore) -> dict[int, str]:
    """The names of all experiments by id, oldest first."""
    with store.transaction("listing the experiments") as connection:
        rows = connection.execute(select(EXPERIMENTS.c.id, EXPERIMENTS.c.name).order_by(EXPERIMENTS.c.id))
        return {int(number): str(name) for number, name in rows}


def read_experiments(store: EpisodeStore, ids: Sequence[int]) -> list[StoredExperiment]:
    """The rows of `experiments` with these ids, in the order of their ids."""
    query = select(EXPERIMENTS).where(EXPERIMENTS.c.id.in_(list(ids))).order_by(EXPERIMENTS.c.id)
    with store.transaction("reading the experiments") as connection:
        found = [dict(row._mapping) for row in connection.execute(query)]
    return [StoredExperiment(int(values.pop("id")), ExperimentRecord(**values)) for values in found]


def evaluation_scores(store: EpisodeStore, ids: Sequence[int]) -> pd.DataFrame:
    """The evaluation of each experiment under each protocol that it played.

    Returns:
        One row for each experiment and protocol: `experiment_id`, `protocol`, `episodes`, `completed` (how many completed a
        level), and the means `distance` (pixels) and `reward`.
    """
    rows = EPISODES.c
    query = (
        select(
            rows.experiment_id,
            rows.protocol,
            func.count().label("episodes"),
            func.count().filter(rows.level_completed).label("completed"),
            func.avg(cast(rows.distance_traveled, Double)).label("distance"),
            func.avg(rows.reward).label("reward"),
        )
        .where(rows.experiment_id.in_(list(ids)), rows.phase == "evaluate")
        .group_by(rows.experiment_id, rows.protocol)
        .order_by(rows.experiment_id, rows.protocol)
    )
    return _frame(store, query, "reading the evaluations")


def training_curves(store: EpisodeStore, ids: Sequence[int], end: int, bins: int) -> pd.DataFrame:
    """Means of the training episodes in `bins` equal spans of decisions from 0 to `end`.

    Args:
        store: the episode store.
        ids: the experiments.
        end: decisions where the last span ends. Later episodes count in the last span.
        bins: how many spans.

    Returns:
        One row for each experiment and span with episodes: `experiment_id`, `bin` (from 0), `episodes` that ended in it, and
        their means `completed` (a share) and `distance` (pixels).
    """
    rows = EPISODES.c
    # width_bucket counts from 1, and gives bins + 1 from `end` on.
    place = func.least(func.width_bucket(cast(rows.global_step, Double), 0.0, float(end), bins), bins) - 1
    played = (
        select(rows.experiment_id, place.label("bin"), _COMPLETED.label("completed"), rows.distance_traveled.label("distance"))
        .where(*_training(ids))
        .subquery()
    )
    query = (
        select(
            played.c.experiment_id,
            played.c.bin,
            func.count().label("episodes"),
            func.avg(played.c.completed).label("completed"),
            func.avg(cast(played.c.distance, Double)).label("distance"),
        )
        .group_by(played.c.experiment_id, played.c.bin)
        .order_by(played.c.experiment_id, played.c.bin)
    )
    return _frame(store, query, "reading the learning curves")


def first_reached(
    store: EpisodeStore, ids: Sequence[int], rates: Sequence[float], window: int = WINDOW
) -> dict[int, tuple[int | None, ...]]:
    """The decisions after which the last `window` training episodes first completed at least a given share of levels.

    Episodes that began along a demonstration do not count.

    Args:
        store: the episode store.
        ids: the experiments.
        rates: the shares.
        window: episodes in the moving rate; earlier episodes do not count.

    Returns:
        For each experiment with training episodes, the decisions for each rate; None: it was not reached.
    """
    rows = EPISODES.c
    whole = rows.start_decision.is_(None)
    over: dict[str, Any] = {
        "partition_by": (rows.experiment_id, whole),
        "order_by": (rows.global_step, rows.id),
        "rows": (-(window - 1), 0),
    }
    played = (
        select(
            rows.experiment_id,
            rows.global_step,
            whole.label("whole"),
            func.sum(cast(rows.level_completed, Integer)).over(**over).label("completed"),
            func.count().over(**over).label("seen"),
        )
        .where(*_training(ids))
        .subquery()
    )
    # Whole episodes are compared, because 0.07 * 100 is more than 7.
    needed = [ceil(round(rate * window, 6)) for rate in rates]
    reached = [
        func.min(played.c.global_step)
        .filter(played.c.whole, played.c.seen == window, played.c.completed >= count)
        .label(str(index))
        for index, count in enumerate(needed)
    ]
    query = select(played.c.experiment_id, *reached).group_by(played.c.experiment_id).order_by(played.c.experiment_id)
    with store.transaction("reading the sample efficiency") as connection:
        return {int(row[0]): tuple(row[1:]) for row in connection.execute(query)}


@dataclass(frozen=True)
class EndingCount:
    """How many episodes ended in one bin of a level for one reason.

    Attributes:
        level: world and stage.
        bin: x position divided by the width of a bin, rounded down.
        reason: why they ended.
        episodes: how many.
        episode: the id of the first of them whose actions are stored; None if there is none.
    """

    level: tuple[int, int]
    bin: int
    reason: str
    episodes: int
    episode: int | None


def endings(store: EpisodeStore, ids: Sequence[int], protocol: str, width: int) -> list[EndingCount]:
    """Where the evaluation episodes of a group of experiments ended, by level, bin and reason.

    Args:
        store: the episode store.
        ids: the experiments of the group.
        protocol: of the evaluation.
        width: of a bin in pixels.
    """
    rows = EPISODES.c
    stored = case((EPISODE_ACTIONS.c.episode_id.is_not(None), rows.id))
    played = (
        select(rows.world, rows.stage, (rows.x_pos // width).label("bin"), rows.end_reason, stored.label("episode"))
        .outerjoin(EPISODE_ACTIONS, EPISODE_ACTIONS.c.episode_id == rows.id)
        .where(rows.experiment_id.in_(list(ids)), rows.phase == "evaluate", rows.protocol == protocol)
        .subquery()
    )
    keys = played.c[:4]
    query: Select[Any] = select(*keys, func.count(), func.min(played.c.episode)).group_by(*keys).order_by(*keys)
    with store.transaction("reading where episodes end") as connection:
        return [
            EndingCount((int(world), int(stage)), int(place), str(reason), int(count), episode)
            for world, stage, place, reason, count, episode in connection.execute(query)
        ]


def _training(ids: Sequence[int]) -> list[Any]:
    return [EPISODES.c.experiment_id.in_(list(ids)), EPISODES.c.phase == "train", EPISODES.c.protocol == "training"]


def _frame(store: EpisodeStore, query: Select[Any], action: str) -> pd.DataFrame:
    with store.transaction(action) as connection:
        return pd.read_sql_query(query, connection)
