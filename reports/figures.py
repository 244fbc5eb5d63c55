"""The report's pictures: each function draws one and says in words what it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from episodes.statistics import ProtocolSummary
from reports.curves import learning_curve, throughput
from reports.data import ExperimentData, PhaseTiming
from reports.results import duration, number, percent
from reports.style import BRICK, CASTLE, COIN, GRID, INK, MUTED, PIPE, WIDE, colour, counted, dress, legend, new_figure, png
from reports.style import protocol_label as label_of


@dataclass(frozen=True)
class Picture:
    """A finished plot: PNG bytes, its file's name without ending, and what it shows, for those who see it and who do not."""

    name: str
    data: bytes
    alt: str
    caption: str
    wide: bool = False


CURVES = {
    "distance_traveled": ("learning-distance", "Distance", "pixels travelled per episode"),
    "reward": ("learning-reward", "Reward", "reward per episode"),
    "level_completed": ("learning-completion", "Completion rate", "share of episodes completed"),
}


def learning_picture(experiments: Sequence[ExperimentData], column: str) -> Picture | None:
    """`column` of the training episodes over environment steps, one line an experiment; None if none has an episode."""
    shown = [(index, experiment) for index, experiment in enumerate(experiments) if len(experiment.train)]
    if not shown:
        return None
    name, title, unit = CURVES[column]
    share = column == "level_completed"
    figure = new_figure(WIDE if column == "distance_traveled" else (5.8, 3.5))
    axes = figure.subplots()
    told, windows = [], set()
    for index, experiment in shown:
        curve = learning_curve(experiment.train, column)
        windows.add(curve.window)
        few = len(curve.values) < 3
        if not share and (len(shown) == 1 or few):
            axes.scatter(
                curve.steps, curve.values, s=26 if few else 7, color=colour(index), alpha=1 if few else 0.22, linewidths=0
            )
        if not share and curve.window > 1:
            axes.fill_between(curve.steps, curve.low, curve.high, color=colour(index), alpha=0.16, linewidth=0)
        axes.plot(curve.steps, curve.mean, color=colour(index), linewidth=2.2, label=experiment.name, marker="o" if few else "")
        last = percent(curve.mean[-1]) if share else number(curve.mean[-1], 0 if column == "distance_traveled" else 1)
        told.append(f"{experiment.name} ends at {last}")
    dress(axes, "environment steps", unit)
    counted(axes)
    axes.set_xlim(left=0)
    if share:
        top = max(0.05, axes.get_ylim()[1])
        axes.set_ylim(0, min(1.02, top * 1.05))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    if len(shown) > 1:
        legend(axes)
    window = f"{min(windows)} to {max(windows)}" if len(windows) > 1 else str(max(windows))
    spread = (
        ""
        if share or windows == {1}
        else "; band: middle half of them" + ("; dots: single episodes" if len(shown) == 1 else "")
    )
    line = "Each training episode" if windows == {1} else f"Line: mean of the last {window} training episodes{spread}"
    return Picture(
        name, png(figure), f"Line plot of {title.lower()} over environment steps: {'; '.join(told)}.", f"{title}. {line}.",
        wide=column == "distance_traveled",
    )  # fmt: skip


Summaries = Mapping[str, ProtocolSummary]


def protocol_picture(names: Sequence[str], summaries: Sequence[Summaries], measure: str) -> Picture | None:
    """`measure` ("completion", "distance" or "reward") with its interval, a row a protocol and a dot an experiment."""
    protocols = list(dict.fromkeys(protocol for each in summaries for protocol in each))
    protocols.sort(key=lambda protocol: protocol == "random")
    if not protocols:
        return None
    figure = new_figure((5.8, 1.3 + 0.42 * len(protocols) + 0.12 * len(protocols) * (len(names) - 1)))
    axes = figure.subplots()
    told = []
    for row, protocol in enumerate(protocols):
        for index, each in enumerate(summaries):
            if protocol not in each:
                continue
            y = row + (0.0 if len(names) == 1 else 0.5 * (index / (len(names) - 1) - 0.5))
            told.append(
                f"{label_of(protocol)} {names[index] if len(names) > 1 else ''}".strip()
                + f" {_dot(axes, each[protocol], measure, y, _dot_colour(protocol, index, len(names)), index)}"
            )  # noqa: E501
    axes.set_yticks(range(len(protocols)), [label_of(protocol) for protocol in protocols])
    axes.set_ylim(len(protocols) - 0.4, -0.6)
    unit = {"completion": "share of episodes completed", "distance": "distance, pixels", "reward": "reward per episode"}[
        measure
    ]
    dress(axes, unit, "", grid="x")
    axes.tick_params(axis="y", colors=INK, labelsize=10)
    if measure == "completion":
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    elif measure == "distance":
        axes.set_xlim(left=0)
    if len(names) > 1:
        for index, name in enumerate(names):
            axes.plot([], [], "o", color=colour(index), label=name)
        legend(axes)
    how = "Wilson 95 % intervals" if measure == "completion" else "interquartile mean with bootstrap 95 % intervals"
    title = {"completion": "Completion", "distance": "Distance", "reward": "Reward"}[measure]
    return Picture(
        f"protocols-{measure}", png(figure), f"Dot plot of {title.lower()} under each protocol: {'; '.join(told)}.",
        f"{title} under each protocol; {how}. Hollow: one trajectory only, no interval.",
    )  # fmt: skip


