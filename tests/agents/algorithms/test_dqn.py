"""The parts of value learning follow their papers and learn; with every switch off, updates equal those of the libraries."""

from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN
from stable_baselines3 import DQN
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from toy_game import SHAPE, late_wins, toy_config, toy_vec

from agents import build, load_agent
from agents.algorithms.dqn import ValueLearning
from agents.algorithms.heads import DuelingHead
from configs import ConfigError

SWITCHES = [{"double": True}, {"dueling": True}, {"double": True, "dueling": True, "n_steps": 3}]


def samples(count: int, *, dones: bool = False) -> ReplayBufferSamples:
    generator = np.random.default_rng(0)
    observations = [torch.as_tensor(generator.integers(256, size=(count, *SHAPE), dtype=np.uint8)) for _ in range(2)]
    actions = torch.as_tensor(generator.integers(3, size=(count, 1)))
    rewards = torch.as_tensor(generator.normal(size=(count, 1)).astype(np.float32))
    return ReplayBufferSamples(observations[0], actions, observations[1], torch.full((count, 1), float(dones)), rewards)


def disagreeing(algorithm: str, **agent: Any) -> Any:
    """A model whose two networks prefer different actions."""
    model = build(toy_config(algorithm, agent={"gamma": 0.9, **agent}), toy_vec(), device="cpu")
    assert isinstance(model, ValueLearning)
    torch.manual_seed(9)
    for weights in model.q_net_target.parameters():
        weights.data = torch.randn_like(weights) * 0.1
    return model


