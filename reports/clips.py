"""The report's videos: the best and a typical episode, played again."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from reports.choice import ChosenEpisodes, choose_episodes
from reports.data import ExperimentData
from reports.montage import FrameSampler, make_montage
from reports.panorama import LevelPanorama
from reports.video import Frame, render_video

SCALE: Final = 2  # 512 × 480: sharp on a phone and on a desktop's half column, and small enough to be mailed
MONTAGE_FRAMES: Final = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """One video: the episode it shows, what that episode is an example of, and a still picture of it."""

    title: str
    episode: int
    protocol: str
    path: Path
    poster: Frame | None


@dataclass(frozen=True)
class Clips:
    """The videos of one report; `notice` says why there are none or not all of them. `panorama` is the level as it was seen."""

    experiment: ExperimentData | None = None
    best: Clip | None = None
    typical: Clip | None = None
    montage: Path | None = None
    panorama: Frame | None = None
    notice: str = ""

    @property
    def shown(self) -> list[Clip]:
        """The different videos, best first."""
        both = [self.best, self.typical] if self.best is not self.typical else [self.best]
        return [clip for clip in both if clip is not None]


@dataclass
class _Watcher:
    """Lets frames pass on to the encoder and keeps what else they are good for: an episode is played once."""

    sampler: FrameSampler = field(default_factory=lambda: FrameSampler(MONTAGE_FRAMES))
    panorama: LevelPanorama = field(default_factory=LevelPanorama)

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            self.sampler.add(frame)
            self.panorama.add(frame)
            yield frame


def make_clips(experiment: ExperimentData, directory: Path) -> Clips:
    """Write best.mp4, typical.mp4 and montage.png to `directory`, as far as the experiment's episodes can be played again.

    An episode that cannot is a notice in the report, not the end of it: the numbers do not depend on it. The error is logged.
    """
    chosen = choose_episodes(experiment.evaluation) or choose_episodes(experiment.train)
    if experiment.replay is None or chosen is None:
        return Clips(experiment, notice="No video: the actions of these episodes were not given to this report.")
    try:
        return _play(experiment, chosen, directory)
    except Exception as error:
        # Replaying runs the emulator, the store and the encoder; whatever fails there, the report still has its numbers.
        _log.warning("no video of experiment %s", experiment.name, exc_info=True)
        return Clips(experiment, notice=f"No video: {error}")


def _play(experiment: ExperimentData, chosen: ChosenEpisodes, directory: Path) -> Clips:
    title = "Best and typical" if chosen.best == chosen.typical else "Best"
    best, watcher = _clip(experiment, chosen.best, chosen.best_protocol, title, directory / "best.mp4")
    montage = make_montage(watcher.sampler.frames(), directory / "montage.png", MONTAGE_FRAMES)
    typical = best
    if chosen.best != chosen.typical:
        typical, _ = _clip(experiment, chosen.typical, chosen.typical_protocol, "Typical", directory / "typical.mp4")
    return Clips(experiment, best, typical, montage, watcher.panorama.picture())


def _clip(experiment: ExperimentData, episode: int, protocol: str, title: str, path: Path) -> tuple[Clip, _Watcher]:
    if experiment.replay is None:
        raise ValueError("no replay")
    watcher = _Watcher()
    render_video(watcher.watch(experiment.replay(episode)), path, scale=SCALE)
    stills = watcher.sampler.frames()
    return Clip(title, episode, protocol, path, stills[len(stills) // 2] if stills else None), watcher
