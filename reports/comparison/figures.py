"""The plots of a comparison: scores of the groups, learning curves with bands, and performance profiles."""

from typing import Final, Literal

import numpy as np
from matplotlib.axes import Axes

from reports.comparison.groups import level_name
from reports.comparison.results import PROFILE_THRESHOLDS, Estimate, GroupCurve, Results
from reports.results import number, percent
from reports.style import (
    HALF,
    INK,
    MUTED,
    Picture,
    abbreviate_ticks,
    colour,
    legend,
    new_figure,
    percent_ticks,
    png,
    style_axes,
)

MOST_LEVELS: Final = 12
"""Levels in a plot of learning curves; the tables have all of them."""

_COLUMNS: Final = 2
_CURVES: Final = {
    "completion": ("curves-completion", "Completion rate", "share of episodes completed"),
    "distance": ("curves-distance", "Distance", "pixels travelled per episode"),
}


def scores_picture(results: Results) -> Picture:
    """The completion of each group: its interquartile mean with interval, and its seeds as small dots; a row for each level."""
    grouping = results.grouping
    variants, levels = grouping.variants, grouping.levels
    figure = new_figure((HALF[0], 1.3 + (0.32 + 0.16 * len(variants)) * len(levels)))
    axes = figure.subplots()
    descriptions = []
    for row, level in enumerate(levels):
        for index, variant in enumerate(variants):
            group = grouping.group(variant, level)
            estimate = None if group is None else results.estimate(group)
            if group is not None and estimate is not None:
                y = row + (0.0 if len(variants) == 1 else 0.62 * (index / (len(variants) - 1) - 0.5))
                _dot(axes, estimate, y, colour(index))
                descriptions.append(f"{group.name} {percent(estimate.value)}")
        random = results.random_completion(level)
        if random is not None:
            axes.plot([random, random], [row - 0.4, row + 0.4], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_yticks(range(len(levels)), [level_name(level) for level in levels])
    axes.set_ylim(len(levels) - 0.4, -0.6)
    axes.set_xlim(-0.03, 1.03)
    style_axes(axes, "share of episodes completed", "", grid="x")
    axes.tick_params(axis="y", colors=INK, labelsize=10)
    percent_ticks(axes, "x")
    _variant_legend(axes, variants)
    caption = (
        "Completion by level. Large dots: interquartile mean over the seeds with its 95 % interval; hollow: one seed. "
        "Small dots: the seeds. Dashed: a random policy."
    )
    return Picture("scores", png(figure), f"Dot plot of the completion by level: {'; '.join(descriptions)}.", caption)


def profile_picture(results: Results) -> Picture | None:
    """The performance profile of each variant; None if no level is common to all."""
    grouping = results.grouping
    if not grouping.common_levels:
        return None
    figure = new_figure()
    axes = figure.subplots()
    descriptions = []
    for index, variant in enumerate(grouping.variants):
        profile, band = results.profile(variant)
        if band is not None:
            axes.fill_between(PROFILE_THRESHOLDS, *band, color=colour(index), alpha=0.16, linewidth=0, step="post")
        axes.step(PROFILE_THRESHOLDS, profile, where="post", color=colour(index), linewidth=2.2, label=variant)
        middle = float(profile[np.searchsorted(PROFILE_THRESHOLDS, 0.5)])
        descriptions.append(f"{percent(middle)} of the runs of {variant} complete more than half of their episodes")
    style_axes(axes, "τ: share of episodes completed", "share of runs above τ")
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.02, 1.03)
    percent_ticks(axes, "x")
    percent_ticks(axes)
    if len(grouping.variants) > 1:
        legend(axes, columns=2)
    runs = "runs: seeds on all levels" if len(grouping.common_levels) > 1 else "runs: seeds"
    caption = f"Performance profile ({runs}). Bands: 95 % intervals, each threshold by itself."
    return Picture("profile", png(figure), f"Performance profile: {'; '.join(descriptions)}.", caption)


def curves_picture(results: Results, score: Literal["completion", "distance"]) -> Picture | None:
    """The learning curves of all groups, one panel for each level; None without training episodes."""
    name, title, unit = _CURVES[score]
    grouping = results.grouping
    curves = {group.name: results.curve(group, score) for group in grouping.groups}
    levels = [
        level for level in grouping.levels if any(group.level == level and curves[group.name] for group in grouping.groups)
    ][:MOST_LEVELS]
    if not levels:
        return None
    columns = min(_COLUMNS, len(levels))
    rows = -(-len(levels) // columns)
    figure = new_figure((11.8, 0.5 + 2.9 * rows))
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    descriptions = []
    for panel, level in zip(panels.flat, levels, strict=False):
        for index, variant in enumerate(grouping.variants):
            curve = curves.get(f"{variant} · {level_name(level)}")
            if curve is not None:
                _line(panel, curve, colour(index))
                last = float(curve.mean[-1])
                end = percent(last) if score == "completion" else f"{number(last)} pixels"
                descriptions.append(f"{variant} on {level_name(level)} ends at {end}")
        style_axes(panel, "decisions", unit)
        panel.set_xlim(0, results.data.end)
        abbreviate_ticks(panel)
        panel.set_title(level_name(level), fontsize=10, color=INK, loc="right")
        if score == "completion":
            panel.set_ylim(-0.02, 1.02)
            percent_ticks(panel)
    for panel in list(panels.flat)[len(levels) :]:
        panel.set_visible(False)
    _variant_legend(panels.flat[0], grouping.variants)
    caption = f"{title} in training: interquartile mean over the seeds, with 95 % intervals."
    alt = f"Line plots of the {title.lower()} over decisions: {'; '.join(descriptions)}."
    return Picture(name, png(figure), alt, caption, wide=True)


def _dot(axes: Axes, estimate: Estimate, y: float, shade: str) -> None:
    axes.plot(estimate.scores, np.full(estimate.scores.size, y), "o", markersize=3.5, color=shade, alpha=0.5, markeredgewidth=0)
    if estimate.interval is not None:
        ends = [estimate.interval.low, estimate.interval.high]
        axes.plot(ends, [y, y], color=shade, linewidth=3.2, alpha=0.45, solid_capstyle="round")
    fill = "white" if estimate.interval is None else shade
    axes.plot([estimate.value], [y], "o", markersize=7.5, markerfacecolor=fill, color=shade, markeredgewidth=2)


def _line(axes: Axes, curve: GroupCurve, shade: str) -> None:
    if curve.band is not None:
        axes.fill_between(curve.steps, *curve.band, color=shade, alpha=0.16, linewidth=0)
    axes.plot(curve.steps, curve.mean, color=shade, linewidth=2, marker="o" if len(curve.steps) < 3 else "")


def _variant_legend(axes: Axes, variants: list[str]) -> None:
    if len(variants) > 1:
        for index, variant in enumerate(variants):
            axes.plot([], [], "o", color=colour(index), label=variant)
        legend(axes, columns=2)
