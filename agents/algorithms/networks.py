"""Feature extractors, from a stack of frames to a vector, and the optimiser, which all policies share."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import nn

from agents.extractors import TileNetwork
from configs import Config, ConfigError


class SmallCNN(BaseFeaturesExtractor):
    """The network of Mnih et al. 2013 (16 and 32 filters): about half the arithmetic of NatureCNN.

    Takes float32 in [0, 1] of shape (n, channels, height, width), returns float32 (n, features_dim).
    """

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int = 256, layer_norm: bool = False) -> None:
        super().__init__(observation_space, features_dim)
        channels = observation_space.shape[0]
        # One group: the mean and the deviation of all channels and positions, with weights for each channel.
        norms = [nn.GroupNorm(1, 16), nn.GroupNorm(1, 32), nn.LayerNorm(features_dim)] if layer_norm else []
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 16, kernel_size=8, stride=4),
            *norms[:1],
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=4, stride=2),
            *norms[1:2],
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            flat = self.convolutions(torch.zeros(1, *observation_space.shape)).shape[1]
        self.linear = nn.Sequential(nn.Linear(flat, features_dim), *norms[2:], nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.linear(self.convolutions(observations))
        return features


EXTRACTORS: dict[str, dict[str, type[BaseFeaturesExtractor]]] = {
    "frames": {"nature": NatureCNN, "small": SmallCNN},
    "tiles": {"tiles": TileNetwork},
}
"""`environment.observation` -> the networks that fit it, by `agent.network.features`."""


def network_arguments(config: Config, adam_epsilon: float) -> dict[str, Any]:
    """The ``policy_kwargs`` of stable-baselines3 for the feature extractor and the optimiser.

    For DQN and QR-DQN the extractor's last layer is the hidden layer of Mnih et al. 2015, so ``net_arch`` stays empty. For PPO
    the policy and the value function share it.

    Args:
        adam_epsilon: Adam's epsilon. The library would choose it for the algorithm, but not if `fused` is given.

    Raises:
        ConfigError: the network does not fit the observation.
    """
    network, observation = config.agent.network, config.environment.observation
    fitting = EXTRACTORS[observation]
    if network.features not in fitting:
        raise ConfigError(
            f"agent.network.features is {network.features}, which does not fit environment.observation {observation}: "
            f"choose one of {', '.join(fitting)}"
        )
    return {
        "features_extractor_class": fitting[network.features],
        "features_extractor_kwargs": {
            "features_dim": network.features_dim,
            **({"layer_norm": True} if network.layer_norm else {}),
        },
        "net_arch": [],
        "optimizer_class": torch.optim.Adam,
        # A fused step makes one pass over the weights instead of a dozen. It takes a fifth of the time on a CPU, and differs
        # only in rounding.
        "optimizer_kwargs": {"eps": adam_epsilon, "fused": True},
    }
