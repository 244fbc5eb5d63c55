"""The analysis report with its plots and videos, and the display of episodes in a window.

Public names are imported on first use, because only some of them need heavy packages such as matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from reports.build import build_report as build_report
    from reports.choice import ChosenEpisodes as ChosenEpisodes
    from reports.choice import choose_episodes as choose_episodes
    from reports.data import ExperimentData as ExperimentData
    from reports.data import PhaseTiming as PhaseTiming
    from reports.data import ReportData as ReportData
    from reports.data import ReportError as ReportError
    from reports.data import ReportPaths as ReportPaths
    from reports.data import ResourceUse as ResourceUse
    from reports.data import RuleCheck as RuleCheck
    from reports.montage import make_montage as make_montage
    from reports.replay import episode_frames as episode_frames
    from reports.video import VideoError as VideoError
    from reports.video import render_video as render_video
    from reports.window import WindowError as WindowError
    from reports.window import show_in_window as show_in_window

_MODULES: Final = {
    "build_report": "build",
    "ChosenEpisodes": "choice",
    "choose_episodes": "choice",
    "ExperimentData": "data",
    "PhaseTiming": "data",
    "ReportData": "data",
    "ReportError": "data",
    "ReportPaths": "data",
    "ResourceUse": "data",
    "RuleCheck": "data",
    "make_montage": "montage",
    "episode_frames": "replay",
    "VideoError": "video",
    "render_video": "video",
    "WindowError": "window",
    "show_in_window": "window",
}

__all__ = sorted(_MODULES)  # noqa: PLE0605 (it is a list, but not a literal)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'reports' has no attribute {name!r}")
    return getattr(import_module(f"reports.{_MODULES[name]}"), name)
