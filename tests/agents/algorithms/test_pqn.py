"""PQN computes the returns and the updates of its paper, compared with plain loops; averaged weights are those that play."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger
from toy_game import late_wins, toy_config, toy_vec

from agents import build, load_agent, train
from agents.algorithms.heads import DuelingHead
from agents.algorithms.pqn import PQN, rectification
from agents.policies.models import playing_policy, save_model
from configs import ConfigError
from configs.agent import PQNConfig

GAMMA, LAMBDA = 0.8, 0.6


class Steps:
    """Environments of stable-baselines3 that remember what was asked of them and what came out."""

    def __init__(self, model: PQN) -> None:
        assert model.env is not None
        self.rows: list[tuple[Any, ...]] = []
        self._model, self._step = model, model.env.step
        model.env.step = self  # type: ignore[assignment]

    def __call__(self, actions: Any) -> Any:
        before = self._model._last_obs.copy()  # type: ignore[union-attr]
        result = self._step(actions)
        self.rows.append((before, actions, *(np.copy(each) for each in result[:3])))
        return result


def model_of(**agent: Any) -> PQN:
    settings = {"gamma": GAMMA, "q_lambda": LAMBDA, "n_steps": 12, "batch_size": 8, "exploration_final_eps": 0.5, **agent}
    model = build(toy_config("pqn", agent=settings), toy_vec(length=5), device="cpu")
    assert isinstance(model, PQN)
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def values_of(model: PQN, observations: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.policy.q_values(torch.as_tensor(observations))


def collect(model: PQN) -> list[tuple[Any, ...]]:
    _, callback = model._setup_learn(1_000)
    steps = Steps(model)
    assert model.env is not None
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    return steps.rows


def test_the_targets_are_the_returns_of_peng_and_williams() -> None:
    """R_t = r_t + gamma ((1 - lambda) max Q(s_t+1) + lambda R_t+1); at an episode's end only r_t (section 4)."""
    model = model_of()
    rows = collect(model)
    expected = np.zeros((12, 2))
    for game in range(2):
        following = 0.0
        for step in reversed(range(12)):
            _, _, observations, rewards, dones = rows[step]
            highest = float(values_of(model, observations[game : game + 1]).max())
            after = highest if step == 11 else (1 - LAMBDA) * highest + LAMBDA * following
            following = rewards[game] + (0.0 if dones[game] else GAMMA * after)
            expected[step, game] = following

    np.testing.assert_allclose(model.rollout_buffer.returns, expected, rtol=1e-5)
    assert sum(int(row[4].sum()) for row in rows) >= 4, "no episode ended, so their ends were not tested"


def test_a_truncated_episode_goes_on_from_the_value_of_its_last_observation() -> None:
    model = model_of(q_lambda=0.0)
    assert model.env is not None
    _, callback = model._setup_learn(1_000)
    step, last = model.env.step, []

    def truncating(actions: Any) -> Any:
        observations, rewards, dones, infos = step(actions)
        for info, done in zip(infos, dones, strict=True):
            info["TimeLimit.truncated"] = bool(done)
        last.append((rewards.copy(), dones, infos))
        return observations, rewards, dones, infos

    model.env.step = truncating  # type: ignore[method-assign]
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)

    rewards, dones, infos = last[4]  # episodes have five decisions
    assert dones.all()
    for game in range(2):
        highest = float(values_of(model, infos[game]["terminal_observation"][None]).max())
        assert model.rollout_buffer.returns[4, game] == pytest.approx(rewards[game] + GAMMA * highest, rel=1e-5)


def test_munchausen_rewards_and_soft_values_enter_the_returns() -> None:
    """R_t = r_t + alpha max(tau log pi(a_t), l_0) + gamma ((1 - lambda) V(s_t+1) + lambda R_t+1), V the soft maximum of Q."""
    alpha, tau, floor = 0.7, 0.5, -0.55
    model = model_of(munchausen={"alpha": alpha, "temperature": tau, "floor": floor})
    rows = collect(model)
    expected, clipped = np.zeros((12, 2)), 0
    for game in range(2):
        following = 0.0
        for step in reversed(range(12)):
            before, actions, observations, rewards, dones = rows[step]
            soft = tau * float((values_of(model, observations[game : game + 1]) / tau).exp().sum().log())
            chances = (values_of(model, before[game : game + 1])[0] / tau).softmax(0)
            scaled = tau * float(chances[actions[game]].log())
            clipped += scaled < floor
            after = soft if step == 11 else (1 - LAMBDA) * soft + LAMBDA * following
            following = rewards[game] + alpha * max(scaled, floor) + (0.0 if dones[game] else GAMMA * after)
            expected[step, game] = following

    np.testing.assert_allclose(model.rollout_buffer.returns, expected, rtol=1e-4)
    assert 0 < clipped < 24


