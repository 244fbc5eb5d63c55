"""Wrappers of screens."""

from functools import partial
from typing import Any

import cv2
import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import MaxAndSkipObservation, ResizeObservation, TransformObservation

from mario_env.console import Screen

__all__ = ["CropStatusBar", "FrameSkip", "Grayscale", "Resize"]

STATUS_BAR_ROWS = 32


# Functions with names and not lambdas, so that an environment can be pickled.


def _luma(screen: Screen) -> Screen:
    return cv2.cvtColor(screen, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def _resized(shape: tuple[int, int], screen: Screen) -> Screen:
    return cv2.resize(screen, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _below_status_bar(screen: Screen) -> Screen:
    return screen[STATUS_BAR_ROWS:]


class FrameSkip(MaxAndSkipObservation):
    """Repeats an action for `skip` frames and shows the maximum of the last two (Mnih et al. 2015).

    The NES, like the Atari, draws some objects on every other frame only. This is Gymnasium's wrapper, except for an episode
    that ends before the last frame of a decision. There Gymnasium's mixes in frames of an earlier decision, even of an earlier
    episode. Here the last observation is always the maximum of the last two frames of this decision, or its only frame.
    """

    def step(self, action: Any) -> tuple[Screen, float, bool, bool, dict[str, Any]]:
        """Play up to `skip` frames.

        Returns:
            The maximum of the last two screens, the sum of the rewards, and the flags and info of the last frame.
        """
        reward = 0.0
        previous: Screen | None = None
        for count in range(self._skip):
            screen, frame_reward, terminated, truncated, info = self.env.step(action)
            reward += float(frame_reward)
            if terminated or truncated or count == self._skip - 1:
                break
            previous = screen
        seen = screen if previous is None else np.maximum(previous, screen)
        return seen, reward, terminated, truncated, info


class Grayscale(TransformObservation[Screen, Any, Screen]):
    """Turns RGB into luma (ITU-R BT.601, OpenCV): uint8 of shape (height, width).

    Gymnasium's GrayscaleObservation multiplies in float64 and takes 1.0 to 1.2 ms for a screen of this size, a quarter of the
    time of the four frames of a decision on nes-py. OpenCV takes 15 µs, and gives the same picture on every stack.
    """

    def __init__(self, env: gymnasium.Env[Screen, Any]) -> None:
        shape = env.observation_space.shape
        if shape is None or len(shape) != 3 or shape[-1] != 3:
            raise ValueError(f"Grayscale needs pictures of shape (height, width, 3), not {shape}")
        super().__init__(env, _luma, Box(0, 255, shape[:2], np.uint8))


class Resize(ResizeObservation):
    """Gymnasium's wrapper (OpenCV, by areas) for gray pictures, without its lambda, which cannot be pickled.

    Args:
        env: shows uint8 pictures of shape (height, width).
        shape: height and width.
    """

    def __init__(self, env: gymnasium.Env[Screen, Any], shape: tuple[int, int]) -> None:
        super().__init__(env, shape)
        self.func = partial(_resized, shape)


class CropStatusBar(TransformObservation[Screen, Any, Screen]):
    """Cuts off the 32 rows at the top, which show score, coins, world and clock."""

    def __init__(self, env: gymnasium.Env[Screen, Any]) -> None:
        shape = env.observation_space.shape
        if shape is None or len(shape) < 2 or shape[0] <= STATUS_BAR_ROWS:
            raise ValueError(f"CropStatusBar needs pictures higher than {STATUS_BAR_ROWS} rows, not of shape {shape}")
        space = Box(0, 255, (shape[0] - STATUS_BAR_ROWS, *shape[1:]), np.uint8)
        super().__init__(env, _below_status_bar, space)
