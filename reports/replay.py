"""Replay of a stored episode from its start, its actions and their delays."""

from collections.abc import Iterator

from configs.schema import EnvironmentConfig
from mario_env import EpisodeStart, play_back
from reports.video import Frame


def episode_frames(config: EnvironmentConfig, start: EpisodeStart, actions: bytes, delays: bytes = b"") -> Iterator[Frame]:
    """The frames of an episode, uint8 RGB of shape (240, 256, 3), one per emulator frame."""
    for played in play_back(config, start, actions, delays):
        yield played.screen