def _dot_colour(protocol: str, index: int, experiments: int) -> str:
    return CASTLE if protocol == "random" and experiments == 1 else colour(index)


def _dot(axes: Axes, summary: ProtocolSummary, measure: str, y: float, shade: str, index: int) -> str:
    """Draw one estimate with its interval and say it in words."""
    if measure == "completion":
        value, interval, said = summary.completed / max(1, summary.episodes), summary.completion, percent
    elif measure == "distance":
        value, interval, said = summary.distance_iqm, summary.distance_interval, number
    else:
        value, interval, said = summary.reward_iqm, summary.reward_interval, lambda reward: number(reward, 1)
    one = summary.distinct == 1 and summary.episodes > 1
    if not one:
        axes.plot([interval.low, interval.high], [y, y], color=shade, linewidth=3.2, alpha=0.45, solid_capstyle="round")
    axes.plot([value], [y], "o", markersize=8.5, markerfacecolor="white" if one else shade, color=shade, markeredgewidth=2)
    axes.annotate(said(value), (value, y), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9, color=INK)
    return f"{said(value)} (one trajectory)" if one else f"{said(value)} ({said(interval.low)} to {said(interval.high)})"


def throughput_picture(experiments: Sequence[ExperimentData]) -> Picture | None:
    """Environment steps a second over the time of training; None if no experiment has enough rows."""
    figure = new_figure()
    axes = figure.subplots()
    told = []
    minutes = all((series.hours[-1] if series else 0) < 2 for series in (throughput(each.train) for each in experiments))
    for index, experiment in enumerate(experiments):
        series = throughput(experiment.train)
        if series is None:
            continue
        time = series.hours * (60 if minutes else 1)
        axes.plot(
            time,
            series.steps_per_second,
            color=colour(index),
            linewidth=2,
            label=experiment.name,
            marker="o" if len(time) < 3 else "",
        )
        axes.axhline(series.mean, color=colour(index), linewidth=1, linestyle=(0, (4, 3)), alpha=0.8)
        told.append(f"{experiment.name} {number(series.mean)} steps/s on average")
    if not told:
        return None
    dress(axes, f"{'minutes' if minutes else 'hours'} since training began", "steps per second")
    axes.set_ylim(bottom=0)
    if len(experiments) > 1:
        legend(axes)
    return Picture(
        "throughput", png(figure), f"Line plot of training speed over time: {'; '.join(told)}.",
        f"Training speed, all environments together, updates included; dashed: mean ({'; '.join(told)}).",
    )  # fmt: skip


PHASE_COLOURS = {"completed": PIPE, "passed": PIPE, "failed": BRICK, "crashed": BRICK, "running": COIN}


def phases_picture(phases: Sequence[PhaseTiming]) -> Picture | None:
    """One bar a phase of the pipeline; None if none has a duration."""
    timed = [phase for phase in phases if phase.seconds is not None]
    if not timed:
        return None
    figure = new_figure()
    axes = figure.subplots()
    seconds = np.array([float(phase.seconds or 0) for phase in timed])
    shades = [PHASE_COLOURS.get(phase.status.lower(), CASTLE) for phase in timed]
    axes.barh(range(len(timed)), seconds, color=shades, height=0.58)
    for row, phase in enumerate(timed):
        status = "" if phase.status.lower() in ("completed", "passed") else f" · {phase.status}"
        axes.annotate(
            f"{duration(seconds[row])}{status}",
            (seconds[row], row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )  # noqa: E501
    axes.set_yticks(range(len(timed)), [phase.name for phase in timed])
    axes.set_ylim(len(timed) - 0.4, -0.6)
    axes.set_xlim(0, max(seconds.max(), 1e-6) * 1.28)
    dress(axes, "seconds", "", grid="x")
    counted(axes)
    axes.tick_params(axis="y", colors=INK, labelsize=10)
    told = "; ".join(f"{phase.name} {duration(phase.seconds or 0)}, {phase.status}" for phase in timed)
    return Picture(
        "phases", png(figure), f"Bar chart of the phases' durations: {told}.", "How long each phase of the pipeline took."
    )


__all__ = ["GRID", "MUTED", "Picture", "learning_picture", "phases_picture", "protocol_picture", "throughput_picture"]
