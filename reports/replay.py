"""Replay of a stored episode from its start, its actions and their delays."""

from collections.abc import Iterator

from configs.schema import EnvironmentConfig
from mario_env import EpisodeStart, play_back
from reports.seen import beside, draw_observation
from reports.video import Frame


def episode_frames(config: EnvironmentConfig, start: EpisodeStart, actions: bytes, delays: bytes = b"") -> Iterator[Frame]:
    """The frames of an episode, uint8 RGB of shape (240, 256, 3), one per emulator frame."""
    for played in play_back(config, start, actions, delays):
        yield played.screen


def frames_with_observations(
    config: EnvironmentConfig, start: EpisodeStart, actions: bytes, delays: bytes = b""
) -> Iterator[Frame]:
    """The frames of an episode, enlarged, with what the agent saw when it decided: uint8 RGB of shape `seen.SHAPE`."""
    observation, seen = None, None
    for played in play_back(config, start, actions, delays):
        if seen is None or played.observation is not observation:
            observation, seen = played.observation, draw_observation(config, played.observation)
        yield beside(played.screen, seen)
