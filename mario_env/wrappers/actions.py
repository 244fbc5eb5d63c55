"""Wrappers of actions: idle frames at the start, button combinations as numbers, sticky actions."""

from collections.abc import Sequence
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.wrappers import TransformAction

from configs.schema import EnvironmentConfig
from mario_env.console import Console, Screen
from mario_env.memory import lives

__all__ = ["ActionDelay", "JoypadAction", "NoopStart", "StickyActions", "button_combinations", "draw_delay", "pressed_buttons"]

_BITS: Final = {
    "right": 0b10000000,
    "left": 0b01000000,
    "down": 0b00100000,
    "up": 0b00010000,
    "start": 0b00001000,
    "select": 0b00000100,
    "B": 0b00000010,
    "A": 0b00000001,
    "NOOP": 0,
}

# The sets of gym-super-mario-bros, repeated here because importing that package starts the game's whole stack.
_RIGHT_ONLY: Final = (("NOOP",), ("right",), ("right", "A"), ("right", "B"), ("right", "A", "B"))
_SIMPLE: Final = (*_RIGHT_ONLY, ("A",), ("left",))
_COMPLEX: Final = (*_SIMPLE, ("left", "A"), ("left", "B"), ("left", "A", "B"), ("down",), ("up",))
_NAMED: Final = {"right_only": _RIGHT_ONLY, "simple": _SIMPLE, "complex": _COMPLEX}


def button_combinations(config: EnvironmentConfig) -> tuple[tuple[str, ...], ...]:
    """The buttons that each action presses. The index in this tuple is the action."""
    if isinstance(config.actions, str):
        return _NAMED[config.actions]
    return tuple(tuple(combination) for combination in config.actions)


def pressed_buttons(combinations: Sequence[Sequence[str]]) -> dict[int, int]:
    """The byte of pressed buttons, by action."""
    return {action: sum(_BITS[button] for button in set(combination)) for action, combination in enumerate(combinations)}


class JoypadAction(TransformAction[Screen, Any, Any]):
    """Numbers the button combinations: action i presses combination i.

    Args:
        env: takes a byte of pressed buttons.
        combinations: see :func:`button_combinations`.
    """

    def __init__(self, env: gymnasium.Env[Screen, Any], combinations: Sequence[Sequence[str]]) -> None:
        self._pressed = pressed_buttons(combinations)
        super().__init__(env, self._press, Discrete(len(self._pressed)))

    def _press(self, action: Any) -> int:
        try:
            return self._pressed[int(action)]
        except KeyError:
            raise ValueError(f"there is no action {action}: the actions are 0 to {len(self._pressed) - 1}") from None


class ActionDelay(gymnasium.Wrapper[Screen, Any, Screen, Any]):
    """Begins a decision with the buttons of an earlier one: for :class:`StickyActions`, and to play episodes again.

    :meth:`delay_next` says for how many frames of the next decision the last buttons that took hold stay pressed. A decision
    whose delay is as long as itself never takes hold: the older buttons are still held when the next decision begins. At the
    start of an episode no button is held. `info["action_delay"]` is the delay of the decision, in frames.

    Args:
        env: takes a byte of pressed buttons, and each step is one frame. This wrapper belongs below any frame skip.
    """

    def __init__(self, env: gymnasium.Env[Screen, Any]) -> None:
        super().__init__(env)
        self._held = self._delay = self._left = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Start with no button held."""
        self._held = self._delay = self._left = 0
        return self.env.reset(seed=seed, options=options)

    def delay_next(self, frames: int) -> None:
        """Delay the next decision by `frames`, 0 or more."""
        self._delay = self._left = frames

    def step(self, action: Any) -> tuple[Screen, Any, bool, bool, dict[str, Any]]:
        """Play one frame."""
        if self._left:
            self._left -= 1
        else:
            self._held = action
        screen, reward, terminated, truncated, info = self.env.step(self._held)
        return screen, reward, terminated, truncated, {**info, "action_delay": self._delay}


def draw_delay(generator: np.random.Generator, probability: float, frames: int) -> int:
    """By how many frames sticky actions delay a decision, 0 to `frames`: see :class:`StickyActions`."""
    delay = 0
    while delay < frames and generator.random() < probability:
        delay += 1
    return delay


class StickyActions(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Sticky actions (Machado et al. 2018, section 5.2) as the Arcade Learning Environment has them.

    Its `StellaEnvironment::act` throws a coin at each frame of a decision until the new action takes hold. Until then it
    repeats the last action that took hold. So a decision of n frames is delayed by k frames with probability p^k (1 - p), and
    is lost as a whole with probability p^n. With p = 0.25 and n = 4, the mean delay is a third of a frame, and 0.4 % of the
    decisions are lost.

    Args:
        env: has :class:`ActionDelay` below.
        probability: that the last action is repeated, at each frame.
        frames: that a decision lasts.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], probability: float, frames: int) -> None:
        super().__init__(env)
        self._probability = probability
        self._frames = frames
        self._delay_next = env.get_wrapper_attr("delay_next")

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Draw the delay, and play the decision."""
        self._delay_next(draw_delay(self.np_random, self._probability, self._frames))
        return self.env.step(action)


class NoopStart(gymnasium.Wrapper[Screen, Any, Screen, Any]):
    """Idles for a number of frames after a reset, drawn uniformly from 1 to `most` (Mnih et al. 2015, "no-op starts").

    The option `noop_frames` of a reset sets the number, so that an episode can be played again. `info["noop_frames"]` of a
    reset is the number that was used.

    Args:
        env: the console.
        most: the largest number of frames. 0: idle only if a reset has the option.
    """

    def __init__(self, env: Console, most: int) -> None:
        super().__init__(env)
        self._console = env
        self._most = most

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Reset the console and idle."""
        screen, info = self.env.reset(seed=seed, options=options)
        count = (options or {}).get("noop_frames")
        if count is None:
            count = int(self.np_random.integers(1, self._most + 1)) if self._most else 0
        alive = lives(self._console.memory)
        for frame in range(count):
            screen, _, terminated, _, _ = self.env.step(0)
            if terminated or lives(self._console.memory) < alive:
                # Idling kills here, and always at this frame: the game is deterministic. Half as long leaves time to act.
                same_level = {name: info[name] for name in ("level",) if name in info}
                return self.reset(options={**(options or {}), **same_level, "noop_frames": frame // 2})
        return screen, {**info, "noop_frames": count}
