"""Epsilon-greedy exploration, independently in each game.

stable-baselines3 decides once for all games of a step: all of them explore, or none does. Here each game decides for itself.
Two extensions help where good play needs long sequences of actions:

- An epsilon for each game (Horgan et al. 2018, "Distributed Prioritized Experience Replay"): some games play nearly as well as
  the network can and reach later parts of the level, others try actions that the network would not choose.
- Repeated random actions (Dabney et al. 2021, "Temporally-Extended epsilon-Greedy Exploration"): a random action lasts n
  decisions, where n has a zeta distribution. A high jump is one button held for many decisions, which independent random
  actions hardly ever produce.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.seeds import Stream, generator
from mario_env.snapshots import generator_state, set_generator_state

# The longest duration of a random action in decisions: 1.6 seconds at four frames per decision, longer than any jump.
LONGEST = 24


@dataclass(frozen=True)
class Exploration:
    """The extensions of epsilon-greedy exploration.

    Attributes:
        highest: the final epsilon of the game that explores most. The others are spaced geometrically between it and the
            final epsilon of the schedule. None: all games have the epsilon of the schedule.
        duration_exponent: the exponent of the zeta distribution of durations, truncated at `LONGEST`; None: one decision.
    """

    highest: float | None = None
    duration_exponent: float | None = None


def spread(epsilon: float, final: float, highest: float | None, games: int) -> NDArray[np.float64]:
    """Epsilons of the games, float64 (games,), when the schedule is at `epsilon` and ends at `final`.

    While the schedule is above a game's own final epsilon, the game has the epsilon of the schedule.
    """
    if highest is None or games == 1:
        return np.full(games, epsilon)
    return np.maximum(np.geomspace(max(final, 1e-6), highest, games), epsilon)


def durations(exponent: float | None) -> NDArray[np.float64]:
    """The probabilities of durations of 1, 2, … decisions, float64 (longest,)."""
    if exponent is None:
        return np.ones(1)
    weights = np.arange(1, LONGEST + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


class Explorer:
    """Decides for each game whether it takes a random action, and which.

    Args:
        n_envs: the number of games.
        n_actions: the size of the action space.
        seed: the seed of the random choices; None: a random seed.
        duration_exponent: see `Exploration`.
    """

    def __init__(self, n_envs: int, n_actions: int, seed: int | None, duration_exponent: float | None) -> None:
        self._coins = np.random.default_rng() if seed is None else generator(seed, Stream.EXPLORATION)
        self._n_actions = n_actions
        self._chances = durations(duration_exponent)
        self._left = np.zeros(n_envs, dtype=np.int64)  # remaining decisions of the current random action
        self._held = np.zeros(n_envs, dtype=np.int64)

    def step(self, epsilons: NDArray[np.float64], games: slice = slice(None)) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Make the random choices for one decision of some games.

        Args:
            epsilons: the probability that a game begins to explore, (n,).
            games: which n games; by default all.

        Returns:
            The random action of each game, int64 (n,), and whether the game takes it, bool (n,).
        """
        left, held = self._left[games], self._held[games]  # views
        begins = (left == 0) & (self._coins.random(len(epsilons)) < epsilons)
        if count := int(begins.sum()):
            left[begins] = 1 + self._coins.choice(len(self._chances), size=count, p=self._chances)
            held[begins] = self._coins.integers(self._n_actions, size=count)
        explores = left > 0
        left[explores] -= 1
        return held.copy(), explores

    def end_episodes(self, dones: NDArray[np.bool_], games: slice = slice(None)) -> None:
        """Stop repeating an action where an episode has ended; `dones` has shape (n,), for n games."""
        self._left[games][dones] = 0

    def get_state(self) -> dict[str, Any]:
        """The generator and the actions that are being repeated, as JSON types."""
        return {"coins": generator_state(self._coins), "left": self._left.tolist(), "held": self._held.tolist()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `get_state` returned."""
        set_generator_state(self._coins, state["coins"])
        self._left = np.array(state["left"], dtype=np.int64)
        self._held = np.array(state["held"], dtype=np.int64)
