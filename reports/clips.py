"""The report's videos: replays of the best and a typical episode."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from reports.choice import ChosenEpisodes, choose_episodes, chosen_in_training
from reports.data import ExperimentData
from reports.montage import FrameSampler, make_montage
from reports.panorama import LevelPanorama
from reports.video import Frame, render_video

SCALE: Final = 2  # 512 × 480 pixels: sharp on a phone and in half a desktop column, and small enough for mail
MONTAGE_FRAMES: Final = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """One video with its title, the id and protocol of its episode, its path and a still frame.

    `inspection` is the page that takes the episode apart; None if there is none.
    """

    title: str
    episode: int
    protocol: str
    path: Path
    poster: Frame | None
    inspection: Path | None = None


@dataclass(frozen=True)
class Clips:
    """The videos of one report.

    Attributes:
        experiment: the experiment that the videos show.
        best, typical: the videos; they may be the same.
        montage: a PNG with frames of the best episode.
        panorama: the level as one picture, uint8 RGB.
        notice: why videos are missing; "" if none are.
    """

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
class _FrameObserver:
    """Collects still frames and the panorama while frames pass on to the encoder, so that each episode is replayed once."""

    sampler: FrameSampler = field(default_factory=lambda: FrameSampler(MONTAGE_FRAMES))
    panorama: LevelPanorama = field(default_factory=LevelPanorama)

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            self.sampler.add(frame)
            self.panorama.add(frame)
            yield frame


def make_clips(experiment: ExperimentData, directory: Path) -> Clips:
    """Write best.mp4, typical.mp4 and montage.png to `directory`, if the experiment's episodes can be replayed.

    If an episode cannot be replayed, the report contains a notice instead, and the error is logged.
    """
    chosen = choose_episodes(experiment.evaluation) or chosen_in_training(experiment.train)
    if experiment.replay is None or chosen is None:
        return Clips(experiment, notice="No video: the actions of these episodes were not given to this report.")
    try:
        return _play(experiment, chosen, directory)
    except Exception as error:
        # A replay uses the emulator, the store and the encoder. If one of them fails, the report still has its numbers.
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


def _clip(experiment: ExperimentData, episode: int, protocol: str, title: str, path: Path) -> tuple[Clip, _FrameObserver]:
    if experiment.replay is None:
        raise ValueError("no replay")
    watcher = _FrameObserver()
    render_video(watcher.watch(experiment.replay(episode)), path, scale=SCALE)
    stills = watcher.sampler.frames()
    still = stills[len(stills) // 2] if stills else None
    return Clip(title, episode, protocol, path, still, _inspection(experiment, episode, path.with_suffix(".html"))), watcher


def _inspection(experiment: ExperimentData, episode: int, path: Path) -> Path | None:
    """Write the page that takes an episode apart. If it cannot be written, the report still has its video."""
    if experiment.inspect is None:
        return None
    try:
        experiment.inspect(episode, path)
    except Exception:
        _log.warning("no page about episode %d of experiment %s", episode, experiment.name, exc_info=True)
        return None
    return path
