"""The plot of the positions in a level where episodes end."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.ticker import MaxNLocator

from configs.levels import FINISH_X
from reports.choice import headline_protocol
from reports.data import ExperimentData
from reports.deaths import BIN_WIDTH, Endings, endings, levels_of
from reports.results import number, percent
from reports.style import (
    CASTLE,
    END_REASON_COLOURS,
    END_REASON_LABELS,
    INK,
    MUTED,
    Picture,
    new_figure,
    percent_ticks,
    png,
    style_axes,
)

Level = tuple[int, int]
Image = npt.NDArray[np.uint8]


def agent_rows(experiment: ExperimentData) -> tuple[pd.DataFrame, str]:
    """The episodes of the headline protocol, or the last of the training if there are none; and a description of them."""
    rows = experiment.evaluation
    protocol = headline_protocol(rows) if len(rows) else None
    if protocol is not None:
        return rows[rows["protocol"] == protocol], f"{protocol} evaluation"
    return experiment.train.last, f"last {len(experiment.train.last)} training episodes"


def endings_pictures(experiments: Sequence[ExperimentData], panoramas: Mapping[Level, Image]) -> list[Picture]:
    """A plot for each of the at most three levels in which most episodes end, with the agents above and random play below."""
    groups = [(experiment.name, *agent_rows(experiment)) for experiment in experiments]
    groups = [group for group in groups if len(group[1])]
    random = [each.evaluation[each.evaluation["protocol"] == "random"] for each in experiments if len(each.evaluation)]
    chance = pd.concat(random) if random else pd.DataFrame()
    if not groups:
        return []
    levels = levels_of(pd.concat([rows for _, rows, _ in groups]))
    return [_picture(level, groups, chance, panoramas.get(level), FINISH_X.get(level, 0)) for level in levels]


def _picture(
    level: Level, groups: Sequence[tuple[str, pd.DataFrame, str]], chance: pd.DataFrame, panorama: Image | None, finish: int
) -> Picture:
    rows = [*(rows for _, rows, _ in groups), *([chance] if len(chance) else [])]
    here = pd.concat([each[(each["world"] == level[0]) & (each["stage"] == level[1])] for each in rows])
    end_x = max(float(here["x_pos"].max()), float(finish), 256.0)
    heights = [1.5] * len(groups) + ([0.72] if panorama is not None else []) + ([1.0] if len(chance) else [])
    figure = new_figure((11.8, 0.75 + sum(heights)))
    grid = np.atleast_1d(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    shown: list[Endings] = []
    for axes, (name, own, source) in zip(grid, groups, strict=False):
        shown.append(endings(own, level, end_x))
        draw_bars(axes, shown[-1], f"{name}: {source} ({len(own)})")
    if panorama is not None:
        _strip(grid[len(groups)], panorama)
    if len(chance):
        reference = endings(chance, level, end_x)
        draw_bars(grid[-1], reference, f"random policy ({len(chance)})", single=CASTLE)
    draw_reasons(grid[0], [reason for each in shown for reason in each.shares])
    grid[-1].set_xlabel(f"x position in level {level[0]}-{level[1]}, pixels", color=MUTED, fontsize=9.5)
    grid[-1].set_xlim(0, end_x + BIN_WIDTH / 2)
    if finish:
        for axes in grid:
            axes.axvline(finish, color=INK, linewidth=1.2, linestyle=(0, (3, 3)))
    descriptions = "; ".join(_describe_endings(name, each) for (name, _, _), each in zip(groups, shown, strict=True))
    line = " The dashed line is the level's end." if finish else ""
    place = f"level {level[0]}-{level[1]}"
    caption = f"Where episodes end in {place}, by reason; bins of {BIN_WIDTH} pixels (four blocks).{line}"
    alt = f"Histogram of where episodes end in {place}: {descriptions}."
    return Picture(f"endings-{level[0]}-{level[1]}", png(figure), alt, caption, wide=True)


def draw_bars(
    axes: Axes, shown: Endings, title: str, single: str | None = None, *, side: Literal["left", "right"] = "right"
) -> dict[str, BarContainer]:
    """Draw the shares as bars, one on the other by reason, and return the bars of each reason, one for each bin.

    Args:
        axes: where to draw.
        shown: the endings.
        title: written into the plot.
        single: one colour for all reasons; None: the colours of the reasons.
        side: where the title stands.
    """
    bars = {}
    base: npt.NDArray[np.float64] = np.zeros(len(shown.edges) - 1)
    for reason, shares in shown.shares.items():
        shade = single or END_REASON_COLOURS.get(reason, CASTLE)
        bars[reason] = axes.bar(
            shown.edges[:-1] + 2, shares, width=BIN_WIDTH - 4, bottom=base, align="edge", color=shade, linewidth=0
        )
        base = base + shares
    style_axes(axes, "", "episodes")
    axes.set_ylim(0, max(0.02, float(np.max(base, initial=0.0))) * 1.3)
    percent_ticks(axes)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.text(
        0.965 if side == "right" else 0.012,
        0.93,
        title,
        transform=axes.transAxes,
        ha=side,
        va="top",
        fontsize=10,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
    )
    return bars


def _strip(axes: Axes, panorama: Image) -> None:
    axes.imshow(panorama, extent=(0, panorama.shape[1], 0, panorama.shape[0]), aspect="auto", interpolation="antialiased")
    axes.set_yticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_reasons(axes: Axes, reasons: Sequence[str]) -> None:
    """Add a legend of the reasons above the plot."""
    labels = {
        END_REASON_LABELS.get(reason, reason): END_REASON_COLOURS.get(reason, CASTLE) for reason in dict.fromkeys(reasons)
    }
    for label, shade in labels.items():
        axes.bar([0], [0], color=shade, label=label)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.005, 1.0), ncols=8, frameon=False, fontsize=9, labelcolor=INK,
        handlelength=1, handleheight=1, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip


def _describe_endings(name: str, shown: Endings) -> str:
    total = shown.total()
    if not total.any():
        return f"{name} ends no episode here"
    most = int(np.argmax(total))
    place = f"{number(shown.edges[most])} to {number(shown.edges[most + 1])} pixels"
    return f"{name} ends most often at {place} ({percent(float(total[most]))} of its episodes)"
