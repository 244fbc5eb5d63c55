"""What an agent sees: the kinds of observation that `environment.observation` chooses from.

Each kind is one :class:`~mario_env.observations.definition.Observation`. To add one, write its class in a module of this
package, and name the class in `OBSERVATIONS` and its `name` in `configs.schema.EnvironmentConfig.observation`.
"""

from collections.abc import Mapping
from typing import Final

from gymnasium.spaces import Box

from configs.schema import EnvironmentConfig
from mario_env.observations.definition import Observation
from mario_env.observations.frames import Frames
from mario_env.observations.tiles import Tiles

__all__ = ["OBSERVATIONS", "Frames", "Observation", "Tiles", "observation_of", "observation_space"]

OBSERVATIONS: Final[Mapping[str, type[Observation]]] = {kind.name: kind for kind in (Frames, Tiles)}


def observation_of(config: EnvironmentConfig) -> Observation:
    """The observation that `config` describes."""
    return OBSERVATIONS[config.observation].of(config)


def observation_space(config: EnvironmentConfig) -> Box:
    """The space of one observation of an environment that `config` describes, without making the environment."""
    return observation_of(config).space
