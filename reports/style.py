"""The style of the report's plots.

The colours are those of the game, adapted for colour-blind readers: in the model of protanopia, deuteranopia and tritanopia of
Machado et al. (2009), colours with different meanings are at least 17 apart in CIE 1976 Lab. Figures are built with
matplotlib's objects instead of pyplot, whose global state is not thread-safe and is never freed.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

INK: Final = "#23212b"
MUTED: Final = "#6b6875"
GRID: Final = "#e4dfd3"
SKY: Final = "#2f6fde"
BRICK: Final = "#b8400e"
COIN: Final = "#e0a018"
PIPE: Final = "#0b7a5c"
CASTLE: Final = "#8a8794"
PLUM: Final = "#7b4ea3"
NIGHT: Final = "#17284f"

EXPERIMENT_COLOURS: Final = (SKY, BRICK, PIPE, COIN, PLUM, NIGHT)
END_REASON_COLOURS: Final = {
    "died": BRICK,
    "game_over": BRICK,
    "life_lost": BRICK,
    "timed_out": PLUM,
    "stalled": COIN,
    "step_limit": NIGHT,
    "completed": PIPE,
}
END_REASON_LABELS: Final = {
    "died": "died",
    "game_over": "game over",
    "life_lost": "lost a life",
    "timed_out": "clock ran out",
    "stalled": "stalled",
    "step_limit": "step limit",
    "completed": "completed",
}
PROTOCOL_LABELS: Final = {
    "greedy": "Greedy",
    "stochastic": "Stochastic",
    "sticky": "Sticky actions",
    "sticky_decisions": "Sticky decisions",
    "noop": "No-op starts",
    "random": "Random policy",
    "training": "Training",
}

DOTS_PER_INCH: Final = 160
HALF: Final = (5.8, 3.5)  # inches: two fit side by side on a desktop, and one is legible on a phone
WIDE: Final = (11.8, 3.7)


@dataclass(frozen=True)
class Picture:
    """A finished plot.

    Attributes:
        name: file name without suffix.
        data: the PNG.
        alt: alternative text for readers who cannot see it.
        caption: caption.
        wide: whether it takes the whole width of the page.
    """

    name: str
    data: bytes
    alt: str
    caption: str
    wide: bool = False


def colour(index: int) -> str:
    """The colour of the experiment with this index. Colours repeat after six."""
    return EXPERIMENT_COLOURS[index % len(EXPERIMENT_COLOURS)]


def levels_in_words(names: Sequence[str]) -> str:
    """``level 1-1``, ``the levels 1-1, 1-2``, or ``the full game`` if there are no names."""
    if not names:
        return "the full game"
    return f"level {names[0]}" if len(names) == 1 else f"the levels {', '.join(names)}"


def protocol_label(protocol: str) -> str:
    """The display name of a protocol."""
    return PROTOCOL_LABELS.get(protocol, protocol.replace("_", " ").capitalize())


def new_figure(size: tuple[float, float] = HALF) -> Figure:
    """An empty figure of `size` inches."""
    return Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")


def style_axes(axes: Axes, x_label: str, y_label: str, *, grid: str = "y") -> None:
    """Apply the report's style to `axes`: no box, faint grid lines, no tick marks."""
    axes.set_xlabel(x_label, color=MUTED, fontsize=9.5)
    axes.set_ylabel(y_label, color=MUTED, fontsize=9.5)
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(True, axis="x" if grid == "x" else "y", color=GRID, linewidth=0.9)


def abbreviate_ticks(axes: Axes, axis: str = "x") -> None:
    """Format the tick labels of an axis as 250, 12k, 1.5M."""
    target = axes.xaxis if axis == "x" else axes.yaxis
    target.set_major_formatter(FuncFormatter(lambda value, _: abbreviated(value)))


def percent_ticks(axes: Axes, axis: str = "y") -> None:
    """Format the tick labels of an axis with shares (0 to 1) as percentages."""
    target = axes.xaxis if axis == "x" else axes.yaxis
    target.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))


def abbreviated(value: float) -> str:
    """A number such as 250, 12k or 1.5M."""
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.4g}"


def legend(axes: Axes, *, columns: int = 3) -> None:
    """Add a legend without a frame above the plot."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns, frameon=False, fontsize=9, labelcolor=INK,
        handlelength=1.3, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip


def png(figure: Figure) -> bytes:
    """The figure as a PNG with 256 colours, which reduces its size to a third."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    drawn.seek(0)
    small = io.BytesIO()
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT).save(small, format="PNG", optimize=True)
    return small.getvalue()
