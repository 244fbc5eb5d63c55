"""The learning curves."""

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes

from reports.curves import Curve, learning_curve, validation_points
from reports.data import ExperimentData
from reports.results import number, percent
from reports.style import HALF, WIDE, Picture, abbreviate_ticks, colour, legend, new_figure, percent_ticks, png, style_axes

CURVES: Final = {
    "distance_traveled": ("learning-distance", "Distance", "pixels travelled per episode"),
    "reward": ("learning-reward", "Reward", "reward per episode"),
    "level_completed": ("learning-completion", "Completion rate", "share of episodes completed"),
}
"""The columns that have a curve: file name, title and unit."""

FEW_EPISODES: Final = 3  # with fewer, points are drawn instead of a line


def learning_picture(experiments: Sequence[ExperimentData], column: str) -> Picture | None:
    """`column` of the training episodes over environment steps, one line per experiment; None if there are no episodes."""
    name, title, unit = CURVES[column]
    curves = [(index, each.name, learning_curve(each.train, column)) for index, each in enumerate(experiments)]
    curves = [(index, own, curve) for index, own, curve in curves if len(curve.values)]
    if not curves:
        return None
    share, wide = column == "level_completed", column == "distance_traveled"
    figure = new_figure(WIDE if wide else HALF)
    axes = figure.subplots()
    for index, own, curve in curves:
        if not share and len(curves) == 1:  # bands and dots of several experiments would hide the lines
            _spread(axes, curve, colour(index))
        marker = "o" if len(curve.values) < FEW_EPISODES else ""
        axes.plot(curve.steps, curve.mean, color=colour(index), linewidth=2.2, label=own, marker=marker)
        axes.plot(
            *validation_points(experiments[index].train, column),
            color=colour(index),
            linestyle="",
            marker="D",
            markersize=6,
            markeredgecolor="white",
            zorder=3,
        )
    style_axes(axes, "environment steps", unit)
    abbreviate_ticks(axes)
    axes.set_xlim(left=0)
    if share:
        axes.set_ylim(0, min(1.02, 1.05 * max(0.05, axes.get_ylim()[1])))
        percent_ticks(axes)
    if len(curves) > 1:
        legend(axes)
    descriptions = "; ".join(f"{own} ends at {_describe(curve, column)}" for _, own, curve in curves)
    validated = any(len(experiments[index].train.validation) for index, _, _ in curves)
    diamonds = "; diamonds: means of the validations" if validated else ""
    caption = f"{title}. {_line(curves, share)}{diamonds}."
    return Picture(
        name, png(figure), f"Line plot of {title.lower()} over environment steps: {descriptions}.", caption, wide=wide
    )


def _spread(axes: Axes, curve: Curve, shade: str) -> None:
    """Draw single episodes as dots, and the range between the quartiles of each window as a band."""
    few = len(curve.values) < FEW_EPISODES
    axes.scatter(curve.steps, curve.values, s=26 if few else 7, color=shade, alpha=1 if few else 0.22, linewidths=0)
    if curve.window > 1:
        axes.fill_between(curve.steps, curve.low, curve.high, color=shade, alpha=0.16, linewidth=0)


def _describe(curve: Curve, column: str) -> str:
    last = float(curve.mean[-1])
    return percent(last) if column == "level_completed" else number(last, 0 if column == "distance_traveled" else 1)


def _line(curves: Sequence[tuple[int, str, Curve]], share: bool) -> str:
    windows = sorted({curve.window for _, _, curve in curves})
    if windows == [1]:
        return "Each training episode"
    window = f"{windows[0]} to {windows[-1]}" if len(windows) > 1 else f"{windows[0]}"
    spread = "; band: the middle half of them; dots: single episodes" if len(curves) == 1 and not share else ""
    return f"Line: mean of the last {window} training episodes{spread}"
