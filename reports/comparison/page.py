"""The HTML page of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from episodes.comparison import WINDOW
from reports.comparison import tables
from reports.comparison.endings import EndingsPlot, Spot
from reports.comparison.groups import level_name
from reports.comparison.interactive import InteractivePlot
from reports.comparison.results import RATES, Results
from reports.page import EMBEDDED_VIDEO_BYTES, data_uri, figure_context, render_template
from reports.results import NARROW_SPACE, number, percent, plural
from reports.style import Picture, abbreviated, protocol_label

MOST_IMPROVEMENTS = 20  # pairs that are shown at once; the rest can be unfolded
MOST_NAMED = 3  # variants in the headline; the cards and the table have all


@dataclass(frozen=True)
class ComparisonPictures:
    """The plots of a comparison.

    Attributes:
        scores: the completion of each group.
        profile: the performance profile; None: no level is common to all variants.
        curves: the learning curves: completion, then distance; no curves without training episodes.
        interactive: the same curves of the completion, interactive.
        endings: where episodes end, by level.
    """

    scores: Picture
    profile: Picture | None
    curves: tuple[Picture, ...]
    interactive: InteractivePlot | None
    endings: tuple[EndingsPlot, ...]

    def all(self) -> list[Picture]:
        """Every plot in reading order."""
        profile = [self.profile] if self.profile is not None else []
        return [self.scores, *profile, *self.curves, *(each.picture for each in self.endings)]


def render_comparison(results: Results, pictures: ComparisonPictures, clips: Mapping[int, Path]) -> str:
    """The page. `clips` are the videos by the id of their episode."""
    grouping = results.grouping
    quarters = [f"at {abbreviated(share * results.data.end)}" for share in tables.QUARTERS]
    context: dict[str, Any] = {
        "title": results.data.title,
        "eyebrow": _eyebrow(results),
        "sentence": _sentence(results),
        "detail": _detail(results),
        "cards": tables.cards(results),
        "notes": tables.notes(results),
        "groups": tables.group_rows(results),
        "protocols": [protocol_label(protocol) for protocol in results.protocols()],
        "protocol_rows": tables.protocol_rows(results),
        "scores": figure_context(pictures.scores),
        "profile": figure_context(pictures.profile) if pictures.profile is not None else None,
        "overall": tables.overall_rows(results),
        "common_levels": ", ".join(level_name(level) for level in grouping.common_levels),
        "improvements": tables.improvement_rows(results),
        "most_improvements": MOST_IMPROVEMENTS,
        "interactive": pictures.interactive,
        "curves": [figure_context(picture) for picture in pictures.curves],
        "curve_file": f"{pictures.curves[0].name}.png" if pictures.curves else "",
        "efficiency": tables.efficiency_rows(results),
        "efficiency_columns": [*(f"first {percent(rate)}" for rate in RATES), *quarters],
        "window": WINDOW,
        "endings": [
            {"svg": each.svg, "picture": figure_context(each.picture), "spots": _spots(each.spots, clips)}
            for each in pictures.endings
        ],
        "seeds": tables.seed_rows(results),
        "sweep_run": results.data.sweep_run,
        "left_out": [(each.name, reason) for each, reason in grouping.left_out],
        "variants": grouping.variants,
        "differences": tables.difference_rows(results),
        "footer": f"Made by train-mario on {datetime.now(UTC):%d %B %Y, %H:%M} UTC.",
    }
    return render_template("comparison.html", context)


def _eyebrow(results: Results) -> str:
    grouping = results.grouping
    members = sum(len(group.members) for group in grouping.groups)
    counts = [
        (len(grouping.variants), "variant"),
        (len(grouping.levels), "level"),
        (members, "experiment"),
    ]
    parts = [f"{number(count)} {plural(count, word)}" for count, word in counts]
    return " · ".join([*parts, f"protocol: {protocol_label(results.data.protocol).lower()}"])


def _sentence(results: Results) -> str:
    """The headline: the groups, if they are few."""
    grouping = results.grouping
    variants, levels = grouping.variants, grouping.levels
    if len(levels) > 1 or len(variants) > MOST_NAMED:
        counts = sorted({len(group.members) for group in grouping.groups})
        seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else tables.plural_seeds(counts[0])
        many = len(levels)
        return f"{len(variants)} {plural(len(variants), 'variant')} on {many} {plural(many, 'level')}, {seeds} each"
    level = levels[0]
    where = "the full game" if level is None else f"level {level_name(level)}"
    parts = []
    for variant in variants:
        group = grouping.group(variant, level)
        estimate = None if group is None else results.estimate(group)
        if estimate is not None:
            parts.append((variant, percent(estimate.value)))
    (first, share), *rest = parts
    others = "".join(f", {variant} in {value}" for variant, value in rest)
    return f"{first} completes {where} in {share} of its episodes{others}"


def _detail(results: Results) -> str:
    return (
        f"Interquartile means over all seeds under the protocol “{protocol_label(results.data.protocol).lower()}”, with "
        f"95{NARROW_SPACE}% intervals from a stratified bootstrap over the seeds. No seed and no checkpoint was chosen here."
    )


def _spots(spots: Sequence[Spot], clips: Mapping[int, Path]) -> list[dict[str, Any]]:
    embedded = sum(path.stat().st_size for path in clips.values()) <= EMBEDDED_VIDEO_BYTES
    shown = []
    for spot in spots:
        path = None if spot.episode is None else clips.get(spot.episode)
        source = "" if path is None else data_uri("video/mp4", path.read_bytes()) if embedded else path.name
        shown.append({"anchor": spot.anchor, "title": spot.title, "text": spot.text, "episode": spot.episode, "source": source})
    return shown
