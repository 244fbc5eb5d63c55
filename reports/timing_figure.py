"""Plots of the training speed and of the phases' durations."""

from collections.abc import Sequence
from typing import Final

from reports.curves import throughput
from reports.data import ExperimentData, PhaseTiming
from reports.results import duration, number
from reports.style import BRICK, CASTLE, COIN, INK, PIPE, Picture, abbreviate_ticks, colour, legend, new_figure, png, style_axes

STATUS_COLOURS: Final = {"completed": PIPE, "failed": BRICK, "crashed": BRICK, "running": COIN}


def throughput_picture(experiments: Sequence[ExperimentData]) -> Picture | None:
    """The environment steps per second over the training time; None if no experiment has an episode."""
    measured = [(index, each.name, throughput(each.train)) for index, each in enumerate(experiments)]
    series = [(index, name, own) for index, name, own in measured if own is not None]
    if not series:
        return None
    figure = new_figure()
    axes = figure.subplots()
    minutes = all(own.hours[-1] < 2 for _, _, own in series)
    for index, name, own in series:
        time = own.hours * (60 if minutes else 1)
        marker = "o" if len(time) < 3 else ""
        axes.plot(time, own.steps_per_second, color=colour(index), linewidth=2, label=name, marker=marker)
        axes.axhline(own.mean, color=colour(index), linewidth=1, linestyle=(0, (4, 3)), alpha=0.8)
    style_axes(axes, f"{'minutes' if minutes else 'hours'} since the start of the training", "steps per second")
    axes.set_ylim(bottom=0)
    if len(series) > 1:
        legend(axes)
    descriptions = "; ".join(f"{name} {number(own.mean)} steps/s" for _, name, own in series)
    caption = f"Training speed by the clock, all environments together, updates included. Dashed: mean ({descriptions})."
    return Picture("throughput", png(figure), f"Line plot of training speed over time, on average: {descriptions}.", caption)


def phases_picture(phases: Sequence[PhaseTiming]) -> Picture | None:
    """The durations of the phases, one bar per phase; None if none has a duration."""
    timed = [(phase, phase.seconds) for phase in phases if phase.seconds is not None]
    if not timed:
        return None
    figure = new_figure()
    axes = figure.subplots()
    longest = max(seconds for _, seconds in timed)
    unit, divisor = ("seconds", 1) if longest < 300 else ("minutes", 60) if longest < 7200 else ("hours", 3600)
    for row, (phase, seconds) in enumerate(timed):
        axes.barh(row, seconds / divisor, color=STATUS_COLOURS.get(phase.status.lower(), CASTLE), height=0.58)
        label = duration(seconds) if phase.status.lower() == "completed" else f"{duration(seconds)}, {phase.status}"
        place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(label, (seconds / divisor, row), fontsize=9, color=INK, **place)  # type: ignore[arg-type]
    axes.set_yticks(range(len(timed)), [phase.name for phase, _ in timed])
    axes.set_ylim(len(timed) - 0.4, -0.6)
    axes.set_xlim(0, max(longest / divisor, 1e-6) * 1.3)
    style_axes(axes, unit, "", grid="x")
    abbreviate_ticks(axes)
    axes.tick_params(axis="y", colors=INK, labelsize=10)
    descriptions = "; ".join(f"{phase.name} {duration(seconds)}, {phase.status}" for phase, seconds in timed)
    caption = "How long each phase of the pipeline took."
    return Picture("phases", png(figure), f"Bar chart of the phases' durations: {descriptions}.", caption)
