"""On a GPU, samples and updates equal those on a CPU, and a training learns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger
from toy_game import AGENTS, late_wins, toy_config, toy_vec
from twins import twin_config

from agents import build, load_agent
from agents.rollouts import DeviceRolloutBuffer
from mario_env import make_training_vec

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SWITCHES: list[dict[str, Any]] = [{}, {"double": True, "dueling": True, "n_steps": 3}, {"prioritised": {}}]


def filled(device: str, algorithm: str = "dqn", **agent: Any) -> Any:
    """A model that has filled its replay buffer, reproducibly, and has not learned yet."""
    config = toy_config(algorithm, agent={"learning_starts": 10_000, "gamma": 0.9, **agent})
    model: Any = build(config, toy_vec(), device=device)
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(300, log_interval=None)
    return model


@pytest.mark.parametrize("agent", SWITCHES)
def test_samples_equal_those_on_a_cpu(agent: dict[str, Any]) -> None:
    sampled = []
    for device in ("cpu", "cuda"):
        buffer = filled(device, **agent).replay_buffer
        np.random.seed(1)
        sampled.append(buffer.sample(64))

    for name, one, other in zip(sampled[0]._fields, *sampled, strict=True):
        assert (one is None) == (other is None), name
        if one is not None:
            assert other.device.type == "cuda", name
            assert torch.equal(one, other.cpu()), name


@pytest.mark.parametrize("algorithm", ["ppo", "pqn"])
def test_samples_of_a_rollout_equal_those_of_its_observations(algorithm: str) -> None:
    """The policy draws otherwise than on a CPU, so the observations are those that the games gave."""
    model: Any = build(toy_config(algorithm), toy_vec(), device="cuda")
    assert type(model.rollout_buffer) is DeviceRolloutBuffer
    _, callback = model._setup_learn(1_000)
    add, given = model.rollout_buffer.add, []

    def remembering(observations: Any, *arguments: Any) -> None:
        given.append(observations.copy())
        add(observations, *arguments)

    model.rollout_buffer.add = remembering
    for _ in range(2):
        given.clear()
        model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
        np.random.seed(1)
        (sample,) = model.rollout_buffer.get(None)
        np.random.seed(1)
        order = np.random.permutation(model.n_steps * model.n_envs)

        assert sample.observations.device.type == "cuda"
        expected = np.array(given).swapaxes(0, 1).reshape(-1, *given[0].shape[1:])[order]
        assert torch.equal(sample.observations.cpu(), torch.as_tensor(expected))


@pytest.mark.parametrize("variant", ["ppo", "pqn, every switch", "ppo, tiles"])
def test_a_training_in_halves_ends_at_its_total(variant: str) -> None:
    """The observations that halves act on are those that the games gave."""
    config = twin_config(variant, n_envs=64)
    env = make_training_vec(config)
    model: Any = build(config, env, device="cuda")
    assert len(model._parts(env)) == 2
    decide, checked = model.decide, []

    def checking(observations: torch.Tensor, games: slice, episode_starts: Any) -> Any:
        # Nothing is sent to these games before they are decided for.
        given = env.games.fleet.observations[games]  # type: ignore[attr-defined]
        checked.append(torch.equal(observations.cpu(), torch.as_tensor(given)))
        return decide(observations, games, episode_starts)

    model.decide = checking
    total = 64 * (2 * model.n_steps + 3)
    model.learn(total)
    env.close()

    assert model.num_timesteps == total
    assert model._n_updates > 3
    assert checked == [True] * (2 * total // 64)
    assert all(bool(weights.isfinite().all()) for weights in model.policy.state_dict().values())


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
@pytest.mark.parametrize("agent", SWITCHES)
def test_an_update_equals_that_on_a_cpu_except_for_rounding(algorithm: str, agent: dict[str, Any]) -> None:
    models = [filled(device, algorithm, learning_rate=1e-4, **agent) for device in ("cpu", "cuda")]
    models[1].policy.load_state_dict(models[0].policy.state_dict())
    for model in models:
        np.random.seed(2)
        model.train(gradient_steps=1, batch_size=64)

    losses = [model.logger.name_to_value["train/loss"] for model in models]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    for name, weights in models[0].policy.state_dict().items():
        # Adam's first step is almost the sign of the gradient, which rounding can flip near 0.
        close = torch.isclose(weights, models[1].policy.state_dict()[name].cpu(), rtol=1e-3, atol=1e-5)
        assert float(close.float().mean()) > 0.99, name


@pytest.mark.parametrize("algorithm", AGENTS)
def test_a_toy_game_is_learned_and_the_model_played_on_a_cpu(algorithm: str, tmp_path: Path) -> None:
    wins = late_wins(toy_config(algorithm), tmp_path, device="cuda")
    observations = np.asarray(toy_vec(8).reset())

    assert wins >= 17
    actions = load_agent(tmp_path / "model", device="cpu").act(observations)
    assert (actions == (observations[:, -1, 0, -1] == 255)).all()
