"""Transforms of what is pressed: idle frames at the start, button combinations as numbers."""

from collections.abc import Sequence
from typing import Any, Final

import gymnasium
from gymnasium.spaces import Discrete
from gymnasium.wrappers import TransformAction

from configs.schema import EnvironmentConfig
from mario_env.console import Console, Screen
from mario_env.memory import lives

__all__ = ["JoypadAction", "NoopStart", "button_combinations", "pressed_buttons"]

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
    """What each action presses; the index in this tuple is the action."""
    if isinstance(config.actions, str):
        return _NAMED[config.actions]
    return tuple(tuple(combination) for combination in config.actions)


def pressed_buttons(combinations: Sequence[Sequence[str]]) -> dict[int, int]:
    """The byte of pressed buttons of each action."""
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


class NoopStart(gymnasium.Wrapper[Screen, Any, Screen, Any]):
    """Idles for a number of frames after a reset, drawn uniformly from 1 to `most` (Mnih et al. 2015, "no-op starts").

    The option `noop_frames` of a reset fixes the number, so that an episode can be played again. The info of a reset names
    the number used.

    Args:
        env: the console.
        most: at most so many frames; 0: idle only when a reset asks for it.
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
                # Idling kills here, always at this frame: the game is deterministic. Half as long leaves time to act.
                return self.reset(options={**(options or {}), "noop_frames": frame // 2})
        return screen, {**info, "noop_frames": count}
