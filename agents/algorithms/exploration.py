"""Epsilon-greedy exploration, with a coin for each game.

stable-baselines3 throws one coin for all games of a step: all of them explore, or none does. Here each game has its own, and
two refinements help where good play needs long sequences of actions:

- An epsilon for each game (Horgan et al. 2018, "Distributed Prioritized Experience Replay"): some games play nearly as well as
  the network can and show what comes later in the level, others try what it would not.
- Random actions that last (Dabney et al. 2021, "Temporally-Extended epsilon-Greedy Exploration"): for n decisions, where n is
  drawn from a zeta distribution. A high jump is one button held for many decisions, which independent coins hardly ever
  produce.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.seeds import Stream, generator
from mario_env.snapshots import generator_state, set_generator_state

# No random action lasts longer: a second and a half at four frames a decision. Beyond that a jump is over.
LONGEST = 24


@dataclass(frozen=True)
class Exploration:
    """The refinements.

    Attributes:
        highest: the final epsilon of the game that explores most. The others lie between it and the schedule's final epsilon,
            in equal ratios. None: all games have the schedule's.
        duration_exponent: exponent of the zeta distribution of durations, cut at `LONGEST`; None: one decision.
    """

    highest: float | None = None
    duration_exponent: float | None = None


def spread(epsilon: float, final: float, highest: float | None, games: int) -> NDArray[np.float64]:
    """Epsilons of the games, float64 (games,), when the schedule is at `epsilon` and ends at `final`.

    While the schedule is above a game's own final epsilon, the schedule counts.
    """
    if highest is None or games == 1:
        return np.full(games, epsilon)
    return np.maximum(np.geomspace(max(final, 1e-6), highest, games), epsilon)


def durations(exponent: float | None) -> NDArray[np.float64]:
    """Probabilities of lasting 1, 2, … decisions, float64 (longest,)."""
    if exponent is None:
        return np.ones(1)
    weights = np.arange(1, LONGEST + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


class Explorer:
    """Decides for each game whether it plays a random action, and which.

    Args:
        n_envs: games.
        n_actions: size of the action space.
        seed: of the coins; None: a random one.
        duration_exponent: see `Exploration`.
    """

    def __init__(self, n_envs: int, n_actions: int, seed: int | None, duration_exponent: float | None) -> None:
        self._coins = np.random.default_rng() if seed is None else generator(seed, Stream.EXPLORATION)
        self._n_actions = n_actions
        self._chances = durations(duration_exponent)
        self._left = np.zeros(n_envs, dtype=np.int64)  # decisions that the present random action still lasts
        self._held = np.zeros(n_envs, dtype=np.int64)

    def step(self, epsilons: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Throw the coins of one decision.

        Args:
            epsilons: the probability that a game begins to explore, (n_envs,).

        Returns:
            The random action of each game, int64 (n_envs,), and whether it is to be played, bool (n_envs,).
        """
        begins = (self._left == 0) & (self._coins.random(len(epsilons)) < epsilons)
        if count := int(begins.sum()):
            self._left[begins] = 1 + self._coins.choice(len(self._chances), size=count, p=self._chances)
            self._held[begins] = self._coins.integers(self._n_actions, size=count)
        explores = self._left > 0
        self._left[explores] -= 1
        return self._held.copy(), explores

    def end_episodes(self, dones: NDArray[np.bool_]) -> None:
        """Stop repeating an action where an episode has ended; `dones` has shape (n_envs,)."""
        self._left[dones] = 0

    def get_state(self) -> dict[str, Any]:
        """The generator and the actions that are being repeated, as JSON types."""
        return {"coins": generator_state(self._coins), "left": self._left.tolist(), "held": self._held.tolist()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Return to the state that `get_state` gave."""
        set_generator_state(self._coins, state["coins"])
        self._left = np.array(state["left"], dtype=np.int64)
        self._held = np.array(state["held"], dtype=np.int64)
