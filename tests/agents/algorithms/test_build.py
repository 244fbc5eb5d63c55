"""Hyperparameters reach the library, and observations reach the network scaled once."""

import logging
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn
from toy_game import SHAPE, BrightSide, toy_config, toy_vec

from agents import DeviceError, build, memory_needs, resolve_device
from agents.algorithms import build_policy, networks
from agents.algorithms.schedules import Linear, schedule
from agents.extractors import SmallCNN
from agents.replay import FrameReplayBuffer
from agents.training.thread_choice import measure_update
from configs import ConfigError
from configs.agent import LinearSchedule
from mario_env.observations import OBSERVATIONS

REPLAY_VALUES = {
    "gamma": 0.37,
    "buffer_size": 640,
    "learning_starts": 17,
    "batch_size": 13,
    "tau": 0.5,
    "gradient_steps": 3,
    "target_update_interval": 123,
    "exploration_fraction": 0.25,
    "exploration_initial_eps": 0.9,
    "exploration_final_eps": 0.07,
    "max_grad_norm": 3.5,
}
PPO_VALUES = {
    "gamma": 0.37,
    "n_steps": 24,
    "batch_size": 12,
    "n_epochs": 2,
    "gae_lambda": 0.8,
    "normalize_advantage": False,
    "ent_coef": 0.02,
    "vf_coef": 0.6,
    "max_grad_norm": 0.7,
    "target_kl": 0.16,
}


@pytest.mark.parametrize(("algorithm", "values"), [("dqn", REPLAY_VALUES), ("qrdqn", REPLAY_VALUES), ("ppo", PPO_VALUES)])
def test_every_hyperparameter_reaches_the_library_under_its_name(algorithm: str, values: dict[str, float]) -> None:
    model = build(toy_config(algorithm, agent=values), toy_vec(), device="cpu")

    assert {name: getattr(model, name) for name in values} == values


def test_train_freq_counts_steps_of_all_environments_together() -> None:
    model = build(toy_config("dqn", agent={"train_freq": 4, "learning_starts": 0}), toy_vec(n_envs=2), device="cpu")

    model.learn(80)

    # 80 decisions of 2 environments are 40 steps, and an update follows every fourth of them.
    assert model._n_updates == 40 // 4


def test_quantiles_and_their_optimiser_are_the_same_with_and_without_an_environment() -> None:
    config = toy_config("qrdqn", agent={"n_quantiles": 11, "batch_size": 20})
    env = toy_vec()
    trained = build(config, env, device="cpu").policy
    alone = build_policy(config, env.observation_space, 3)  # type: ignore[arg-type]

    assert trained.n_quantiles == alone.n_quantiles == 11
    assert trained.optimizer.defaults["eps"] == alone.optimizer.defaults["eps"] == 0.01 / 20
    assert trained.optimizer.defaults["fused"] is alone.optimizer.defaults["fused"] is True
    assert {name: tuple(value.shape) for name, value in trained.state_dict().items()} == {
        name: tuple(value.shape) for name, value in alone.state_dict().items()
    }


@pytest.mark.parametrize(("algorithm", "library"), [("dqn", DQN), ("ppo", PPO)])
def test_adams_epsilon_is_that_of_the_library(algorithm: str, library: type[DQN] | type[PPO]) -> None:
    ours = build(toy_config(algorithm), toy_vec(), device="cpu").policy.optimizer
    theirs = library("CnnPolicy", toy_vec(), device="cpu", **({"buffer_size": 10} if library is DQN else {})).policy.optimizer

    assert type(ours) is type(theirs)
    assert {**ours.defaults, "lr": 0, "fused": None} == {**theirs.defaults, "lr": 0}


def test_linear_schedules_span_the_whole_training() -> None:
    rate = {"start": 1e-3, "end": 1e-4}
    model = build(toy_config("ppo", agent={"learning_rate": rate, "clip_range": {"start": 0.2, "end": 0.1}}), toy_vec())

    assert isinstance(model, PPO)
    assert [model.lr_schedule(remaining) for remaining in (1.0, 0.5, 0.0)] == pytest.approx([1e-3, 5.5e-4, 1e-4])
    assert model.clip_range(0.5) == pytest.approx(0.15)  # type: ignore[operator]


