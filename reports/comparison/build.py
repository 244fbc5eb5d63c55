"""Assembly and writing of a comparison."""

from dataclasses import dataclass
from pathlib import Path

from reports.comparison.endings import endings_plots
from reports.comparison.figures import curves_picture, profile_picture, scores_picture
from reports.comparison.interactive import interactive_curves
from reports.comparison.page import ComparisonPictures, render_comparison
from reports.comparison.replays import ending_clips
from reports.comparison.results import ComparisonData, Results
from reports.files import remove_others, write_file


@dataclass(frozen=True)
class ComparisonPaths:
    """The files of a comparison, which are all in one folder.

    Attributes:
        html: the page.
        pngs: its plots.
        clips: short videos of how episodes end.
    """

    html: Path
    pngs: tuple[Path, ...]
    clips: tuple[Path, ...]


def build_comparison(data: ComparisonData, directory: Path) -> ComparisonPaths:
    """Write comparison.html with its plots (PNG) and clips (MP4), and return the paths.

    The HTML file is self-contained. Only clips of more than :data:`reports.page.EMBEDDED_VIDEO_BYTES` together are linked.
    Files of an earlier comparison in the folder are replaced or removed.

    Args:
        data: the experiments and their figures.
        directory: the folder; it is created if needed.

    Raises:
        OSError: the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    results = Results(data)
    curves = (curves_picture(results, "completion"), curves_picture(results, "distance"))
    pictures = ComparisonPictures(
        scores=scores_picture(results),
        profile=profile_picture(results),
        curves=tuple(picture for picture in curves if picture is not None),
        interactive=interactive_curves(results),
        endings=tuple(endings_plots(results)),
    )
    clips = ending_clips([spot for plot in pictures.endings for spot in plot.spots], data.replay, directory)
    page = render_comparison(results, pictures, clips)
    pngs = tuple(write_file(directory / f"{picture.name}.png", picture.data) for picture in pictures.all())
    paths = ComparisonPaths(write_file(directory / "comparison.html", page.encode()), pngs, tuple(clips.values()))
    remove_others(directory, [paths.html, *paths.pngs, *paths.clips])
    return paths
