"""Noisy networks sample their weights as in the paper, learn without epsilon, and play with their means."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_game import late_wins, toy_config, toy_vec

from agents import build, load_agent
from agents.algorithms.heads import NoisyLinear, set_noise, without_noise

SILENT = {"exploration_initial_eps": 0.0, "exploration_final_eps": 0.0}


def layers(module: torch.nn.Module) -> list[NoisyLinear]:
    return [each for each in module.modules() if isinstance(each, NoisyLinear)]


def test_a_layer_is_initialised_as_in_the_paper() -> None:
    torch.manual_seed(0)
    layer = NoisyLinear(100, 300)
    bound = 0.1
    assert layer.weight.abs().max() <= bound
    assert float(layer.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert (layer.weight_sigma == 0.5 * bound).all()
    assert (layer.bias_sigma == 0.5 * bound).all()


def test_noise_is_sampled_once_per_pass_around_the_means() -> None:
    torch.manual_seed(0)
    layer, features = NoisyLinear(12, 5), torch.randn(3, 12)
    quiet = layer(features)
    assert torch.equal(quiet, torch.nn.functional.linear(features, layer.weight, layer.bias))

    set_noise(layer, True)
    torch.manual_seed(1)
    noisy = layer(features)
    # The same computation as written in the paper.
    torch.manual_seed(1)
    of_inputs, of_outputs = (noise.sign() * noise.abs().sqrt() for noise in (torch.randn(12), torch.randn(5)))
    weight = layer.weight + layer.weight_sigma * torch.outer(of_outputs, of_inputs)
    torch.testing.assert_close(noisy, torch.nn.functional.linear(features, weight, layer.bias + layer.bias_sigma * of_outputs))

    drawn = torch.stack([layer(features) for _ in range(20_000)])
    # E[sign(x) |x|^0.5] is 0 and E[|x|] is 0.798. The latter is the variance of each factor; a weight has their product.
    torch.testing.assert_close(drawn.mean(0), quiet, rtol=0, atol=0.02)
    factor = (2 / torch.pi) ** 0.5
    variance = (factor * (features**2 @ (layer.weight_sigma**2).T) + layer.bias_sigma**2) * factor
    torch.testing.assert_close(drawn.var(0), variance, rtol=0.06, atol=1e-4)


def test_both_factors_get_gradients() -> None:
    layer = NoisyLinear(4, 2)
    set_noise(layer, True)
    layer(torch.ones(3, 4)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
@pytest.mark.parametrize("dueling", [False, True])
def test_all_layers_behind_the_convolutions_are_noisy_only_in_training(algorithm: str, dueling: bool) -> None:
    config = toy_config(algorithm, agent={"noisy": True, "dueling": dueling})
    model: Any = build(config, toy_vec(), device="cpu")
    found = layers(model.policy)
    # One layer in the extractor and one, or two streams, in the head; in the network and in the target network.
    assert len(found) == (6 if dueling else 4)
    assert not [each for each in model.policy.modules() if type(each) is torch.nn.Linear]
    assert all(each.noisy for each in found)
    with without_noise(model.policy):
        assert not any(each.noisy for each in found)
    assert all(each.noisy for each in found)
    observations = toy_vec(1).reset()
    values = model.q_net
    given = torch.as_tensor(np.asarray(observations))
    assert not torch.equal(values(given), values(given))
    optimised = {id(weights) for group in model.policy.optimizer.param_groups for weights in group["params"]}
    online = layers(values)
    assert all(id(weights) in optimised for each in online for weights in each.parameters())


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
def test_a_game_is_learned_without_epsilon_and_played_with_the_means(algorithm: str, tmp_path: Path) -> None:
    config = toy_config(algorithm, agent={"noisy": True, "double": True, **SILENT})
    assert late_wins(config, tmp_path) >= 17

    agent = load_agent(tmp_path / "model")
    assert layers(agent.model)
    assert not any(each.noisy for each in layers(agent.model))
    observations = np.asarray(toy_vec(8).reset())
    assert (agent.act(observations) == (observations[:, -1, 0, -1] == 255)).all()
    assert (agent.act(observations) == agent.act(observations)).all()


def test_noise_explores_if_epsilon_is_0() -> None:
    silent = toy_config("dqn", agent={"double": True, "learning_starts": 0, **SILENT})
    model: Any = build(silent, toy_vec(), device="cpu")
    observations = toy_vec(1).reset()
    alone = {int(model.policy.predict(observations, deterministic=True)[0][0]) for _ in range(60)}
    noisy: Any = build(toy_config("dqn", agent={"noisy": True, "double": True, **SILENT}), toy_vec(), device="cpu")
    tried = {int(noisy.policy.predict(observations, deterministic=True)[0][0]) for _ in range(60)}
    assert len(alone) == 1
    assert len(tried) > 1
