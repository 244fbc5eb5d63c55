"""Putting the report together and writing it."""

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from reports.clips import Clips, make_clips
from reports.data import ExperimentData, ReportData, ReportPaths
from reports.endings_figure import endings_pictures
from reports.learning_figure import CURVES, learning_picture
from reports.page import Pictures, render_page
from reports.protocol_figure import MEASURES, Summaries, protocol_picture
from reports.results import headline, leading, protocol_summaries
from reports.style import Picture
from reports.tables import config_name, config_yaml
from reports.timing_figure import phases_picture, throughput_picture

FILES = "files.json"
"""Which of a folder's files are the report's."""


def build_report(data: ReportData, directory: Path, *, video: bool = True, embed: bool = True) -> ReportPaths:
    """Write report.html, its plots (PNG) and videos (MP4) to `directory`, made if needed, and return their paths.

    The HTML file stands alone: plots are inside it, and so are the videos as long as they are small together (see
    :data:`reports.page.EMBEDDED_VIDEO_BYTES`); larger ones are linked. Each experiment's configuration stands beside it as
    YAML. Files of an earlier report in the folder are replaced or removed. `video` False leaves the videos out, `embed`
    False links them however small they are.

    Raises OSError if the folder cannot be written.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    experiments = list(data.experiments)
    summaries = [protocol_summaries(experiment) for experiment in experiments]
    headlines = [headline(*pair) for pair in zip(experiments, summaries, strict=True)]
    first = leading(headlines)
    clips = make_clips(experiments[first], directory) if video else Clips()
    pictures = _pictures(experiments, summaries, clips)
    html = render_page(data, summaries, headlines, first, clips, pictures, embed=embed)
    pngs = [_write(directory / f"{picture.name}.png", picture.data) for picture in pictures.all()]
    for experiment in experiments:
        _write(directory / config_name(experiment), config_yaml(experiment).encode())
    if clips.montage is not None:
        pngs.append(clips.montage)
    paths = ReportPaths(
        html=_write(directory / "report.html", html.encode()),
        pngs=tuple(pngs),
        video_best=clips.best.path if clips.best else None,
        video_typical=clips.typical.path if clips.typical else None,
    )
    configs = [directory / config_name(experiment) for experiment in experiments]
    _remove_others(directory, [paths.html, *pngs, *configs, paths.video_best, paths.video_typical])
    return paths


def _remove_others(directory: Path, written: Iterable[Path | None]) -> None:
    """Remove what an earlier report wrote and this one did not. Only that: the folder may hold a person's own files."""
    listing = directory / FILES
    try:
        earlier = {str(name) for name in json.loads(listing.read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError):
        earlier = set()
    now = {path.name for path in written if path is not None}
    for name in earlier - now:
        if Path(name).name == name:
            (directory / name).unlink(missing_ok=True)
    _write(listing, json.dumps(sorted(now)).encode())


def _pictures(experiments: Sequence[ExperimentData], summaries: Sequence[Summaries], clips: Clips) -> Pictures:
    panoramas = {}
    if clips.panorama is not None and clips.experiment is not None:
        panoramas[clips.experiment.first_level] = clips.panorama
    names = [experiment.name for experiment in experiments]
    phases = experiments[0].phases if len(experiments) == 1 else ()
    return Pictures(
        learning=_present(learning_picture(experiments, column) for column in CURVES),
        protocols=_present(protocol_picture(names, summaries, measure) for measure in MEASURES),
        endings=endings_pictures(experiments, panoramas),
        speed=_present([throughput_picture(experiments), phases_picture(phases)]),
    )


def _present(pictures: Iterable[Picture | None]) -> list[Picture]:
    return [picture for picture in pictures if picture is not None]


def _write(path: Path, data: bytes) -> Path:
    """Write under another name first: somebody may be looking at the report of an hour ago."""
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}.part")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
