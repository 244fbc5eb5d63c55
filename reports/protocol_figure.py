"""The plot of the agent's results under each protocol, with intervals, next to random play."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes

from episodes.statistics import Interval, ProtocolSummary
from reports.results import number, one_trajectory, percent
from reports.style import CASTLE, INK, Picture, colour, legend, new_figure, percent_ticks, png, protocol_label, style_axes

Summaries = Mapping[str, ProtocolSummary]

MEASURES: Final = {
    "completion": ("Completion", "share of episodes completed", "Wilson 95 % intervals"),
    "distance": ("Distance", "distance, pixels", "interquartile mean with bootstrap 95 % intervals"),
}
"""The measures that can be plotted: title, unit, and the kind of interval."""


@dataclass(frozen=True)
class _Estimate:
    value: float
    interval: Interval | None
    one_trajectory: bool

    def describe(self, measure: str) -> str:
        """A description for the alternative text of the plot."""
        write = percent if measure == "completion" else number
        if self.interval is None:
            return f"{write(self.value)}{' (one trajectory)' if self.one_trajectory else ''}"
        return f"{write(self.value)} ({write(self.interval.low)} to {write(self.interval.high)})"


def protocol_picture(names: Sequence[str], summaries: Sequence[Summaries], measure: str) -> Picture | None:
    """Plot `measure` (a key of :data:`MEASURES`), with a row per protocol and a dot with its interval per experiment.

    Returns:
        The plot; None if no protocol was played.
    """
    protocols = list(dict.fromkeys(protocol for each in summaries for protocol in each))
    protocols.sort(key=lambda protocol: protocol == "random")
    if not protocols:
        return None
    title, unit, interval = MEASURES[measure]
    figure = new_figure((5.8, 1.3 + (0.42 + 0.12 * (len(names) - 1)) * len(protocols)))
    axes = figure.subplots()
    descriptions, hollow = [], False
    for row, protocol in enumerate(protocols):
        for index, each in enumerate(summaries):
            if protocol in each:
                estimate = _estimate(each[protocol], measure)
                _draw(axes, estimate, measure, row, index, len(names), protocol == "random")
                hollow = hollow or estimate.interval is None
                who = f" {names[index]}" if len(names) > 1 else ""
                descriptions.append(f"{protocol_label(protocol)}{who} {estimate.describe(measure)}")
    axes.set_yticks(range(len(protocols)), [protocol_label(protocol) for protocol in protocols])
    axes.set_ylim(len(protocols) - 0.4, -0.6)
    style_axes(axes, unit, "", grid="x")
    axes.tick_params(axis="y", colors=INK, labelsize=10)
    if measure == "completion":
        axes.set_xlim(-0.03, 1.03)
        percent_ticks(axes, "x")
    else:
        axes.set_xlim(left=0)
        axes.margins(x=0.08)
    if len(names) > 1:
        for index, name in enumerate(names):
            axes.plot([], [], "o", color=colour(index), label=name)
        legend(axes)
    caption = f"{title} under each protocol; {interval}.{' Hollow: without an interval.' if hollow else ''}"
    return Picture(
        f"protocols-{measure}",
        png(figure),
        f"Dot plot of {title.lower()} under each protocol: {'; '.join(descriptions)}.",
        caption,
    )


def _estimate(summary: ProtocolSummary, measure: str) -> _Estimate:
    if measure == "completion":
        return _Estimate(summary.completion_rate, summary.completion, one_trajectory(summary))
    return _Estimate(summary.distance_interquartile_mean, summary.distance_interval, one_trajectory(summary))


def _draw(axes: Axes, estimate: _Estimate, measure: str, row: int, index: int, experiments: int, random: bool) -> None:
    alone = experiments == 1
    shade = CASTLE if random and alone else colour(index)
    y = row + (0.0 if alone else 0.5 * (index / (experiments - 1) - 0.5))
    if estimate.interval is not None:
        ends = [estimate.interval.low, estimate.interval.high]
        axes.plot(ends, [y, y], color=shade, linewidth=3.2, alpha=0.45, solid_capstyle="round")
    fill = "white" if estimate.interval is None else shade
    size = 8.5 if alone else 6.5
    axes.plot([estimate.value], [y], "o", markersize=size, markerfacecolor=fill, color=shade, markeredgewidth=2)
    if alone:  # labels of several experiments would cover the dots; the table has the numbers
        text = percent(estimate.value) if measure == "completion" else number(estimate.value)
        axes.annotate(text, (estimate.value, y), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9, color=INK)