def test_an_update_is_that_of_a_plain_loop() -> None:
    """Half the mean squared error of the taken actions' values, Adam at a rectified rate, the norm of the gradient clipped."""
    model, twin = model_of(n_epochs=8, max_grad_norm=0.05), model_of(n_epochs=8, max_grad_norm=0.05)
    collect(model)
    batches = []
    get = model.rollout_buffer.get

    def remembering(size: int | None) -> Any:
        for batch in get(size):
            batches.append(batch)
            yield batch

    model.rollout_buffer.get = remembering  # type: ignore[method-assign]
    model.train()

    parameters = list(twin.policy.parameters())
    optimiser, clipped = torch.optim.Adam(parameters, foreach=False), 0
    for number, batch in enumerate(batches):
        optimiser.param_groups[0]["lr"] = 1e-3 * rectification(number + 1, 0.999)
        values = twin.policy.q_values(batch.observations)
        loss = torch.zeros(())
        for row, target in enumerate(batch.returns):
            loss = loss + 0.5 * (values[row, int(batch.actions[row])] - target) ** 2 / len(batch.returns)
        gradients = torch.autograd.grad(loss, parameters)
        norm = float(torch.sqrt(torch.stack([(each**2).sum() for each in gradients]).sum()))
        clipped += norm > 0.05
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient * min(1.0, 0.05 / norm)
        optimiser.step()
    assert len(batches) == 24
    assert clipped
    assert not torch.equal(values, twin.policy.q_values(batch.observations)), "the last update has changed nothing"
    for name, weights in model.policy.state_dict().items():
        torch.testing.assert_close(weights, twin.policy.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_adam_with_the_rectification_takes_radams_steps() -> None:
    """With gradients of 1 both moments are 1, so that a step of RAdam is the learning rate times the rectification."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.RAdam([weight], lr=1.0, eps=0.0)
    for step in range(1, 3001):
        before = weight.item()
        weight.grad = torch.ones_like(weight)
        optimiser.step()
        expected = 0.0 if step <= 5 else before - weight.item()
        assert rectification(step, 0.999) == pytest.approx(expected, rel=1e-6)


def test_actions_are_random_with_the_probability_of_the_schedule() -> None:
    model = model_of(n_steps=400, exploration_initial_eps=0.5)
    rows = collect(model)
    best = np.stack([values_of(model, row[0]).argmax(1).numpy() for row in rows])
    differing = float((best != np.stack([row[1] for row in rows])).mean())

    # Two of three random actions differ from the best one; four standard deviations of 800 draws are 0.07.
    assert differing == pytest.approx(0.5 * 2 / 3, abs=0.07)
    assert model.exploration_rates() == [0.5, 0.5]
    observations = rows[0][0]
    assert (model.policy.predict(observations)[0] == values_of(model, observations).argmax(1).numpy()).all()


@pytest.mark.parametrize(
    "switches",
    [
        {"dueling": True},
        {"munchausen": {}},
        {"exploration_highest_eps": 0.3, "exploration_zeta": 2.0},
        {"average_decay": 0.9},
    ],
)
def test_a_toy_game_is_learned_with_each_switch(switches: dict[str, Any], tmp_path: Path) -> None:
    # Games that explore lose: their episodes are not what is tested here.
    floor = 8 if "exploration_highest_eps" in switches else 17
    assert late_wins(toy_config("pqn", agent=switches), tmp_path) >= floor


def test_layer_normalisation_stands_before_each_relu() -> None:
    model = model_of(network={"features": "small", "features_dim": 32, "layer_norm": True}, dueling=True)
    kinds = [type(module).__name__ for module in model.policy.modules()]

    assert kinds.count("GroupNorm") == 2
    assert kinds.count("LayerNorm") == 1
    assert all(kinds[index - 1].endswith("Norm") for index, kind in enumerate(kinds) if kind == "ReLU")
    assert isinstance(model.policy.head, DuelingHead)


def test_layer_normalisation_is_refused_where_the_network_has_none() -> None:
    with pytest.raises(ConfigError, match="layer_norm"):
        toy_config("pqn", agent={"network": {"features": "nature", "layer_norm": True}})


# The average of the weights


@pytest.mark.parametrize("algorithm", ["pqn", "ppo", "dqn"])
def test_the_averaged_policy_plays_and_is_saved(algorithm: str, tmp_path: Path) -> None:
    config = toy_config(algorithm, agent={"average_decay": 0.9})
    model = build(config, toy_vec(), device="cpu")
    followed: list[dict[str, torch.Tensor]] = []
    model.policy.optimizer.register_step_post_hook(
        lambda *_: followed.append({name: each.clone() for name, each in model.policy.state_dict().items()})
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(400)

    expected = followed[0]
    for weights in followed[1:]:
        expected = {name: 0.9 * each + 0.1 * weights[name] for name, each in expected.items()}
    average = playing_policy(model)
    assert average is not model.policy
    save_model(tmp_path, config, model)
    saved = load_agent(tmp_path / "model").model.state_dict()
    assert len(followed) > 10
    trained = [name for name in expected if "target" not in name]
    for name in trained:
        torch.testing.assert_close(average.state_dict()[name], expected[name], rtol=1e-4, atol=1e-6)
        assert torch.equal(saved[name], average.state_dict()[name])
    assert any(not torch.equal(saved[name], model.policy.state_dict()[name]) for name in trained)


def test_weights_do_not_depend_on_whether_they_are_averaged(tmp_path: Path) -> None:
    found = []
    for name, agent in (("plain", {}), ("averaged", {"average_decay": 0.99})):
        config = toy_config("pqn", agent=agent)
        train(config, env=toy_vec(), directory=tmp_path / name, on_episode=lambda _: None, total_steps=200, device="cpu")
        model = build(config, toy_vec(), device="cpu")
        model.set_parameters(str(tmp_path / name / "model" / "model.zip"))
        found.append(model.policy.state_dict())

    assert all(torch.equal(weights, found[1][name]) for name, weights in found[0].items())


def test_the_preset_is_of_this_algorithm() -> None:
    from configs import load

    config = load("pqn")
    assert isinstance(config.agent, PQNConfig)
    assert config.agent.network.layer_norm
