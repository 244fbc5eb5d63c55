"""Feature extractors: from a stack of frames to a vector."""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import nn

from configs import ConfigError
from configs.schema import NetworkConfig

_log = logging.getLogger(__name__)


class SmallCNN(BaseFeaturesExtractor):
    """The network of Mnih et al. 2013 (16 and 32 filters): about half the arithmetic of NatureCNN.

    Takes float32 in [0, 1] of shape (n, channels, height, width), returns float32 (n, features_dim).
    """

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int = 256) -> None:
        super().__init__(observation_space, features_dim)
        channels = observation_space.shape[0]
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 16, kernel_size=8, stride=4),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            flat = self.convolutions(torch.zeros(1, *observation_space.shape)).shape[1]
        self.linear = nn.Sequential(nn.Linear(flat, features_dim), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.linear(self.convolutions(observations))
        return features


class _InBfloat16(BaseFeaturesExtractor):
    """Computes in bfloat16 (mixed precision, Micikevicius et al. 2018), to be inherited before an extractor.

    Weights, gradients, the optimiser and what comes out stay float32; bfloat16 has float32's range, so that losses need no
    scaling. The weights' names are the extractor's: a model trained so is loaded as any other.
    """

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        with torch.autocast(observations.device.type, dtype=torch.bfloat16):
            features: torch.Tensor = super().forward(observations)
        return features.float()


class NatureCNNInBfloat16(_InBfloat16, NatureCNN):
    """Mnih et al. 2015 in mixed precision."""


class SmallCNNInBfloat16(_InBfloat16, SmallCNN):
    """Mnih et al. 2013 in mixed precision."""


EXTRACTORS: dict[str, dict[tuple[str, str], type[BaseFeaturesExtractor]]] = {
    "frames": {
        ("nature", "float32"): NatureCNN,
        ("small", "float32"): SmallCNN,
        ("nature", "bfloat16"): NatureCNNInBfloat16,
        ("small", "bfloat16"): SmallCNNInBfloat16,
    },
}
"""The networks that fit each observation (`environment.observation`), by `agent.network.features` and precision."""


def available_precision(precision: str, device: str) -> str:
    """`precision`, or "float32" where `device` would compute in bfloat16 slower than in that, or not at all; says so."""
    if precision == "float32" or _is_made_for_bfloat16(device):
        return precision
    _log.warning("train.precision is %s, but this %s is not made for it: training in float32", precision, device)
    return "float32"


def _is_made_for_bfloat16(device: str) -> bool:
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def extractor_arguments(network: NetworkConfig, observation: str, precision: str = "float32") -> dict[str, Any]:
    """The part of ``policy_kwargs`` that chooses the feature extractor.

    For DQN and QR-DQN the extractor's last layer is the hidden layer of Mnih et al. 2015, so ``net_arch`` stays empty;
    for PPO it is shared by policy and value.

    Raises:
        ConfigError: the network does not fit the observation.
    """
    fitting = EXTRACTORS[observation]
    if (network.features, precision) not in fitting:
        names = ", ".join(dict.fromkeys(features for features, _ in fitting))
        raise ConfigError(
            f"agent.network.features is {network.features}, which does not fit environment.observation {observation}: "
            f"choose one of {names}"
        )
    return {
        "features_extractor_class": fitting[network.features, precision],
        "features_extractor_kwargs": {"features_dim": network.features_dim},
        "net_arch": [],
    }
