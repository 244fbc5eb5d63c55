"""The observation `frames`: the last screens, small and gray, as in Mnih et al. 2015."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from gymnasium.wrappers import FrameStackObservation

from configs.schema import EnvironmentConfig
from mario_env.observations.definition import Environment, Observation
from mario_env.wrappers.observation import CropStatusBar, Grayscale, Resize

__all__ = ["Frames"]


@dataclass(frozen=True)
class Frames(Observation):
    """The screens of the last four decisions, the newest last: gray, resized by areas.

    Attributes:
        crop_status_bar: cut off the rows that show score, coins, world and clock.
    """

    crop_status_bar: bool = False

    name = "frames"
    shape = (4, 84, 84)
    dtype = np.dtype(np.uint8)
    low, high = 0, 255
    compiled = "mario_env.nes.frames"

    @classmethod
    def of(cls, config: EnvironmentConfig) -> Self:
        """See :class:`Observation`."""
        return cls(config.crop_status_bar)

    def wrap(self, env: Environment) -> Environment:
        """See :class:`Observation`."""
        stack, height, width = self.shape
        env = Grayscale(env)
        if self.crop_status_bar:
            env = CropStatusBar(env)
        env = Resize(env, (height, width))
        return FrameStackObservation(env, stack)
