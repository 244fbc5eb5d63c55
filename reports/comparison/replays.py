"""Short videos of how episodes end, for the bars of the plot of endings."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from reports.comparison.endings import Spot
from reports.video import NES_FRAME_RATE, Frame, render_video

SECONDS: Final = 3
"""How much of an episode's end is shown."""
_QUALITY: Final = 27  # x264's constant rate factor: half the size of the report's videos, and legible
MOST_CLIPS: Final = 48
"""Videos in one page, for the bars with most episodes. A video takes about half a second and 40 kB."""

_log = logging.getLogger(__name__)


def ending_clips(spots: Sequence[Spot], replay: Callable[[int], Iterable[Frame]] | None, directory: Path) -> dict[int, Path]:
    """Write the ends of the spots' episodes to `directory` as ``ending-ID.mp4``, and return the path for each episode.

    An episode that cannot be replayed has no video; the error is logged.
    """
    if replay is None:
        return {}
    ranked = sorted((spot for spot in spots if spot.episode is not None), key=lambda spot: -spot.episodes)
    clips: dict[int, Path] = {}
    for episode in list(dict.fromkeys(spot.episode for spot in ranked if spot.episode is not None))[:MOST_CLIPS]:
        try:
            last = deque(replay(episode), maxlen=round(SECONDS * NES_FRAME_RATE))
            clips[episode] = render_video(last, directory / f"ending-{episode}.mp4", scale=1, quality=_QUALITY)
        except Exception:
            # A replay uses the emulator, the store and the encoder. If one of them fails, the page still has its numbers.
            _log.warning("no video of episode %d", episode, exc_info=True)
    return clips
