"""Rules of drift: figures that change too much in the course of a training, or between validation and evaluation.

No single row is wrong then, and there may be a good reason. So these rules are warnings: they are shown and stop nothing.
"""

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import case, func, select

from episodes.quality import RuleResult
from episodes.schema import EPISODES
from episodes.statistics import Interval, wilson

if TYPE_CHECKING:
    from episodes.store import EpisodeStore

_PARTS: Final = 5
_MIN_EPISODES: Final = 20  # in each part; with fewer, the rule is not applied
_MAX_FACTOR: Final = 2.0
# Validation chooses the best of several policies, so its completion rate there is biased upwards.
_CONFIDENCE: Final = 0.99


def drift_rules(store: "EpisodeStore", experiment_id: int, phase: str) -> list[RuleResult]:
    """The rules of drift for a phase: two for training, one for the evaluation of a policy that was validated."""
    if phase == "train":
        return _within_training(store, experiment_id)
    return _after_validation(store, experiment_id) if phase == "evaluate" else []


def _within_training(store: "EpisodeStore", experiment_id: int) -> list[RuleResult]:
    rows = EPISODES.c
    parts = (
        select(
            func.ntile(_PARTS).over(order_by=rows.id).label("part"),
            (rows.steps / func.nullif(rows.duration_seconds, 0.0)).label("speed"),
            rows.reward,
            rows.distance_traveled,
        )
        .where(rows.experiment_id == experiment_id, rows.phase == "train", rows.protocol == "training")
        .subquery()
        .c
    )
    query = (
        select(
            func.count(),
            func.percentile_cont(0.5).within_group(parts.speed),
            func.sum(parts.reward) / func.greatest(func.sum(parts.distance_traveled), 1),
        )
        .where(parts.part.in_((1, _PARTS)))
        .group_by(parts.part)
        .order_by(parts.part)
    )
    with store.transaction("comparing parts of the training") as connection:
        found = connection.execute(query).all()
    enough = len(found) == 2 and min(part[0] for part in found) >= _MIN_EPISODES
    (_, early_speed, early_reward), (_, late_speed, late_reward) = found if enough else ((0, None, None),) * 2
    return [
        _compared(
            "the speed holds",
            "steps, duration_seconds",
            (early_speed, late_speed),
            "steps/s",
            f"the median of the last fifth is at least 1/{_MAX_FACTOR:.0f} of that of the first fifth",
            float("inf"),
        ),
        _compared(
            "the reward for a pixel holds",
            "reward, distance_traveled",
            (early_reward, late_reward),
            "a pixel",
            f"that of the last fifth is 1/{_MAX_FACTOR:.0f} to {_MAX_FACTOR:.0f} times that of the first, if that is above 0",
            _MAX_FACTOR,
        ),
    ]


def _compared(
    name: str, columns: str, values: tuple[float | None, float | None], unit: str, expected: str, most: float
) -> RuleResult:
    early, late = values
    if early is None or late is None:
        return RuleResult(name, columns, True, "too few episodes to tell", expected, [], 0, "warning")
    passed = early <= 0 or 1 / _MAX_FACTOR <= late / early <= most
    return RuleResult(name, columns, passed, f"{early:.4g} {unit}, then {late:.4g}", expected, [], 0, "warning")


def _after_validation(store: "EpisodeStore", experiment_id: int) -> list[RuleResult]:
    rows = EPISODES.c
    figures = func.count(), func.sum(case((rows.level_completed, 1), else_=0))
    key = rows.protocol, rows.global_step
    query = select(*key, *figures).where(rows.experiment_id == experiment_id).group_by(*key)
    with store.transaction("comparing validation and evaluation") as connection:
        validated = _by_key(connection.execute(query.where(rows.phase == "train", rows.protocol != "training")))
        evaluated = _by_key(connection.execute(query.where(rows.phase == "evaluate", rows.protocol != "random")))
    results = []
    for (protocol, step), (count, completed) in evaluated.items():
        if (protocol, step) not in validated:
            continue
        before = wilson(validated[protocol, step][1], validated[protocol, step][0], _CONFIDENCE)
        after = wilson(completed, count, _CONFIDENCE)
        results.append(
            RuleResult(
                f"completion is that of the validation ({protocol})",
                "level_completed",
                before.low <= after.high and after.low <= before.high,
                f"{_completed(*validated[protocol, step], before)} in validation, {_completed(count, completed, after)} now",
                f"{_CONFIDENCE:.0%} intervals that overlap",
                [],
                0,
                "warning",
            )
        )
    return results


def _by_key(found: Any) -> dict[tuple[str, int], tuple[int, int]]:
    return {(row[0], int(row[1])): (int(row[2]), int(row[3])) for row in found}


def _completed(count: int, completed: int, interval: Interval) -> str:
    return f"{completed} of {count} ({interval.low:.0%} to {interval.high:.0%})"
