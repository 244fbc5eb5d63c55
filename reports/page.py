"""The report's HTML page."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from episodes.statistics import ProtocolSummary
from reports import tables
from reports.clips import Clip, Clips
from reports.data import ExperimentData, ReportData
from reports.results import Headline, number, plural, sentence_case
from reports.style import DOTS_PER_INCH, Picture, protocol_label
from reports.video import NES_FRAME_RATE, Frame

EMBEDDED_VIDEO_BYTES: Final = 3_000_000
"""Videos are embedded in the page up to this total size. In base64 that is 4 MB, which fits into a mail with the plots."""

_TEMPLATES: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Pictures:
    """The plots of a report by section."""

    learning: list[Picture] = field(default_factory=list)
    protocols: list[Picture] = field(default_factory=list)
    endings: list[Picture] = field(default_factory=list)
    speed: list[Picture] = field(default_factory=list)

    def all(self) -> list[Picture]:
        """Every plot in reading order."""
        return [*self.learning, *self.protocols, *self.endings, *self.speed]


def render_page(
    data: ReportData, summaries: Sequence[Mapping[str, ProtocolSummary]], headlines: Sequence[Headline], first: int,
    clips: Clips, pictures: Pictures, *, embed: bool = True,
) -> str:  # fmt: skip
    """Render the page. `first` is the index of the experiment in the headline; `embed` False links all videos."""
    experiments = list(data.experiments)
    context = {
        "title": data.title,
        "eyebrow": _eyebrow(experiments, first),
        "headline": headlines[first],
        "cards": tables.cards(experiments[first], headlines[first]),
        "several": len(experiments) > 1,
        "comparison": tables.comparison_rows(experiments, headlines),
        **_video_context(clips, embed),
        "learning": [figure_context(picture) for picture in pictures.learning],
        "learning_lead": _learning_lead(experiments),
        "protocols": [figure_context(picture) for picture in pictures.protocols],
        "evaluations": tables.evaluation_rows(experiments, summaries),
        "evaluation_lead": _evaluation_lead(experiments),
        "notes": _notes(experiments, summaries),
        "endings": [figure_context(picture) for picture in pictures.endings],
        "endings_lead": "The share of episodes that end in each part of a level. A tall bar marks an obstacle.",
        "speed": [figure_context(picture) for picture in pictures.speed],
        "resources": tables.resource_rows(experiments),
        **_quality_context(experiments),
        "experiments": [_experiment_context(experiment) for experiment in experiments],
        "footer": f"Made by train-mario on {datetime.now(UTC):%d %B %Y, %H:%M} UTC.",
    }
    context["contents"] = _contents(context)
    return render_template("report.html", context)


def render_template(name: str, context: Mapping[str, Any]) -> str:
    """A page from the template `name`. All texts from outside (names, YAML, provenance, errors) are escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name).render(context)


def _eyebrow(experiments: Sequence[ExperimentData], first: int) -> str:
    if len(experiments) > 1:
        return f"{len(experiments)} experiments compared · the best: {experiments[first].name}"
    own = experiments[0]
    return f"Super Mario Bros · {own.level} · {own.algorithm} · experiment {own.id}: {own.name}"


def _learning_lead(experiments: Sequence[ExperimentData]) -> str:
    descriptions = []
    for each in experiments:
        train = each.train
        if train.episodes:
            played = f"{number(train.episodes)} training {plural(train.episodes, 'episode')} in {number(train.steps)} steps"
            descriptions.append(f"{each.name} played {played} and completed {number(train.completed)}")
        else:
            descriptions.append(f"{each.name} has no training episode")
    along = [each.name for each in experiments if (each.config.get("train") or {}).get("curriculum")]
    begun = f" Most episodes of {', '.join(along)} began along a demonstration: they are parts of a level." if along else ""
    return (
        "; ".join(descriptions)
        + f". These episodes include exploration, so the evaluation below can be better or worse.{begun}"
    )


def _evaluation_lead(experiments: Sequence[ExperimentData]) -> str:
    environments = [each.config.get("evaluate", {}) for each in experiments]
    sticky = {each.get("sticky_actions", 0.25) for each in environments}
    noop = {each.get("noop_frames", 30) for each in environments}
    probabilities = " or ".join(f"{value:g}" for value in sorted(sticky))
    parts = [
        "Greedy takes the best action, stochastic samples from the policy",
        f"sticky actions continue the last action at each frame with probability {probabilities} until the new one starts, "
        "sticky decisions repeat the previous decision",
        f"no-op starts idle 1 to {' or '.join(str(value) for value in sorted(noop))} frames first",
        "random draws actions uniformly",
    ]
    return (
        "; ".join(parts)
        + ". Intervals contain the true value in 95 of 100 such evaluations of this one trained agent; other seeds may differ. "
        "If an agent repeats itself, they count different trajectories. If all possible ones were played, there are none."
    )


