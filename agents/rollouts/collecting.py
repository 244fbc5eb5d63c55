"""The loop that collects a rollout."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.rollouts.frames import FrameRolloutBuffer
from mario_env.stable_baselines import FastVecEnv

SMALLEST_IN_HALVES: Final = 64
"""Fewer games than that keep neither a GPU nor the processors busy in halves."""

Outcome = tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], list[dict[str, Any]]]
"""What `VecEnv.step` returns: observations, rewards, dones and infos."""


class Decisions(NamedTuple):
    """The decisions of some games.

    Attributes:
        actions: int64 (n,).
        values: of the observations, float32 (n, 1), on the device.
        log_probs: of the actions, float32 (n,), on the device.
        advice: what the adviser would do, float32 (n, actions): the probability of each action; None: there is no adviser.
    """

    actions: NDArray[np.int64]
    values: torch.Tensor
    log_probs: torch.Tensor
    advice: torch.Tensor | None = None


class Adviser(Protocol):
    """Says what it would do where a policy is learning: see :class:`agents.policies.teachers.Teachers`."""

    def advise(self, env: VecEnv, games: slice) -> torch.Tensor:
        """The probabilities with which it would choose each action in the present states of some games."""


Steps = Generator[tuple[Decisions, Outcome], None, None]


class Collecting(OnPolicyAlgorithm):
    """Collects rollouts as stable-baselines3 does, with the same results, for discrete actions.

    The buffer brings the observations to the device (`FrameRolloutBuffer.observe`).

    On a GPU the games of the fast emulator are played in halves by turns: while one half plays, actions are chosen for the
    other. Each game plays as it would otherwise. The random numbers of the policy are drawn in another order.

    Attributes:
        in_halves: whether games are played in halves; None: on a GPU, with an even number of games and `SMALLEST_IN_HALVES` at
            least.
        adviser: what it says about each decision goes into the rollout buffer; None: there is none.
    """

    in_halves: bool | None = None
    adviser: Adviser | None = None

    def decide(
        self, observations: torch.Tensor, games: slice, episode_starts: NDArray[np.bool_]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Choose the actions of some games; returns actions, values and log-probabilities, as the policy does.

        Args:
            observations: of these games.
            games: which games they are.
            episode_starts: bool (n,), whether these observations are the first of an episode.
        """
        decided: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self.policy(observations)
        return decided

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """As in stable-baselines3: returns False if the callback ended the training. Callbacks find the same locals."""
        assert self._last_obs is not None, "there is no observation: call learn"
        self.policy.set_training_mode(False)
        n_steps = 0
        rollout_buffer.reset()
        callback.on_rollout_start()
        parts = self._parts(env)
        with closing(self._steps(env, rollout_buffer, parts, n_rollout_steps)) as steps:
            for (actions, values, log_probs, advice), (new_obs, rewards, dones, infos) in steps:
                self.num_timesteps += env.num_envs
                callback.update_locals(locals())
                if not callback.on_step():
                    return False
                self._update_info_buffer(infos, dones)
                n_steps += 1
                self._add_values_after_truncation(rewards, dones, infos)
                if advice is not None:
                    assert isinstance(rollout_buffer, FrameRolloutBuffer)
                    rollout_buffer.advise(advice)
                rollout_buffer.add(
                    self._last_obs,  # type: ignore[arg-type]
                    actions.reshape(-1, 1),
                    rewards,
                    self._last_episode_starts,  # type: ignore[arg-type]
                    values,
                    log_probs,
                )
                self._last_obs, self._last_episode_starts = new_obs, dones
        values = self._last_values(rollout_buffer, new_obs, parts)
        rollout_buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _parts(self, env: VecEnv) -> list[slice]:
        """The games that are played together: all, or two halves."""
        in_halves = self.in_halves
        if in_halves is None:
            in_halves = self.device.type != "cpu" and env.num_envs % 2 == 0 and env.num_envs >= SMALLEST_IN_HALVES
        if not in_halves or not isinstance(env, FastVecEnv) or env.num_envs < 2:
            return [slice(0, env.num_envs)]
        middle = env.num_envs // 2
        return [slice(0, middle), slice(middle, env.num_envs)]

    def _steps(self, env: VecEnv, buffer: RolloutBuffer, parts: list[slice], count: int) -> Steps:
        """Play `count` steps of all games.

        The caller sets `_last_obs` and `_last_episode_starts` to the results of a step before it asks for the next one.
        """
        if len(parts) == 2:
            assert isinstance(env, FastVecEnv)
            yield from self._steps_by_turns(env, buffer, parts, count)
            return
        for _ in range(count):
            decisions = self._decisions(buffer, parts[0], self._last_obs, self._last_episode_starts)
            yield decisions, env.step(decisions.actions)  # type: ignore[misc]

    def _steps_by_turns(self, env: FastVecEnv, buffer: RolloutBuffer, halves: list[slice], count: int) -> Steps:
        """As `_steps`. When the caller gets a step, the first half is playing the next one."""
        first, second = halves
        assert isinstance(self._last_obs, np.ndarray)
        assert self._last_episode_starts is not None

        def send(half: slice, observations: NDArray[Any], episode_starts: NDArray[np.bool_]) -> Decisions:
            decisions = self._decisions(buffer, half, observations, episode_starts)
            env.send(half.start, decisions.actions)
            return decisions

        try:
            decided = send(first, self._last_obs[first], self._last_episode_starts[first])
            for step in range(count):
                others = send(second, self._last_obs[second], self._last_episode_starts[second])
                new_obs = np.empty_like(self._last_obs)
                new_obs[first], rewards, dones, infos = env.recv()
                decisions = Decisions(*(_joined(*each) for each in zip(decided, others, strict=True)))
                if step + 1 < count:
                    decided = send(first, new_obs[first], dones)
                new_obs[second], *more, other_infos = env.recv()
                rewards, dones = (np.concatenate(each) for each in zip((rewards, dones), more, strict=True))
                yield decisions, (new_obs, rewards, dones, infos + other_infos)
        finally:
            while env.playing:  # after an interruption
                env.recv()

    def _decisions(self, buffer: RolloutBuffer, games: slice, observations: Any, episode_starts: Any) -> Decisions:
        """Decide for some games, which have these observations."""
        with torch.no_grad():
            decided = self.decide(self._observe(buffer, observations, games.start), games, episode_starts)
        actions, values, log_probs = decided
        assert self.env is not None
        advice = None if self.adviser is None else self.adviser.advise(self.env, games)
        return Decisions(actions.cpu().numpy(), values, log_probs, advice)

    @torch.no_grad()
    def _last_values(self, buffer: RolloutBuffer, observations: NDArray[Any], parts: list[slice]) -> torch.Tensor:
        """The values of the observations after the last step, float32 (n_envs, 1)."""
        # In the same parts as before: the buffer knows how their stacks go on.
        observed = [self._observe(buffer, observations[games], games.start) for games in parts]
        return self.policy.predict_values(observed[0] if len(observed) == 1 else torch.cat(observed))

    @staticmethod
    def _observe(buffer: RolloutBuffer, observations: Any, first: int = 0) -> torch.Tensor:
        if isinstance(buffer, FrameRolloutBuffer):
            return buffer.observe(observations, first)
        return torch.as_tensor(observations, device=buffer.device)

    def _add_values_after_truncation(
        self, rewards: NDArray[Any], dones: NDArray[np.bool_], infos: list[dict[str, Any]]
    ) -> None:
        """Where an episode was truncated, add the value of its last observation to the reward."""
        for index in np.flatnonzero(dones):
            info = infos[index]
            if info.get("terminal_observation") is None or not info.get("TimeLimit.truncated", False):
                continue
            observation = self.policy.obs_to_tensor(info["terminal_observation"])[0]
            with torch.no_grad():
                value = self.policy.predict_values(observation)[0].cpu()  # NumPy cannot add what is on a GPU
            rewards[index] += self.gamma * value


def _joined(first: Any, second: Any) -> Any:
    if first is None:
        return None
    return torch.cat((first, second)) if isinstance(first, torch.Tensor) else np.concatenate((first, second))
