"""Assembly and writing of the report."""

import shutil
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from reports.clips import Clips, make_clips
from reports.data import ExperimentData, ReportData, ReportPaths
from reports.endings_figure import endings_pictures
from reports.files import remove_others, write_file
from reports.learning_figure import CURVES, learning_picture
from reports.page import Pictures, render_page
from reports.protocol_figure import MEASURES, Summaries, protocol_picture
from reports.results import headline, index_of_best, protocol_summaries
from reports.style import Picture
from reports.tables import config_name, config_yaml
from reports.timing_figure import phases_picture, throughput_picture


def build_report(
    data: ReportData, directory: Path, *, video: bool = True, embed: bool = True, without_videos: Path | None = None
) -> ReportPaths:
    """Write report.html with its plots (PNG) and videos (MP4), and return the paths.

    The HTML file is self-contained: plots are embedded, and so are videos up to :data:`reports.page.EMBEDDED_VIDEO_BYTES`
    together; larger ones are linked. Pages that take the episodes of the videos apart are linked. The configuration of each
    experiment is written next to it as YAML. Files of an earlier report in the folder are replaced or removed.

    Args:
        data: the experiments.
        directory: the folder; it is created if needed.
        video: whether to render videos.
        embed: whether small videos are embedded; False links all videos.
        without_videos: a folder for a second edition, which has no videos and says where they are; None: none is written.

    Raises:
        OSError: the folder cannot be written.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    experiments = list(data.experiments)
    summaries = [protocol_summaries(experiment) for experiment in experiments]
    headlines = [headline(*pair) for pair in zip(experiments, summaries, strict=True)]
    first = index_of_best(headlines)
    clips = make_clips(experiments[first], directory) if video else Clips()
    pictures = _pictures(experiments, summaries, clips)

    def render(shown: Clips) -> bytes:
        return render_page(data, summaries, headlines, first, shown, pictures, embed=embed).encode()

    pngs = [write_file(directory / f"{picture.name}.png", picture.data) for picture in pictures.all()]
    for experiment in experiments:
        write_file(directory / config_name(experiment), config_yaml(experiment.config).encode())
    if clips.montage is not None:
        pngs.append(clips.montage)
    paths = ReportPaths(
        html=write_file(directory / "report.html", render(clips)),
        pngs=tuple(pngs),
        video_best=clips.best.path if clips.best else None,
        video_typical=clips.typical.path if clips.typical else None,
    )
    configs = [directory / config_name(experiment) for experiment in experiments]
    pages = [clip.inspection for clip in clips.shown]
    remove_others(directory, [paths.html, *pngs, *configs, *pages, paths.video_best, paths.video_typical])
    if without_videos is not None:
        what = "The videos, and a page about each of their episodes," if any(pages) else "The videos"
        notice = f"{what} are in {directory} on {socket.gethostname()}." if clips.shown else clips.notice
        write_file(without_videos / "report.html", render(Clips(clips.experiment, notice=notice)))
        for path in (*pngs, *configs):
            shutil.copy(path, without_videos)
    return paths


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
