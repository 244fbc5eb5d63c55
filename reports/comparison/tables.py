"""The figures of a comparison as formatted cards and tables for the template."""

from collections.abc import Callable
from typing import Any, Final

from episodes.across_seeds import FEW_SEEDS
from episodes.statistics import Interval
from reports.comparison.groups import Group, differences, level_name
from reports.comparison.results import Efficiency, Estimate, Results
from reports.results import number, percent, plural
from reports.style import colour
from reports.tables import Cell, Row

MOST_CARDS: Final = 8
QUARTERS: Final = (0.25, 0.5, 0.75, 1.0)
"""Shares of the longest training at which the completion is shown."""


def cards(results: Results) -> list[Row]:
    """The completion of each group; of each variant over the common levels, if there are too many groups."""
    grouping = results.grouping
    if len(grouping.groups) <= MOST_CARDS:
        pairs = [(group.name, results.estimate(group), plural_seeds(len(group.members))) for group in grouping.groups]
    else:
        levels = len(grouping.common_levels)
        pairs = [(variant, results.overall(variant), f"{levels} {plural(levels, 'level')}") for variant in grouping.variants]
    return [
        {"label": label, "value": percent(each.value), "note": f"{between(each)}; {counted}" if each.interval else counted}
        for label, each, counted in pairs[:MOST_CARDS]
        if each is not None
    ]


def group_rows(results: Results) -> list[Row]:
    """One row for each group, and one for a random policy on each level where it was played."""
    rows: list[Row] = []
    for level in results.grouping.levels:
        for index, variant in enumerate(results.grouping.variants):
            group = results.grouping.group(variant, level)
            if group is not None:
                rows.append(_group_row(results, group, colour(index)))
        random = results.random_completion(level)
        if random is not None:
            nothing = [Cell("–")] * 2
            cells = [Cell(percent(random)), *nothing]
            rows.append({"variant": "random policy", "level": level_name(level), "seeds": "–", "cells": cells, "colour": ""})
    return rows


def _group_row(results: Results, group: Group, shade: str) -> Row:
    distance, reward = results.estimate(group, "distance"), results.estimate(group, "reward")
    return {
        "variant": group.variant,
        "level": level_name(group.level),
        "seeds": str(len(group.members)),
        "cells": [
            estimate_cell(results.estimate(group)),
            estimate_cell(distance, number),
            estimate_cell(reward, lambda value: number(value, 1)),
        ],
        "colour": shade,
    }


def protocol_rows(results: Results) -> list[Row]:
    """The completion of each group under the other protocols; no rows if there are none."""
    protocols = results.protocols()
    return [
        {
            "name": group.name,
            "cells": [estimate_cell(results.estimate(group, "completion", protocol)) for protocol in protocols],
        }
        for group in results.grouping.groups
        if protocols
    ]


def overall_rows(results: Results) -> list[Row]:
    """Each variant over the common levels; no rows if there is at most one."""
    if len(results.grouping.common_levels) < 2:
        return []
    rows: list[Row] = []
    for index, variant in enumerate(results.grouping.variants):
        estimate = results.overall(variant)
        if estimate is not None:
            gap, interval = results.optimality_gap(variant)
            runs = number(estimate.scores.size)
            cells = [estimate_cell(estimate), Cell(percent(gap), _between(interval))]
            rows.append({"variant": variant, "runs": runs, "cells": cells, "colour": colour(index)})
    return rows


def improvement_rows(results: Results) -> list[Row]:
    """The probability of improvement of each pair of variants, first over the common levels and then on each level."""
    levels = len(results.grouping.common_levels)
    return [
        {
            "pair": f"{each.first} over {each.second}",
            "level": each.level or f"all {levels} common levels",
            "cell": Cell(percent(each.probability), _improvement_interval(each.interval)),
            "verdict": each.verdict,
        }
        for each in sorted(results.improvements(), key=lambda each: each.level != "")
    ]


def efficiency_rows(results: Results) -> list[Row]:
    """After how many decisions each group reached a rate of completion, and how far it was along the training."""
    rows: list[Row] = []
    for group in results.grouping.groups:
        curve = results.curve(group, "completion")
        if curve is not None:
            reached = [_reached_cell(each) for each in results.efficiency(group)]
            along = [Cell("–" if (value := curve.at(share)) is None else percent(value)) for share in QUARTERS]
            rows.append({"name": group.name, "cells": [*reached, *along]})
    return rows


def _reached_cell(efficiency: Efficiency) -> Cell:
    reached, seeds = len(efficiency.steps), efficiency.seeds
    counted = f"{reached} of {plural_seeds(seeds)}"
    if not reached:
        return Cell("not reached", counted if seeds > 1 else "1 seed")
    median = efficiency.median
    value = number(median) if median is not None else "in less than half"
    spread = f"{number(efficiency.steps[0])} to {number(efficiency.steps[-1])}, " if reached > 1 else ""
    return Cell(value, f"{spread}{counted}" if seeds > 1 else "1 seed")


def seed_rows(results: Results) -> list[Row]:
    """Every seed, with links to its report and its run."""
    return [
        {
            "group": group.name,
            "seed": str(each.config.seed),
            "name": each.name,
            "id": each.id,
            "completion": percent(results.score(each.id, "completion")),
            "episodes": number(results.episodes(each.id)),
            "distance": number(results.score(each.id, "distance")),
            "status": each.status,
            "report": each.report,
            "run": each.run,
        }
        for group in results.grouping.groups
        for each in group.members
    ]


def difference_rows(results: Results) -> list[Row]:
    """The settings in which the variants differ."""
    return [{"key": key, "values": [_value(value) for value in values]} for key, values in differences(results.grouping)]


def notes(results: Results) -> list[str]:
    """What a reader must know about intervals over few seeds."""
    counts = sorted({len(group.members) for group in results.grouping.groups})
    found = []
    if 1 in counts:
        found.append("A group with one seed has no interval: nothing is known about other seeds.")
    few = [count for count in counts if 2 <= count <= FEW_SEEDS]
    if few:
        # The median of a continuous distribution lies outside the range of n values with probability 2 ** (1 - n).
        chances = ", ".join(f"{percent(1 - 2 ** (1 - count))} of the time with {count}" for count in few)
        found.append(
            f"With 2 to {FEW_SEEDS} seeds an interval is only the range from the lowest seed to the highest. Such a range "
            f"contains the median of all possible seeds {chances}, not 95 %."
        )
    return found


def estimate_cell(estimate: Estimate | None, write: Callable[[float], str] = percent) -> Cell:
    """An estimate with its interval, or with the reason why there is none."""
    return Cell("–") if estimate is None else Cell(write(estimate.value), between(estimate, write))


def between(estimate: Estimate, write: Callable[[float], str] = percent) -> str:
    """The interval of an estimate in words, or why there is none."""
    if estimate.interval is None:
        return "1 seed" if estimate.scores.size == 1 else "no interval: 1 seed on a level"
    if estimate.interval.low == estimate.interval.high:
        return "all seeds alike"
    return _between(estimate.interval, write)


def plural_seeds(count: int) -> str:
    """The number of seeds in words."""
    return f"{count} {plural(count, 'seed')}"


def _between(interval: Interval | None, write: Callable[[float], str] = percent) -> str:
    return "no interval" if interval is None else f"{write(interval.low)} to {write(interval.high)}"


def _improvement_interval(interval: Interval | None) -> str:
    if interval is not None and interval.low == interval.high:
        return "in every pair of seeds" if interval.low in (0, 1) else "in every resample"
    return _between(interval)


def _value(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
