"""Rollouts of games that play in halves by turns have what the games gave; here halves are forced on a CPU."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from toy_game import toy_config, toy_vec
from twins import teachers_of, twin_config

from agents import build
from agents.rollouts import DeviceRolloutBuffer, FrameRolloutBuffer
from mario_env import make_training_vec
from mario_env.stable_baselines import FastVecEnv

VARIANTS = ["ppo", "pqn", "pqn, every switch", "ppo, tiles", "ppo, taught"]


class Watch(BaseCallback):
    """Remembers each step, and calls `action` after it."""

    def __init__(self, action: Any = lambda steps: True) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []
        self.totals: list[int] = []
        self._action = action

    def _on_step(self) -> bool:
        copied = {name: self.locals[name].copy() for name in ("actions", "new_obs", "rewards", "dones")}
        self.steps.append({**copied, "infos": self.locals["infos"], "log_probs": self.locals["log_probs"]})
        self.totals.append(self.num_timesteps)
        return bool(self._action(len(self.steps)))


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[FrameRolloutBuffer, DeviceRolloutBuffer])
def model(variant: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    config = twin_config(variant, n_envs=4, game_threads=2)
    env = make_training_vec(config)
    built: Any = build(config, env, device="cpu")
    built.in_halves = True
    if config.train.teacher is not None:
        built.adviser = teachers_of(config)
    built.rollout_buffer_class = request.param
    old = built.rollout_buffer
    built.rollout_buffer = request.param(
        old.buffer_size, old.observation_space, old.action_space, "cpu", old.gae_lambda, old.gamma, old.n_envs
    )
    yield built
    env.close()


def observations_of(buffer: Any) -> torch.Tensor:
    """Those of a complete rollout, (n_envs * steps, ...)."""
    (sample,) = buffer.get(None)
    order = torch.empty(len(sample.observations), dtype=torch.long)
    np.random.seed(0)
    order[torch.as_tensor(np.random.permutation(len(order)))] = torch.arange(len(order))
    return sample.observations[order]


def test_rollouts_have_what_the_games_gave(model: Any, variant: str) -> None:
    """Three rollouts in a row: the same actions, played in games that are stepped together, give the same."""
    watch, rollouts, advice = Watch(), [], []
    _, callback = model._setup_learn(10_000, watch)
    first = model._last_obs.copy()
    for _ in range(3):
        assert model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
        buffer = model.rollout_buffer
        arrays = [array.copy() for array in (buffer.actions, buffer.rewards, buffer.episode_starts, buffer.values)]
        np.random.seed(0)
        rollouts.append((*arrays, observations_of(buffer)))
        advice.append(None if buffer._advice is None else buffer._advice.copy())
    assert watch.totals == [4 * step for step in range(1, 3 * model.n_steps + 1)]

    games = make_training_vec(twin_config(variant, n_envs=4))
    observations, starts, truncated = games.reset(), np.ones(4), 0
    np.testing.assert_array_equal(observations, first)
    for at, seen in enumerate(watch.steps):
        actions, rewards, episode_starts, values, stored = rollouts[at // model.n_steps]
        row = at % model.n_steps
        np.testing.assert_array_equal(stored[row :: model.n_steps].numpy(), observations)
        np.testing.assert_array_equal(actions[row, :, 0], seen["actions"])
        np.testing.assert_array_equal(episode_starts[row], starts)
        with torch.no_grad():
            expected = model.policy.predict_values(torch.as_tensor(observations))
            if variant.startswith("ppo"):
                _, chances, _ = model.policy.evaluate_actions(torch.as_tensor(observations), torch.as_tensor(seen["actions"]))
                np.testing.assert_allclose(seen["log_probs"], chances, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(values[row], expected[:, 0], rtol=1e-4, atol=1e-5)
        if model.adviser is not None:
            said = model.adviser.advise(games, slice(0, 4))
            np.testing.assert_allclose(advice[at // model.n_steps][row], said, rtol=1e-4, atol=1e-5)

        observations, given, starts, infos = games.step(seen["actions"])
        np.testing.assert_array_equal(seen["new_obs"], observations)
        np.testing.assert_array_equal(seen["rewards"], given)
        np.testing.assert_array_equal(seen["dones"], starts)
        assert [info["x_pos"] for info in seen["infos"]] == [info["x_pos"] for info in infos]
        for game, info in enumerate(infos):
            cut = info["TimeLimit.truncated"]
            truncated += cut
            if cut:
                with torch.no_grad():
                    last = torch.as_tensor(info["terminal_observation"][None])
                    given[game] += model.gamma * float(model.policy.predict_values(last))
        if "every switch" not in variant:  # Munchausen rewards are added
            np.testing.assert_allclose(rewards[row], given, rtol=1e-4, atol=1e-5)
    games.close()
    assert truncated > 3
    assert starts.dtype == bool


def test_a_training_ends_at_its_total(model: Any) -> None:
    watch = Watch()
    model.learn(4 * (2 * model.n_steps + 3), watch)

    assert model.num_timesteps == watch.totals[-1] == 4 * (2 * model.n_steps + 3)
    assert model.rollout_buffer.buffer_size == 3
    assert not model.env.playing
    assert model._n_updates > 3


@pytest.mark.parametrize("variant", ["pqn"], indirect=True)
@pytest.mark.parametrize("at", [1, 2, 15, 16])
def test_an_interrupted_rollout_leaves_no_game_playing(model: Any, at: int) -> None:
    """Whether the callback ends the training or raises, in the first step of a rollout, in the middle, or in the last."""

    def fail(steps: int) -> bool:
        if steps == at:
            raise KeyboardInterrupt
        return True

    model.learn(1_000, Watch(lambda steps: steps < at))
    assert model.num_timesteps == 4 * at
    assert not model.env.playing
    model.env.snapshot()

    with pytest.raises(KeyboardInterrupt):
        model.learn(1_000, Watch(fail))
    assert model.num_timesteps == 4 * at
    assert not model.env.playing
    # It can begin again.
    model.learn(4 * 20)
    assert model.num_timesteps == 80


@pytest.mark.parametrize("variant", ["ppo"], indirect=True)
def test_halves_are_chosen_for_a_gpu_and_games_that_can(model: Any) -> None:
    halves, env = [slice(0, 2), slice(2, 4)], model.env
    assert model._parts(env) == halves
    model.in_halves = False
    assert model._parts(env) == [slice(0, 4)]
    model.in_halves = None
    assert model._parts(env) == [slice(0, 4)], "on a CPU"
    model.device = torch.device("cuda")
    assert model._parts(env) == [slice(0, 4)], "too few games"
    many = FastVecEnv(twin_config("ppo").environment, 64, seed=0)
    assert model._parts(many) == [slice(0, 32), slice(32, 64)]
    odd = FastVecEnv(twin_config("ppo").environment, 65, seed=0)
    assert model._parts(odd) == [slice(0, 65)]
    model.in_halves = True
    assert model._parts(toy_vec(4)) == [slice(0, 4)], "other games"
    assert build(toy_config("ppo"), toy_vec(), device="cpu").in_halves is None  # type: ignore[attr-defined]