def test_the_weight_of_entropy_follows_its_schedule() -> None:
    config = toy_config("ppo", agent={"ent_coef": {"start": 0.08, "end": 0.0}, "n_steps": 16, "batch_size": 16})
    model = build(config, toy_vec(n_envs=1), device="cpu")
    assert isinstance(model, PPO)
    weights = [model.ent_coef]

    def note_changes(*_: object) -> bool:
        if model.ent_coef != weights[-1]:
            weights.append(model.ent_coef)
        return True

    model.learn(64, callback=note_changes)

    assert [*weights, model.ent_coef] == pytest.approx([0.08, 0.06, 0.04, 0.02, 0.0])


def test_a_linear_schedule_can_be_pickled_and_stays_between_its_ends() -> None:
    falling = schedule(LinearSchedule(start=1.0, end=0.25))

    assert isinstance(falling, Linear)
    assert pickle.loads(pickle.dumps(falling)) == falling
    assert falling(-0.3) == 0.25
    assert falling(1.5) == 1.0
    assert schedule(0.5) == 0.5


@pytest.mark.parametrize(("features", "expected"), [("nature", NatureCNN), ("small", SmallCNN)])
@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn", "ppo"])
def test_the_configured_network_is_built(algorithm: str, features: str, expected: type[nn.Module]) -> None:
    config = toy_config(algorithm, agent={"network": {"features": features, "features_dim": 48}})
    extractors = [module for module in build(config, toy_vec(), device="cpu").policy.modules() if isinstance(module, expected)]

    assert extractors
    assert all(extractor.features_dim == 48 for extractor in extractors)


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn", "ppo"])
def test_the_first_layer_sees_values_from_0_to_1(algorithm: str) -> None:
    model = build(toy_config(algorithm), toy_vec(), device="cpu")
    seen: list[torch.Tensor] = []
    first = next(module for module in model.policy.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    observation = np.zeros((1, 4, 36, 36), np.uint8)
    observation[0, :, 0, 0] = 255

    model.predict(observation, deterministic=True)

    assert seen[0].dtype == torch.float32
    assert (float(seen[0].min()), float(seen[0].max())) == (0.0, 1.0)


def test_the_same_seed_builds_the_same_network() -> None:
    first, second = (build(toy_config("dqn"), toy_vec(), device="cpu").policy.state_dict() for _ in range(2))

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_warnings_of_the_library_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        build(toy_config("ppo", agent={"n_steps": 50, "batch_size": 32}), toy_vec(), device="cpu")

    assert "mini-batch size of 32" in caplog.text


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
@pytest.mark.parametrize("n_steps", [1, 3])
def test_the_replay_buffer_stores_frames_once_and_computes_n_step_returns(
    algorithm: str, n_steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    config = toy_config(algorithm, agent={"n_steps": n_steps, "gamma": 0.7, "learning_starts": 40})
    with caplog.at_level(logging.WARNING):
        model = build(config, toy_vec(), device="cpu")
    buffer = model.replay_buffer  # type: ignore[attr-defined]
    assert isinstance(buffer, FrameReplayBuffer)
    assert (buffer.n_steps, buffer.gamma) == (n_steps, 0.7)
    assert not caplog.text

    model.learn(200)

    assert model._n_updates == (200 - 40) // 4
    discounts = buffer.sample(500).discounts
    assert (discounts is None) == (n_steps == 1)
    if discounts is not None:
        # Episodes have eight steps; at some ends fewer rewards are summed.
        assert {round(float(value), 3) for value in discounts} == {0.7, 0.49, 0.343}


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn", "ppo"])
def test_on_a_cpu_convolutions_get_channels_last_inputs(algorithm: str) -> None:
    model = build(toy_config(algorithm), toy_vec(), device="cpu")
    model.learn(128)
    inputs: list[torch.Tensor] = []
    for module in model.policy.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 4:
            module.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))

    if isinstance(model, PPO):
        model.train()
    else:
        model.train(gradient_steps=1, batch_size=64)  # type: ignore[attr-defined]

    # The target network and the network, or four epochs of two batches.
    assert len(inputs) == (8 if algorithm == "ppo" else 2)
    assert all(given.is_contiguous(memory_format=torch.channels_last) for given in inputs)
    assert all(given.shape == (64, 4, 36, 36) and given.dtype == torch.float32 for given in inputs)


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn", "ppo"])
def test_updates_equal_those_of_the_library_except_for_rounding(algorithm: str) -> None:
    """Layout and optimiser differ from the library's; results must not, with its own replay buffer and Adam."""
    config = toy_config(algorithm, agent={"learning_rate": 1e-4, "gamma": 0.9})
    models = []
    for ours in (True, False):
        model = build(config, toy_vec(), device="cpu")
        if not ours:
            for group in model.policy.optimizer.param_groups:
                group["fused"] = None
            if hasattr(model, "replay_buffer"):
                model.replay_buffer = ReplayBuffer(1_000, model.observation_space, model.action_space, "cpu", 2)
            if hasattr(model, "rollout_buffer"):
                model.rollout_buffer_class = RolloutBuffer
                model.rollout_buffer = RolloutBuffer(
                    model.n_steps, model.observation_space, model.action_space, "cpu", model.gae_lambda, model.gamma, 2
                )
        model.learn(264)
        assert model._n_updates > 5
        models.append(model.policy.state_dict())

    for name, weights in models[0].items():
        torch.testing.assert_close(weights, models[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("n_envs", [1, 3])
def test_memory_needs_equal_the_size_of_the_replay_buffer(n_envs: int) -> None:
    config = toy_config("dqn", agent={"buffer_size": 100}, n_envs=n_envs)
    model = build(config, toy_vec(n_envs), device="cpu")
    assert isinstance(model, DQN)
    assert isinstance(model.replay_buffer, FrameReplayBuffer)

    assert memory_needs(config, BrightSide.observation_space).replay == model.replay_buffer.nbytes
    assert memory_needs(toy_config("ppo"), BrightSide.observation_space).replay == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_a_clear_error() -> None:
    assert resolve_device("auto") == "cpu"
    with pytest.raises(DeviceError, match="torch sees no GPU"):
        build(toy_config("dqn"), DummyVecEnv([BrightSide]), device="cuda")


def test_every_observation_has_a_network() -> None:
    assert set(networks.EXTRACTORS) == set(OBSERVATIONS)
    assert all(networks.EXTRACTORS.values())


def test_a_network_that_does_not_fit_the_observation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks.EXTRACTORS, "frames", {"small": SmallCNN})
    config = toy_config("dqn", agent={"network": {"features": "nature", "features_dim": 64}})
    with pytest.raises(ConfigError, match=r"is nature, which does not fit .* frames: choose one of small$"):
        build_policy(config, BrightSide.observation_space, 3)


class Side(BrightSide):
    """The same game with one number for each half of the newest frame as its observation."""

    observation_space = gym.spaces.Box(0, 1, (2,), np.float32)

    def _observe(self) -> NDArray[Any]:
        return (super()._observe()[-1].reshape(SHAPE[1], 2, -1).mean(axis=(0, 2)) / 255).astype(np.float32)


class TwoNumbers(BaseFeaturesExtractor):
    """A linear layer over the two numbers."""

    def __init__(self, observation_space: gym.Space[Any], features_dim: int) -> None:
        super().__init__(observation_space, features_dim)
        self.layer = nn.Linear(2, features_dim)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer(observations)
        return features


def test_ppo_learns_from_observations_that_are_not_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks.EXTRACTORS, "frames", {"small": TwoNumbers})
    config = toy_config("ppo")
    seconds = measure_update(config, Side.observation_space, 3, [1, 2], budget=0.0)
    model = build(config, DummyVecEnv([Side, Side]), device="cpu")
    model.learn(2_000)

    assert all(value > 0 for value in seconds.values())
    sides = np.eye(2, dtype=np.float32)
    assert model.predict(sides, deterministic=True)[0].tolist() == [0, 1]


def test_a_rollout_takes_the_memory_that_was_estimated() -> None:
    config = toy_config("ppo", agent={"n_steps": 256, "batch_size": 64, "n_epochs": 1}, n_envs=4, total_steps=1_024)
    env = toy_vec(n_envs=4)
    space = env.observation_space
    assert isinstance(space, gym.spaces.Box)
    model: Any = build(config, env, device="cpu")
    model.learn(1_024)
    arrays = [array for array in vars(model.rollout_buffer).values() if isinstance(array, np.ndarray)]

    taken = model.rollout_buffer._pool.nbytes + sum(array.nbytes for array in arrays)
    assert 0.9 < taken / memory_needs(config, space).rollout < 1.1
    # Observations that are not stacks are in memory twice.
    assert memory_needs(config, gym.spaces.Box(0, 1, (10,), np.float32)).rollout == 1_024 * (2 * 40 + 32)
    assert memory_needs(toy_config("dqn"), space).rollout == 0
