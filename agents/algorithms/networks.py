"""Feature extractors, from a stack of frames to a vector, and the optimiser, which all policies share."""

from __future__ import annotations

from typing import Any, Final, cast

import gymnasium as gym
import torch
from stable_baselines3.common import torch_layers
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.autograd.function import once_differentiable

from configs import Config, ConfigError

ONEDNN_LINEAR: Final = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.cpu.get_cpu_capability() == "AVX512"
"""Whether torch has the function that `OneDNNLinear` uses, and the processor the instructions that make it faster."""


class OneDNNLinear(torch.autograd.Function):
    """A linear layer computed by oneDNN, for float32 on a CPU: the product and its gradients, except for rounding.

    torch computes linear layers with MKL, which leaves AVX-512 unused on processors of other makers than Intel. oneDNN uses it
    on all, which takes half of the time. torch's own compiler replaces linear layers with the same function, without gradients.
    """

    @staticmethod
    def forward(context: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """`torch.nn.functional.linear` of float32 (n, inputs), (outputs, inputs) and (outputs,): float32 (n, outputs)."""
        context.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The gradients of the three arguments."""
        (gradient,), (inputs, weight) = gradients, context.saved_tensors
        return _product(gradient, weight.t()), _product(gradient.t(), inputs.t()), gradient.sum(0)


def _product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return product


class PictureNetwork(BaseFeaturesExtractor):
    """Convolutions and a layer behind them, computed in the way that is fastest on a CPU.

    Takes pictures (n, channels, height, width), uint8 or, as stable-baselines3's policies pass them, float32 in [0, 1]. Returns
    float32 (n, features_dim).

    In evaluation mode features have the same bits as with stable-baselines3's operations, so a policy plays as it always has.
    In training mode they differ by rounding.

    Subclasses set `linear`; its first layer is the one behind the convolutions. The weights have the layout of torch's layers.

    Attributes:
        takes_bytes: for `agents.algorithms.heads.UnscaledPictures`.
        large_batch: from this many pictures on, a batch is convolved in parts on a CPU.
        part: pictures in a part. A part and its maps fit into the processor's caches.
    """

    takes_bytes = True
    large_batch = 64
    part = 64
    linear: nn.Sequential

    def layers(self) -> nn.Sequential:
        """The convolutions with what is between them; the last layer is `Flatten`."""
        raise NotImplementedError

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        if observations.device.type != "cpu" or len(observations) < self.large_batch:
            maps = self._maps(observations)
        else:
            maps = torch.cat([self._maps(part) for part in torch.split(observations, self.part)])
        first, *rest = self.linear
        features = maps.flatten(1)
        if self.training and ONEDNN_LINEAR and features.device.type == "cpu" and type(first) is nn.Linear:
            features = OneDNNLinear.apply(features, first.weight, first.bias)  # type: ignore[no-untyped-call]
        else:
            features = first(features)
        for layer in rest:
            features = layer(features)
        return cast(torch.Tensor, features)

    def _maps(self, pictures: torch.Tensor) -> torch.Tensor:
        """The output of the last convolution, float32 (n, channels, height, width)."""
        maps = pictures if pictures.is_floating_point() else pictures.float().div_(255.0)
        for layer in list(self.layers())[:-1]:
            maps = layer(maps)
        return maps


class SmallCNN(PictureNetwork):
    """The network of Mnih et al. 2013 (16 and 32 filters): about half the arithmetic of NatureCNN."""

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

    def layers(self) -> nn.Sequential:
        """As in the base class."""
        return self.convolutions


class NatureCNN(PictureNetwork, torch_layers.NatureCNN):
    """The network of Mnih et al. 2015, with the weights of stable-baselines3's class."""

    def layers(self) -> nn.Sequential:
        """As in the base class."""
        return self.cnn


EXTRACTORS: dict[str, dict[str, type[BaseFeaturesExtractor]]] = {"frames": {"nature": NatureCNN, "small": SmallCNN}}
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
        "features_extractor_kwargs": {"features_dim": network.features_dim},
        "net_arch": [],
        "optimizer_class": torch.optim.Adam,
        # A fused step makes one pass over the weights instead of a dozen. It takes a fifth of the time on a CPU, and differs
        # only in rounding.
        "optimizer_kwargs": {"eps": adam_epsilon, "fused": True},
    }