def losses_and_errors(model: ValueLearning, batch: ReplayBufferSamples) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss and the error of each sample, both float32 (batch,)."""
    current, targets = model.compare(batch)
    losses = model.value.losses(current, targets)
    return losses, model.value.errors(current, targets, losses)


def test_double_dqn_evaluates_the_networks_choice_with_the_target_network() -> None:
    model, batch = disagreeing("dqn", double=True), samples(64)
    with torch.no_grad():
        own, others = model.q_net(batch.next_observations), model.q_net_target(batch.next_observations)
        assert (own.argmax(1) != others.argmax(1)).any()
        expected = torch.stack([others[row, own[row].argmax()] for row in range(64)])
        current = model.q_net(batch.observations)[torch.arange(64), batch.actions[:, 0]]
        losses, errors = losses_and_errors(model, batch)

    off = batch.rewards[:, 0] + 0.9 * expected - current
    torch.testing.assert_close(errors, off.abs())
    torch.testing.assert_close(losses, torch.where(off.abs() < 1, 0.5 * off**2, off.abs() - 0.5))


def test_double_qrdqn_evaluates_the_networks_choice_with_the_target_network() -> None:
    model, batch = disagreeing("qrdqn", double=True), samples(16)
    with torch.no_grad():
        own, others = model.q_net(batch.next_observations), model.q_net_target(batch.next_observations)
        assert (own.mean(1).argmax(1) != others.mean(1).argmax(1)).any()
        losses, _ = losses_and_errors(model, batch)
        current = model.q_net(batch.observations)

    for row in range(16):
        targets = batch.rewards[row] + 0.9 * others[row, :, own[row].mean(0).argmax()]
        loss = 0.0
        for index, quantile in enumerate(current[row, :, batch.actions[row, 0]].tolist()):
            for target in targets.tolist():
                off = target - quantile
                huber = 0.5 * off**2 if abs(off) < 1 else abs(off) - 0.5
                loss += abs((index + 0.5) / 8 - (off < 0)) * huber / 8
        assert float(losses[row]) == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("double", [False, True])
def test_terminal_transitions_do_not_bootstrap(double: bool) -> None:
    model, batch = disagreeing("dqn", double=double), samples(8, dones=True)

    with torch.no_grad():
        _, errors = losses_and_errors(model, batch)
        expected = (batch.rewards - model.q_net(batch.observations).gather(1, batch.actions)).abs()[:, 0]

    torch.testing.assert_close(errors, expected)


@pytest.mark.parametrize(("algorithm", "library"), [("dqn", DQN), ("qrdqn", QRDQN)])
@pytest.mark.parametrize("n_steps", [1, 3])
def test_with_every_switch_off_updates_equal_those_of_the_library_bit_for_bit(
    algorithm: str, library: type[DQN], n_steps: int
) -> None:
    """With the same network, replay buffer and optimiser, over a whole training with `n_steps` returns."""
    config = toy_config(algorithm, agent={"learning_rate": 1e-4, "gamma": 0.9, "n_steps": n_steps})
    trained = []
    for update in (ValueLearning.train, library.train):
        model: Any = build(config, toy_vec(), device="cpu")
        model.quantile_net, model.quantile_net_target, model.n_quantiles = model.q_net, model.q_net_target, 8
        model.train = MethodType(update, model)
        model.learn(264)
        assert model._n_updates > 40
        trained.append(model.policy.state_dict())

    assert all(torch.equal(weights, trained[1][name]) for name, weights in trained[0].items())


def test_a_dueling_head_adds_the_value_and_the_centred_advantages() -> None:
    torch.manual_seed(0)
    head, features = DuelingHead(7, actions=3), torch.randn(5, 7)
    advantages = head.advantages(features[:, 3:])

    expected = head.value(features[:, :3]) + advantages - advantages.mean(1, keepdim=True)

    torch.testing.assert_close(head(features), expected)
    # The mean over the actions is the value, which makes the two streams identifiable.
    torch.testing.assert_close(head(features).mean(1, keepdim=True), head.value(features[:, :3]))


def test_a_dueling_head_combines_each_quantile_separately() -> None:
    torch.manual_seed(0)
    head, features = DuelingHead(6, actions=3, quantiles=4), torch.randn(5, 6)

    quantiles = head(features).view(5, 4, 3)

    torch.testing.assert_close(quantiles.mean(2), head.value(features[:, :3]))
    advantages = head.advantages(features[:, 3:]).view(5, 4, 3)
    torch.testing.assert_close(quantiles[:, :, 0] - quantiles[:, :, 2], advantages[:, :, 0] - advantages[:, :, 2])


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
@pytest.mark.parametrize("switches", SWITCHES)
def test_the_switches_choose_the_network(algorithm: str, switches: dict[str, Any]) -> None:
    model = build(toy_config(algorithm, agent=switches), toy_vec(), device="cpu")
    heads = [module for module in model.policy.modules() if isinstance(module, DuelingHead)]

    assert isinstance(model, ValueLearning)
    assert model.double == switches.get("double", False)
    assert len(heads) == (2 if switches.get("dueling") else 0)
    optimised = {id(weights) for group in model.policy.optimizer.param_groups for weights in group["params"]}
    assert all(id(weights) in optimised for weights in (heads[0].parameters() if heads else ()))


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
@pytest.mark.parametrize("switches", SWITCHES)
def test_a_toy_game_is_learned_and_the_agent_saved(algorithm: str, switches: dict[str, Any], tmp_path: Path) -> None:
    config = toy_config(algorithm, agent=switches)
    wins = late_wins(config, tmp_path)
    agent = load_agent(tmp_path / "model")
    again = load_agent(tmp_path / "checkpoints" / "step-000001500")
    observations = toy_vec(8).reset()

    assert wins >= 17
    right_halves = np.asarray(observations)[:, -1, 0, -1] == 255
    assert (agent.act(np.asarray(observations)) == right_halves).all()
    assert (again.act(np.asarray(observations)) == right_halves).all()


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
def test_double_dueling_training_is_deterministic(algorithm: str) -> None:
    trained = []
    for _ in range(2):
        model = build(toy_config(algorithm, agent={"double": True, "dueling": True}), toy_vec(), device="cpu")
        model.set_logger(Logger(folder=None, output_formats=[]))
        model.learn(200)
        trained.append(model.policy.state_dict())

    assert all(torch.equal(weights, trained[1][name]) for name, weights in trained[0].items())


@pytest.mark.parametrize(("algorithm", "library"), [("dqn", DQN), ("qrdqn", QRDQN)])
def test_the_library_loads_the_saved_model(algorithm: str, library: type[DQN], tmp_path: Path) -> None:
    model = build(toy_config(algorithm, agent={"double": True, "network": {"features": "nature"}}), toy_vec(), device="cpu")
    model.save(tmp_path / "model.zip", exclude=["replay_buffer_class", "replay_buffer_kwargs"])

    loaded = library.load(tmp_path / "model.zip", device="cpu")

    assert all(torch.equal(weights, loaded.policy.state_dict()[name]) for name, weights in model.policy.state_dict().items())


def test_each_stream_needs_at_least_one_unit() -> None:
    with pytest.raises(ConfigError, match=r"dueling: the two streams divide network\.features_dim units"):
        toy_config("dqn", agent={"dueling": True, "network": {"features_dim": 1}})
