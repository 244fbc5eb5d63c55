"""Generated transitions, as environments give them, for tests of the replay buffers."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Transition: TypeAlias = tuple[
    NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_], list[dict[str, Any]]
]


class Player:
    """Plays random frames in several environments; a list of events says what happens in each at a step.

    - "on": the next observation has a new frame.
    - "still": the next observation repeats the newest frame.
    - "terminated", "truncated", "both": the episode ends; the next one starts with a stack of equal frames.
    - "new stack": the episode terminates; the next one starts with a stack of different frames.
    - "jump": the episode goes on, but the following observation is unrelated to this transition's next observation.
    - "unrelated": this transition's next observation is unrelated to its observation.

    Args:
        values: pixels are below it.
    """

    def __init__(self, n_envs: int, shape: tuple[int, int, int], seed: int, values: int = 256) -> None:
        self._random = np.random.default_rng(seed)
        self._values = values
        self._observations = np.stack([np.repeat(self._frames(1, *shape[1:]), shape[0], axis=0) for _ in range(n_envs)])

    def ordinary(self, mean_length: int) -> list[str]:
        """Events of one step, where episodes have the given mean length."""
        ends = self._random.random(len(self._observations)) < 1 / mean_length
        return [str(self._random.choice(["terminated", "truncated", "new stack"])) if end else "on" for end in ends]

    def play(self, events: Sequence[str]) -> Transition:
        """One step, as the arguments of a replay buffer's `add`."""
        observations = self._observations
        following = np.stack([self._next(stack, event) for stack, event in zip(observations, events, strict=True)])
        self._observations = np.stack([self._after(stack, event) for stack, event in zip(following, events, strict=True)])
        done = np.array([event in ("terminated", "truncated", "both", "new stack") for event in events])
        infos = [{"TimeLimit.truncated": True} if event in ("truncated", "both") else {} for event in events]
        actions = self._random.integers(5, size=len(events))
        return observations, following, actions, self._random.normal(size=len(events)), done, infos

    def _next(self, stack: NDArray[np.uint8], event: str) -> NDArray[np.uint8]:
        if event == "unrelated":
            return self._frames(*stack.shape)
        newest = stack[-1:] if event == "still" else self._frames(1, *stack.shape[1:])
        return np.concatenate([stack[1:], newest])

    def _after(self, stack: NDArray[np.uint8], event: str) -> NDArray[np.uint8]:
        if event in ("new stack", "jump"):
            return self._frames(*stack.shape)
        if event in ("terminated", "truncated", "both"):
            return np.repeat(self._frames(1, *stack.shape[1:]), len(stack), axis=0)
        return stack.copy()

    def _frames(self, *shape: int) -> NDArray[np.uint8]:
        return self._random.integers(self._values, size=shape, dtype=np.uint8)
