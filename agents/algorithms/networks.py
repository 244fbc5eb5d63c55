"""The feature extractor of each configuration, and the optimiser, which all policies share."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.extractors import NatureCNN, SmallCNN, TileNetwork
from configs import Config, ConfigError

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
