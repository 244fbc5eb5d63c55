"""The networks give the values and gradients of stable-baselines3's, whatever the batch, from pictures that stay bytes."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common import torch_layers
from stable_baselines3.common.policies import BaseModel
from toy_game import SHAPE, toy_config, toy_vec

from agents import build
from agents.algorithms.heads import NoisyLinear
from agents.extractors import NatureCNN, PictureNetwork, SmallCNN
from agents.extractors import pictures as pictures_module
from mario_env.observations import Frames

SPACE = Frames().space
NETWORKS = [NatureCNN, SmallCNN]


def pictures(count: int) -> torch.Tensor:
    numbers = np.random.default_rng(0).integers(256, size=(count, *SPACE.shape), dtype=np.uint8)
    return torch.as_tensor(numbers).contiguous(memory_format=torch.channels_last)


def plain(network: PictureNetwork, observations: torch.Tensor) -> torch.Tensor:
    """The features as stable-baselines3 computes them, scaling included."""
    features: torch.Tensor = network.linear(network.layers()(observations.float() / 255.0))
    return features


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("count", [1, 16, 63])
def test_playing_gives_the_same_bits(kind: type[PictureNetwork], count: int) -> None:
    """So a model that was trained earlier plays as before."""
    network = kind(SPACE, 32).eval()

    assert torch.equal(network(pictures(count)), plain(network, pictures(count)))
    assert torch.equal(network(pictures(count).float() / 255.0), plain(network, pictures(count)))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("count", [1, 32, 64, 150])
@pytest.mark.parametrize("onednn", [True, False])
def test_learning_has_the_same_values_and_gradients_except_for_rounding(
    kind: type[PictureNetwork], count: int, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "ONEDNN_LINEAR", onednn and hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    torch.manual_seed(0)
    network = kind(SPACE, 32)
    directions = torch.randn(count, 32) / count
    gradients = []
    for features in (network(pictures(count)), plain(network, pictures(count))):
        network.zero_grad()
        (features * directions).sum().backward()
        gradients.append([weights.grad.clone() for weights in network.parameters() if weights.grad is not None])

    torch.testing.assert_close(network(pictures(count)), plain(network, pictures(count)))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_noise_of_the_layer_behind_the_convolutions_is_kept() -> None:
    network = SmallCNN(SPACE, 32)
    network.linear[0] = NoisyLinear(network.linear[0].in_features, 32)
    network.linear[0].noisy = True

    assert not torch.equal(network(pictures(64)), network(pictures(64)))


def test_weights_are_those_of_the_library() -> None:
    theirs = torch_layers.NatureCNN(SPACE, 32)
    ours = NatureCNN(SPACE, 32)
    ours.load_state_dict(theirs.state_dict(), strict=True)

    assert torch.equal(ours.eval()(pictures(8)), theirs(pictures(8).float() / 255.0))


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn", "ppo"])
@pytest.mark.parametrize("network", ["nature", "small"])
def test_every_policy_hands_pictures_over_as_bytes(algorithm: str, network: str) -> None:
    config = toy_config(algorithm, agent={"network": {"features": network, "features_dim": 16}})
    model: Any = build(config, toy_vec(), device="cpu")
    given: list[torch.dtype] = []
    found = [module for module in model.policy.modules() if isinstance(module, PictureNetwork)]
    for each in found:
        each.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].dtype))
    model.learn(128)

    assert found
    assert set(given) == {torch.uint8}


def test_other_extractors_are_given_what_the_library_gives_them() -> None:
    model = build(toy_config("ppo"), toy_vec(), device="cpu")
    given: list[torch.Tensor] = []

    class Other(torch_layers.BaseFeaturesExtractor):
        """Notes its input."""

        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            given.append(observations)
            return observations

    few = torch.full((2, *SHAPE), 51, dtype=torch.uint8)
    assert isinstance(model.policy, BaseModel)
    model.policy.extract_features(few, Other(model.observation_space, 1))

    assert torch.equal(given[0], few.float() / 255.0)
