"""The picture that stands for a level: the flag, or the furthest that an agent got."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mario_env import PlaybackFrame
from reports.choice import AGENT_PROTOCOLS
from reports.video import Frame


@dataclass(frozen=True)
class Shown:
    """The episode of the picture.

    Attributes:
        episode: its id.
        protocol: how it was played.
        decisions: how many it took.
        distance: pixels.
        completed: whether it completed the level.
    """

    episode: int
    protocol: str
    decisions: int
    distance: int
    completed: bool


def choose_shown(rows: pd.DataFrame) -> Shown | None:
    """The fastest completed episode of the first protocol with any, or else the one that got furthest under all protocols.

    Args:
        rows: evaluation episodes with the columns id, protocol, steps, distance_traveled and level_completed.

    Returns:
        The episode; None if the agent has played none.
    """
    played = rows[rows["protocol"] != "random"]
    if played.empty:
        return None
    completed = played[played["level_completed"].astype(bool)]
    for protocol in AGENT_PROTOCOLS:
        of_protocol = completed[completed["protocol"] == protocol]
        if len(of_protocol):
            return _shown(of_protocol.sort_values(["steps", "id"], kind="stable").iloc[0])
    return _shown(played.sort_values(["distance_traveled", "id"], ascending=[False, True], kind="stable").iloc[0])


def _shown(row: pd.Series) -> Shown:
    return Shown(
        int(row["id"]), str(row["protocol"]), int(row["steps"]), int(row["distance_traveled"]), bool(row["level_completed"])
    )


def flag_frame(frames: Iterable[PlaybackFrame]) -> Frame:
    """The last frame of an episode, uint8 RGB of shape (240, 256, 3): where it ended, which is the flag if it completed.

    Raises:
        ValueError: there is no frame.
    """
    latest = deque(frames, maxlen=1)
    if not latest:
        raise ValueError("an episode without frames has no picture")
    return latest[0].screen


def furthest_frame(frames: Iterable[PlaybackFrame]) -> Frame:
    """The first frame with the longest distance, as :func:`flag_frame`."""
    furthest = max(frames, key=lambda frame: frame.info["distance"], default=None)
    if furthest is None:
        raise ValueError("an episode without frames has no picture")
    return furthest.screen


def write_png(path: Path, picture: Frame) -> Path:
    """Write a picture as a PNG without loss, with a palette if 256 colours suffice, as they do for the game."""
    flat = picture.reshape(-1, 3)
    colours, places = np.unique(flat, axis=0, return_inverse=True)
    if len(colours) > 256:
        Image.fromarray(picture).save(path, optimize=True)
        return path
    image = Image.fromarray(places.reshape(picture.shape[:2]).astype(np.uint8))
    image.putpalette(colours.tobytes())
    image.save(path, optimize=True)
    return path


def read_png(path: Path) -> Frame:
    """A picture as uint8 RGB, (height, width, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
