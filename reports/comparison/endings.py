"""The plot of where the episodes of each group end early, whose bars lead to the replay of such an episode."""

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from configs.levels import FINISH_X
from episodes.comparison import EndingCount
from reports.comparison.groups import level_name
from reports.comparison.results import Results
from reports.deaths import BIN_WIDTH, Endings
from reports.endings_figure import draw_bars, draw_reasons
from reports.results import number, percent, plural
from reports.style import END_REASON_COLOURS, END_REASON_LABELS, INK, MUTED, Picture, new_figure, png

MOST_LEVELS: Final = 6
"""Levels that have a plot: those in which most episodes end early."""

Level = tuple[int, int]


@dataclass(frozen=True)
class Spot:
    """The episodes of one group that end in one bin of a level.

    Attributes:
        anchor: id of its element in the page.
        title: group and place.
        text: how many episodes end there, and why.
        episodes: how many.
        episode: id of the episode that is shown; None: the actions of none are stored.
    """

    anchor: str
    title: str
    text: str
    episodes: int
    episode: int | None


@dataclass(frozen=True)
class EndingsPlot:
    """The plot of one level.

    Attributes:
        picture: as a PNG.
        svg: the same as an SVG element whose bars link to the anchors of `spots`.
        spots: what the bars show.
    """

    picture: Picture
    svg: str
    spots: tuple[Spot, ...]


def endings_plots(results: Results) -> list[EndingsPlot]:
    """A plot for each of the at most :data:`MOST_LEVELS` levels in which most episodes end early, one panel for each group."""
    counts: dict[Level, int] = {}
    for own in results.data.endings.values():
        for each in _early(own):
            counts[each.level] = counts.get(each.level, 0) + each.episodes
    levels = sorted(sorted(counts, key=lambda level: -counts[level])[:MOST_LEVELS])
    return [_plot(results, level) for level in levels]


def _plot(results: Results, level: Level) -> EndingsPlot:
    every = enumerate(results.data.endings.items())
    groups = [(index, name, own) for index, (name, own) in every if any(each.level == level for each in own)]
    finish = FINISH_X.get(level, 0)
    furthest = max(each.bin + 1 for _, _, own in groups for each in _early(own, level)) * BIN_WIDTH
    end_x = max(furthest, finish, 256)
    figure = new_figure((11.8, 0.75 + 1.5 * len(groups)))
    panels = np.atleast_1d(figure.subplots(len(groups), 1, sharex=True))
    spots, reasons, descriptions = [], [], []
    for panel, (index, name, own) in zip(panels, groups, strict=True):
        shown = _endings(own, level, end_x)
        prefix = f"ending-{index}-{level_name(level)}"
        bars = draw_bars(panel, shown, f"{name}: {_early_text(own, level)}", side="left")
        for reason, container in bars.items():
            reasons.append(reason)
            for place, patch in enumerate(container.patches):
                if shown.shares[reason][place]:
                    patch.set_url(f"#{prefix}-{place}")
        spots += _spots(own, level, name, shown.episodes, prefix)
        descriptions.append(_most(name, shown))
        if finish:
            panel.axvline(finish, color=INK, linewidth=1.2, linestyle=(0, (3, 3)))
    draw_reasons(panels[0], reasons)
    panels[-1].set_xlabel(f"x position in level {level_name(level)}, pixels", color=MUTED, fontsize=9.5)
    panels[-1].set_xlim(0, end_x + BIN_WIDTH / 2)
    line = " The dashed line is the level's end." if finish else ""
    caption = f"Where episodes end early in level {level_name(level)}; bins of {BIN_WIDTH} pixels (four blocks).{line}"
    alt = f"Histogram of where episodes end early in level {level_name(level)}: {'; '.join(descriptions)}."
    picture = Picture(f"endings-{level_name(level)}", png(figure), alt, caption, wide=True)
    return EndingsPlot(picture, _svg(figure, spots), tuple(spots))


def _early(own: Sequence[EndingCount], level: Level | None = None) -> list[EndingCount]:
    """The endings other than the level's completion, which would hide the rest; those in `level`, or in all levels."""
    return [each for each in own if each.reason != "completed" and level in (None, each.level)]


def _early_text(own: Sequence[EndingCount], level: Level) -> str:
    early, episodes = (sum(each.episodes for each in some) for some in (_early(own, level), own))
    return f"{number(early)} of {number(episodes)} {plural(episodes, 'episode')}"


def _endings(own: Sequence[EndingCount], level: Level, end_x: float) -> Endings:
    """The shares of a group's episodes that end early, by bin and reason, known reasons first."""
    episodes = sum(each.episodes for each in own)
    edges = np.arange(0, end_x + BIN_WIDTH, BIN_WIDTH, dtype=np.float64)
    here = _early(own, level)
    present = {each.reason for each in here}
    known = [reason for reason in END_REASON_COLOURS if reason in present]
    shares = {reason: np.zeros(len(edges) - 1) for reason in [*known, *sorted(present - set(known))]}
    for each in here:
        shares[each.reason][each.bin] += each.episodes / episodes
    return Endings(episodes, edges, shares)


def _spots(own: Sequence[EndingCount], level: Level, name: str, episodes: int, prefix: str) -> list[Spot]:
    spots = []
    for place in sorted({each.bin for each in _early(own, level)}):
        here = [each for each in _early(own, level) if each.bin == place]
        here.sort(key=lambda each: -each.episodes)
        total = sum(each.episodes for each in here)
        why = ", ".join(f"{number(each.episodes)} {END_REASON_LABELS.get(each.reason, each.reason)}" for each in here)
        end = "ends" if total == 1 else "end"
        text = f"{number(total)} of {number(episodes)} {plural(episodes, 'episode')} {end} here ({why})."
        title = f"{name}, pixels {number(place * BIN_WIDTH)} to {number((place + 1) * BIN_WIDTH)}"
        shown = next((each.episode for each in here if each.episode is not None), None)
        spots.append(Spot(f"{prefix}-{place}", title, text, total, shown))
    return spots


def _most(name: str, shown: Endings) -> str:
    total = shown.total()
    if not total.any():
        return f"{name} ends no episode early here"
    most = int(np.argmax(total))
    place = f"{number(shown.edges[most])} to {number(shown.edges[most + 1])} pixels"
    return f"{name} ends early most often at {place} ({percent(float(total[most]))} of its episodes)"


def _svg(figure: Figure, spots: Sequence[Spot]) -> str:
    """The figure as an SVG element for a page, whose links have a name and a tooltip."""
    drawn = io.StringIO()
    # Text stays text, so that the page's reader can select it; a fixed salt gives the same figure the same ids.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "train-mario"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    element = drawn.getvalue()
    element = element[element.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    named = {f"#{spot.anchor}": html.escape(f"{spot.title}: {spot.text}") for spot in spots}

    def link(found: re.Match[str]) -> str:
        name = named[found[1]]
        return f'<a href="{found[1]}" aria-label="{name}"><title>{name}</title>'

    return re.sub(r'<a xlink:href="([^"]+)"[^>]*>', link, element).strip()
