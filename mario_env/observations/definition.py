"""What defines a kind of observation."""

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from configs.schema import EnvironmentConfig

__all__ = ["Environment", "Observation"]

Environment = gymnasium.Env[Any, Any]


class Observation(ABC):
    """One kind of observation, with the options that a configuration sets: a hashable value.

    It is computed twice, and tests compare the two: by wrappers around one console (`wrap`), which define it, and by compiled
    code for many games at once (`compiled`). The networks that fit it are in `agents`, since this package imports no torch.

    Attributes:
        name: its value of `environment.observation`.
        shape: of one observation.
        dtype: of its numbers.
        low, high: the least and the greatest number.
        draws: whether it is made from pictures. If not, compiled code draws only the screens that are asked for.
        compiled: the module of `mario_env.nes` that computes it. Named, not imported: environments on nes-py do without numba.
            The module has

            - `TABLES`, `make_tables(observation)`: a record dtype, and one record of it, which all games read;
            - `SCRATCH`: a record dtype, of which each game has one to work in;
            - `write_first(machine, screens, tables, scratch, output)`: writes the first observation of an episode;
            - `write_next(machine, screens, last, tables, scratch, before, output)`: writes the observation after a decision.
              `screens` are the two buffers that its frames were drawn into by turns, `last` is the number of its last frame
              (counted from 0), and `before` is the observation before it.
    """

    name: ClassVar[str]
    shape: ClassVar[tuple[int, ...]]
    dtype: ClassVar[np.dtype[Any]]
    low: ClassVar[int]
    high: ClassVar[int]
    draws: ClassVar[bool] = True
    compiled: ClassVar[str]

    @classmethod
    @abstractmethod
    def of(cls, config: EnvironmentConfig) -> Self:
        """The observation with the options of `config`."""

    @abstractmethod
    def wrap(self, env: Environment) -> Environment:
        """Put the wrappers that compute the observation around `env`.

        Args:
            env: each step is one decision, and its observation is the decision's screen: RGB, uint8 of shape (240, 256, 3).
        """

    @property
    def space(self) -> Box:
        """The space of one observation."""
        return Box(self.low, self.high, self.shape, self.dtype.type)

    def load_compiled(self) -> Any:
        """Import the module `compiled`."""
        return import_module(self.compiled)
