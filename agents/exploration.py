"""How the value-based algorithms explore: epsilon-greedy, each game for itself.

stable-baselines3 throws one coin for all games of a step, so that all explore at once or none does. Here each has its own, and
two refinements that papers found to matter where good play needs long sequences:

- An epsilon of its own for each game (Horgan et al. 2018, "Distributed Prioritized Experience Replay"): some play nearly as
  well as the network can and show what comes later in the level, others try what it would not.
- Random actions that last (Dabney et al. 2021, "Temporally-Extended epsilon-Greedy Exploration"): for n decisions, n drawn
  from a zeta distribution. A high jump is one button held for many decisions, which independent coins hardly ever do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from agents.own_state import OwnState
from configs.seeds import Stream, generator
from mario_env.snapshots import generator_state, set_generator_state

# No action is repeated for longer: a second and a half at four frames a decision. Beyond it a jump is over.
LONGEST = 24


@dataclass(frozen=True)
class Exploration:
    """The refinements.

    Attributes:
        highest: the epsilon, at the end of the schedule, of the game that explores most. The others' lie between it and the
            schedule's own, in equal ratios. None: all games have the schedule's.
        duration_exponent: of the zeta distribution that durations are drawn from, cut at `LONGEST`; None: one decision.
    """

    highest: float | None = None
    duration_exponent: float | None = None


def spread(epsilon: float, final: float, highest: float | None, games: int) -> NDArray[np.float64]:
    """Epsilons of the games, float64 (games,), the schedule being at `epsilon` and ending at `final`.

    While the schedule is above a game's own final epsilon, the schedule counts.
    """
    if highest is None or games == 1:
        return np.full(games, epsilon)
    return np.maximum(np.geomspace(max(final, 1e-6), highest, games), epsilon)


def durations(exponent: float | None) -> NDArray[np.float64]:
    """Probabilities of lasting 1, 2, … decisions."""
    if exponent is None:
        return np.ones(1)
    weights = np.arange(1, LONGEST + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


class Explores(OwnState, OffPolicyAlgorithm):
    """Chooses the actions of a training; to be inherited before DQN or QR-DQN.

    Attributes:
        exploration: the refinements; set them before learning.
    """

    exploration = Exploration()

    def _setup_model(self) -> None:
        super()._setup_model()
        self._coins = np.random.default_rng() if self.seed is None else generator(self.seed, Stream.EXPLORATION)
        self._left = np.zeros(self.n_envs, dtype=np.int64)
        self._held = np.zeros(self.n_envs, dtype=np.int64)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Actions of all games, int64 (n_envs,), twice: to be played, and to be remembered."""
        epsilons = np.ones(n_envs) if self.num_timesteps < learning_starts else self.epsilons()
        begin = (self._left == 0) & (self._coins.random(n_envs) < epsilons)
        if count := int(begin.sum()):
            chances = durations(self.exploration.duration_exponent)
            self._left[begin] = 1 + self._coins.choice(len(chances), size=count, p=chances)
            self._held[begin] = self._coins.integers(self.action_space.n, size=count)  # type: ignore[attr-defined]
        explores = self._left > 0
        self._left[explores] -= 1
        if explores.all():
            return self._held.copy(), self._held.copy()
        assert self._last_obs is not None
        best, _ = self.policy.predict(self._last_obs, deterministic=True)
        actions = np.where(explores, self._held, best)
        return actions, actions

    def epsilons(self) -> NDArray[np.float64]:
        """Of each game, now: the probability that it begins to explore; float64 (n_envs,)."""
        final = self.exploration_final_eps  # type: ignore[attr-defined]
        return spread(self.exploration_rate, final, self.exploration.highest, self.n_envs)  # type: ignore[attr-defined]

    def _store_transition(
        self, replay_buffer: Any, buffer_action: Any, new_obs: Any, reward: Any, dones: Any, infos: Any
    ) -> None:
        """As the library's; what a game was about to repeat ends with its episode."""
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._left[dones] = 0

    def own_state(self) -> dict[str, Any]:
        """Besides what others have: what will be drawn, and what is being repeated."""
        repeated = {"left": self._left.tolist(), "held": self._held.tolist()}
        return {**super().own_state(), "exploration": {"coins": generator_state(self._coins), **repeated}}

    def set_own_state(self, state: Mapping[str, Any]) -> None:
        """Go on exploring from there."""
        super().set_own_state(state)
        exploration = state["exploration"]
        set_generator_state(self._coins, exploration["coins"])
        self._left = np.array(exploration["left"], dtype=np.int64)
        self._held = np.array(exploration["held"], dtype=np.int64)
