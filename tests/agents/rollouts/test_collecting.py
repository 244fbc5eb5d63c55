"""Rollouts are collected as stable-baselines3 collects them, bit for bit."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from toy_game import toy_config, toy_vec
from twins import twin_config

from agents import build
from agents.algorithms.ppo import PPO
from mario_env import make_training_vec

ARRAYS = ("actions", "rewards", "episode_starts", "values", "log_probs", "returns", "advantages")


class Watch(BaseCallback):
    """Remembers what the loop's locals say at each call, and ends the training after `steps` steps."""

    def __init__(self, steps: int | None = None) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self._steps = steps

    def _on_step(self) -> bool:
        counts = [self.num_timesteps, self.locals["n_steps"], self.locals["n_rollout_steps"]]
        given = [self.locals[name].tobytes() for name in ("actions", "rewards", "dones", "new_obs")]
        self.seen.append(["step", *counts, *given, [info["TimeLimit.truncated"] for info in self.locals["infos"]]])
        return self.n_calls != self._steps

    def _on_rollout_start(self) -> None:
        self.seen.append(["start", self.num_timesteps])

    def _on_rollout_end(self) -> None:
        self.seen.append(["end", self.num_timesteps, self.locals["values"].tolist()])


def model_of(algorithm: str) -> tuple[Any, VecEnv]:
    config = twin_config(algorithm)
    env = make_training_vec(config)
    return build(config, env, device="cpu"), env


def collected(model: Any, loop: Any, steps: int | None = None, rollouts: int = 3) -> tuple[list[Any], list[bytes], list[bool]]:
    """What callbacks saw, the buffers' arrays, and what the loop returned, for some rollouts in a row."""
    watch, arrays, complete = Watch(steps), [], []
    _, callback = model._setup_learn(10_000, watch)
    for _ in range(rollouts):
        complete.append(loop(model, model.env, callback, model.rollout_buffer, model.n_steps))
        arrays += [getattr(model.rollout_buffer, name).tobytes() for name in ARRAYS]
        if not complete[-1]:
            break
    return watch.seen, arrays, complete


@pytest.mark.parametrize("stop", [None, 20])
def test_a_rollout_is_that_of_the_library(stop: int | None) -> None:
    """With truncated episodes (`max_steps`), and ended by a callback in the second rollout."""
    found = []
    for loop in (OnPolicyAlgorithm.collect_rollouts, PPO.collect_rollouts):
        torch.manual_seed(0)
        model, env = model_of("ppo")
        found.append(collected(model, loop, stop))
        env.close()

    assert found[0] == found[1]
    assert found[0][2] == ([True] * 3 if stop is None else [True, False])
    assert sum(seen[-1].count(True) for seen in found[0][0] if seen[0] == "step") > 0, "no episode was truncated"


def test_the_librarys_own_buffer_can_be_used() -> None:
    model = build(toy_config("ppo"), toy_vec(), device="cpu")
    assert isinstance(model, PPO)
    model.rollout_buffer = RolloutBuffer(64, model.observation_space, model.action_space, "cpu", n_envs=2)
    model.learn(256)

    assert model.num_timesteps == 256
    assert np.isfinite(model.rollout_buffer.returns).all()
