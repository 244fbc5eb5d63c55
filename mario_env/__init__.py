"""The game: console, transforms, environment, vectorised environment.

:func:`make` is the only constructor of an environment, :func:`make_vec` of several at once.
"""

from mario_env.errors import PlaybackError, RomUnavailableError, WorkerError
from mario_env.factory import OBSERVATION_SHAPE, make
from mario_env.summary import EpisodeStart, EpisodeSummary

__all__ = [
    "OBSERVATION_SHAPE",
    "EpisodeStart",
    "EpisodeSummary",
    "PlaybackError",
    "RomUnavailableError",
    "WorkerError",
    "make",
]
