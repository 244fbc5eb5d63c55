"""The interactive plot of the learning curves. It works in a page without a network: Bokeh's script is part of the page."""

from dataclasses import dataclass
from typing import Final

from bokeh.embed import components
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, CrosshairTool, CustomJSTickFormatter, HoverTool, NumeralTickFormatter, Range1d
from bokeh.models.annotations import Title
from bokeh.models.renderers import DataRenderer
from bokeh.plotting import figure
from bokeh.resources import Resources

from reports.comparison.figures import MOST_LEVELS
from reports.comparison.groups import level_name
from reports.comparison.results import Results
from reports.style import GRID, INK, MUTED, colour

# As in the other plots: 250, 12k, 1.5M.
_ABBREVIATED: Final = "return tick >= 1e6 ? `${tick / 1e6}M` : tick >= 1e3 ? `${tick / 1e3}k` : `${tick}`"


@dataclass(frozen=True)
class InteractivePlot:
    """A plot as HTML.

    Attributes:
        library: script elements with Bokeh itself, once for a page.
        script: a script element that draws the plot.
        element: the element that it is drawn into.
    """

    library: str
    script: str
    element: str


def interactive_curves(results: Results) -> InteractivePlot | None:
    """The completion over decisions with bands, one panel for each of the first levels; None without training episodes.

    The panels can be moved and zoomed together. The legend hides groups, and the mouse shows values.
    """
    levels = results.grouping.levels[:MOST_LEVELS]
    panels = [panel for level in levels if (panel := _panel(results, level)) is not None]
    if not panels:
        return None
    for panel in panels[1:]:
        panel.x_range = panels[0].x_range
    script, element = components(column(panels, sizing_mode="stretch_width"))
    # Only the core: its other parts (tables, WebGL, mathematics) are twice as large.
    library = Resources(mode="inline", components=["bokeh"]).render_js()
    return InteractivePlot(library, script, element)


def _panel(results: Results, level: tuple[int, int] | None) -> figure | None:
    panel = figure(
        title=Title(text=level_name(level), text_color=INK, text_font_size="14px"),
        height=300,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,xwheel_zoom,reset",
        x_range=Range1d(start=0, end=results.data.end),
        y_range=Range1d(start=-0.02, end=1.02),
        x_axis_label="decisions",
        y_axis_label="share of episodes completed",
    )
    drawn: list[DataRenderer] = []
    for index, variant in enumerate(results.grouping.variants):
        group = results.grouping.group(variant, level)
        curve = None if group is None else results.curve(group, "completion")
        if group is None or curve is None:
            continue
        low, high = curve.band if curve.band is not None else (curve.mean, curve.mean)
        source = ColumnDataSource(
            {"steps": curve.steps, "mean": curve.mean, "low": low, "high": high, "variant": [variant] * len(curve.steps)}
        )
        label = f"{variant} ({len(group.members)})"
        panel.varea("steps", "low", "high", source=source, color=colour(index), alpha=0.16, legend_label=label)
        drawn.append(panel.line("steps", "mean", source=source, color=colour(index), line_width=2.4, legend_label=label))
    if not drawn:
        return None
    _style(panel)
    panel.add_tools(
        HoverTool(
            renderers=drawn,
            mode="vline",
            tooltips=[
                ("variant", "@variant"),
                ("decisions", "@steps{0,0}"),
                ("completed", "@mean{0 %}"),
                ("95 % interval", "@low{0 %} to @high{0 %}"),
            ],
        ),
        CrosshairTool(dimensions="height", line_color=MUTED, line_alpha=0.6),
    )
    return panel


def _style(panel: figure) -> None:
    """The report's style."""
    panel.toolbar.logo = None
    panel.toolbar.autohide = True
    panel.outline_line_color = None
    for axis in (*panel.xaxis, *panel.yaxis):
        axis.axis_label_text_color = axis.major_label_text_color = MUTED
        axis.axis_label_text_font_style = "normal"
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = None
    panel.xaxis.formatter = CustomJSTickFormatter(code=_ABBREVIATED)
    panel.yaxis.formatter = NumeralTickFormatter(format="0 %")
    panel.xgrid.grid_line_color = None
    panel.ygrid.grid_line_color = GRID
    panel.legend.click_policy = "hide"
    panel.legend.location = "top_left"
    panel.legend.border_line_color = None
    panel.legend.background_fill_alpha = 0.7
    panel.legend.label_text_color = INK
    panel.legend.label_text_font_size = "13px"