def _notes(experiments: Sequence[ExperimentData], summaries: Sequence[Mapping[str, ProtocolSummary]]) -> list[str]:
    found = []
    for experiment, own in zip(experiments, summaries, strict=True):
        for protocol, summary in own.items():
            if summary.note:
                where = (
                    f"{experiment.name}, {protocol_label(protocol).lower()}"
                    if len(experiments) > 1
                    else protocol_label(protocol)
                )
                found.append(f"{where}: {sentence_case(summary.note)}")
    return found


def _video_context(clips: Clips, embed: bool) -> dict[str, Any]:
    shown = clips.shown
    embedded = embed and sum(clip.path.stat().st_size for clip in shown) <= EMBEDDED_VIDEO_BYTES
    where = f" by {clips.experiment.name}" if clips.experiment is not None else ""
    return {
        "videos": [_video(clip, clips, embedded) for clip in shown],
        "videos_lead": f"Episodes{where}, replayed from their stored actions at the speed of the console.",
        "video_notice": clips.notice,
    }


def _video(clip: Clip, clips: Clips, embedded: bool) -> dict[str, Any]:
    size = clip.path.stat().st_size
    return {
        "title": clip.title,
        "id": clip.episode,
        "caption": _episode_caption(clip, clips.experiment),
        "alt": f"Video of {clip.title.lower()} episode {clip.episode}.",
        "source": data_uri("video/mp4", clip.path.read_bytes()) if embedded else clip.path.name,
        "embedded": embedded,
        "inspection": clip.inspection.name if clip.inspection is not None else "",
        "size": f"{size / 1e6:.1f} MB",
        "poster": data_uri("image/png", _still(clip.poster)) if clip.poster is not None else "",
    }


def _episode_caption(clip: Clip, experiment: ExperimentData | None) -> str:
    if experiment is None:
        return ""
    rows = (
        experiment.evaluation
        if len(experiment.evaluation) and clip.episode in set(experiment.evaluation["id"])
        else experiment.train.chosen
    )
    row = rows[rows["id"] == clip.episode].iloc[0]
    seconds = float(row["frames"]) / float(NES_FRAME_RATE)
    ending = str(row["end_reason"]).replace("_", " ")
    return (
        f"{protocol_label(clip.protocol)}; {number(float(row['distance_traveled']))} px in {seconds:.0f} s of play, "
        f"reward {number(float(row['reward']), 1)}, {ending}."
    )


def _quality_context(experiments: Sequence[ExperimentData]) -> dict[str, Any]:
    rules = tables.rule_rows(experiments)
    failed = sum(not rule["passed"] for rule in rules)
    outcome = tables.describe_failures([rule for each in experiments for rule in each.quality])
    lead = (
        f"All {len(rules)} rules passed: the rows of this report are complete and consistent."
        if not failed
        else f"Of {len(rules)} rules {outcome}: read the numbers above with that in mind."
    )
    summary = f"{len(rules) - failed} passed, {outcome if failed else '0 failed'}"
    return {"rules": rules, "rules_failed": failed, "quality_lead": lead, "rules_summary": summary}


def _experiment_context(experiment: ExperimentData) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "id": experiment.id,
        "dirty": bool(experiment.provenance.get("git_dirty")),
        "command": tables.command(experiment),
        "provenance": tables.provenance_rows(experiment.provenance),
        "yaml": tables.config_yaml(experiment.config),
    }


def _contents(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    sections = [
        ("comparison", "Side by side", context["several"]),
        ("videos", "Watch it play", context["videos"] or context["video_notice"]),
        ("learning", "Learning", True),
        ("evaluation", "Trained against random", True),
        ("endings", "Where it ends", context["endings"]),
        ("speed", "Speed and resources", True),
        ("quality", "Data quality", True),
        ("reproduce", "Repeat it", True),
    ]
    return [(anchor, title) for anchor, title, shown in sections if shown]


def figure_context(picture: Picture) -> dict[str, Any]:
    """What the macro `picture` of the templates needs."""
    with Image.open(io.BytesIO(picture.data)) as image:
        width, height = (round(side * 96 / DOTS_PER_INCH) for side in image.size)
    return {
        "uri": data_uri("image/png", picture.data), "alt": picture.alt, "caption": picture.caption, "wide": picture.wide,
        "width": width, "height": height,
    }  # fmt: skip


def _still(frame: Frame) -> bytes:
    written = io.BytesIO()
    Image.fromarray(frame.repeat(2, axis=0).repeat(2, axis=1)).quantize(64).save(written, format="PNG", optimize=True)
    return written.getvalue()


def data_uri(media: str, data: bytes) -> str:
    """The data as a URI that stands in the page."""
    return f"data:{media};base64,{base64.b64encode(data).decode()}"
