"""All random number generators of trainings, of any seed, produce different numbers."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from toy_game import AGENTS

from agents import build
from configs import Config, from_dict
from configs.schema import EnvironmentConfig
from mario_env import make, make_vec
from tasks.integration import short_run

N_ENVS = 3
SEEDS = range(6)


def config_of(algorithm: str, seed: int) -> Config:
    values = {"name": "seeds", "seed": seed, "environment": {"noop_frames": 12}, "agent": AGENTS[algorithm]}
    return from_dict({**values, "train": {"n_envs": N_ENVS}}, source="test")


def first_bits() -> tuple[list[int], list[int]]:
    """31 bits of each of the first words of NumPy's and of torch's global generator."""
    numpy = np.random.randint(0, 2**32, size=8, dtype=np.uint32) & 0x7FFFFFFF
    return numpy.tolist(), torch.empty(8, dtype=torch.int32).random_().tolist()


def streams(model: BaseAlgorithm, env: Any) -> list[Any]:
    """The next random numbers of each generator."""
    generators = [model.action_space.np_random, *env.get_attr("np_random")]
    generators += [space.np_random for space in env.get_attr("action_space")]
    generators += [model.explorer._coins] if hasattr(model, "explorer") else []
    return [*first_bits(), *(generator.bit_generator.random_raw(4).tolist() for generator in generators)]


@pytest.mark.parametrize("algorithm", AGENTS)
def test_no_two_generators_of_trainings_coincide(algorithm: str) -> None:
    seen = []
    for seed in SEEDS:
        config = config_of(algorithm, seed)
        for each in (config, short_run(config)):
            env = make_vec(each.environment, N_ENVS, seed=each.seed)
            model = build(each, env, device="cpu")
            env.reset()
            seen += streams(model, env)
            env.close()
    assert len(seen) == 2 * len(SEEDS) * (2 + 1 + 2 * N_ENVS + hasattr(model, "explorer"))
    assert len({tuple(stream) for stream in seen}) == len(seen)


def test_stable_baselines3_seeds_numpy_and_torch_with_the_same_numbers() -> None:
    """The reason why `set_random_seed` is overridden."""
    from stable_baselines3.common.utils import set_random_seed

    set_random_seed(3)
    numpy, by_torch = first_bits()
    assert numpy == by_torch


def test_one_seed_gives_one_network_and_another_seed_another() -> None:
    def weights(seed: int) -> torch.Tensor:
        config = config_of("dqn", seed)
        env = make_vec(config.environment, 1, seed=seed)
        model = build(config, env, device="cpu")
        env.close()
        return torch.nn.utils.parameters_to_vector(model.policy.parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_sampled_actions_are_independent_of_the_environments_random_numbers() -> None:
    env = make(EnvironmentConfig(noop_frames=30), seed=4)
    assert env.unwrapped.np_random.bit_generator.state != env.action_space.np_random.bit_generator.state
