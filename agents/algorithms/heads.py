"""The layers behind the feature extractor of a value network: plain, dueling or noisy.

Dueling: Wang et al. 2016, "Dueling Network Architectures for Deep Reinforcement Learning".

Noisy: Fortunato et al. 2018, "Noisy Networks for Exploration". The weights of these layers are sampled at each pass, with means
and deviations that are learned. This noise explores instead of epsilon
(`agent.exploration_initial_eps` and `exploration_final_eps` may then be 0). Each pass samples once for its whole
batch, from torch's global generator. For playing, only the means are used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sb3_contrib.qrdqn.policies as qrdqn
import stable_baselines3.dqn.policies as dqn
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import nn
from torch.nn import functional

from agents.extractors import UnscaledPictures

SIGMA: Final = 0.5  # the paper's sigma_0 for factorised noise (section 3.2)


class DuelingHead(nn.Module):
    """Values of actions from two streams: Q = V + A - mean of A over the actions (equation 9 of Wang et al.).

    In the paper each stream has a hidden layer. Here these are the two halves of the extractor's last layer: the first half
    feeds the value, the second the advantages. With `features_dim` 1 024 this is the network of the paper; with any value it is
    as large as the plain network. If both streams got the whole layer, Q would be linear in it, as without streams.

    Takes float32 (n, features_dim), returns float32 (n, quantiles x actions), the actions last.

    Args:
        quantiles: the number of quantiles of each value. With several, value and advantages are combined for each separately.
    """

    def __init__(self, features_dim: int, actions: int, quantiles: int = 1) -> None:
        super().__init__()
        self._halves = [features_dim // 2, features_dim - features_dim // 2]
        self._shape = (quantiles, actions)
        self.value = nn.Linear(self._halves[0], quantiles)
        self.advantages = nn.Linear(self._halves[1], quantiles * actions)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        of_value, of_advantages = torch.split(features, self._halves, dim=1)
        advantages = self.advantages(of_advantages).unflatten(1, self._shape)
        values: torch.Tensor = self.value(of_value).unsqueeze(2) + advantages - advantages.mean(dim=2, keepdim=True)
        return values.flatten(1)


class NoisyLinear(nn.Linear):
    """A layer with factorised Gaussian noise (equations 10 and 11 of Fortunato et al.).

    Takes float32 (n, inputs), returns float32 (n, outputs). `weight` and `bias` are the means, named as without noise.

    Attributes:
        noisy: whether noise is added; off until :func:`set_noise` turns it on.
    """

    noisy = False

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.weight_sigma = nn.Parameter(torch.empty(outputs, inputs))
        self.bias_sigma = nn.Parameter(torch.empty(outputs))
        bound = 1 / math.sqrt(inputs)
        for mean, sigma in ((self.weight, self.weight_sigma), (self.bias, self.bias_sigma)):
            nn.init.uniform_(mean, -bound, bound)
            nn.init.constant_(sigma, SIGMA * bound)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if not self.noisy:
            return super().forward(features)
        of_inputs, of_outputs = (_draw_noise(size, features.device) for size in (self.in_features, self.out_features))
        # The same as one product with the sum of means and noise, without building the noise of every weight.
        noise = functional.linear(features * of_inputs, self.weight_sigma) * of_outputs
        return super().forward(features) + noise + self.bias_sigma * of_outputs


def set_noise(policy: nn.Module, on: bool) -> None:
    """Turn the noise of every noisy layer of `policy` on or off; without noise a layer uses its means."""
    for module in policy.modules():
        if isinstance(module, NoisyLinear):
            module.noisy = on


@contextmanager
def without_noise(policy: nn.Module) -> Iterator[None]:
    """Turn noise off within the block; afterwards `policy` is as before."""
    noisy = [module for module in policy.modules() if isinstance(module, NoisyLinear) and module.noisy]
    set_noise(policy, False)
    try:
        yield
    finally:
        for module in noisy:
            module.noisy = True


def _draw_noise(size: int, device: torch.device) -> torch.Tensor:
    noise = torch.randn(size, device=device)
    return noise.sign() * noise.abs().sqrt()


def _make_noisy(network: nn.Module) -> None:
    """Replace each linear layer with a noisy one."""
    for name, module in list(network.named_children()):
        if type(module) is nn.Linear:
            setattr(network, name, NoisyLinear(module.in_features, module.out_features))
        else:
            _make_noisy(module)


class _QNetwork(dqn.QNetwork, UnscaledPictures):
    """stable-baselines3's network of Q-values; pictures stay bytes up to the extractor."""


class _QuantileNetwork(qrdqn.QuantileNetwork, UnscaledPictures):
    """sb3-contrib's network of quantiles; pictures stay bytes up to the extractor."""


class DQNPolicy(dqn.CnnPolicy):
    """stable-baselines3's policy of DQN, with a faster way to the extractor and another head. ``net_arch`` must be empty.

    Args:
        dueling: put a `DuelingHead` behind the extractor.
        noisy: make the layers behind the convolutions noisy.
        arguments: as for the policy of stable-baselines3.
    """

    def __init__(self, *arguments: Any, dueling: bool = False, noisy: bool = False, **named: Any) -> None:
        self.dueling, self.noisy = dueling, noisy
        super().__init__(*arguments, **named)

    def make_q_net(self) -> dqn.QNetwork:
        """The network of the base class with another head."""
        network = _QNetwork(**self._update_features_extractor(self.net_args, features_extractor=None))
        if self.dueling:
            network.q_net = nn.Sequential(DuelingHead(network.features_dim, int(network.action_space.n)))
        if self.noisy:
            _make_noisy(network)
        return network.to(self.device)

    def q_values(self, observations: torch.Tensor) -> torch.Tensor:
        """The values of all actions, float32 (n, actions)."""
        values: torch.Tensor = self.q_net(observations)
        return values


class QRDQNPolicy(qrdqn.CnnPolicy):
    """sb3-contrib's policy of QR-DQN with the changes of `DQNPolicy`, and its arguments."""

    def __init__(self, *arguments: Any, dueling: bool = False, noisy: bool = False, **named: Any) -> None:
        self.dueling, self.noisy = dueling, noisy
        super().__init__(*arguments, **named)

    def make_quantile_net(self) -> qrdqn.QuantileNetwork:
        """The network of the base class with another head."""
        network = _QuantileNetwork(**self._update_features_extractor(self.net_args, features_extractor=None))
        if self.dueling:
            head = DuelingHead(network.features_dim, int(network.action_space.n), network.n_quantiles)
            network.quantile_net = nn.Sequential(head)
        if self.noisy:
            _make_noisy(network)
        return network.to(self.device)

    def q_values(self, observations: torch.Tensor) -> torch.Tensor:
        """The values of all actions, float32 (n, actions): the means of their quantiles."""
        values: torch.Tensor = self.quantile_net(observations).mean(dim=1)
        return values


def value_policy(algorithm: str, *, dueling: bool, noisy: bool) -> tuple[type[BasePolicy], dict[str, Any]]:
    """The policy class of "dqn" or "qrdqn" with its ``policy_kwargs``."""
    return (QRDQNPolicy if algorithm == "qrdqn" else DQNPolicy), {"dueling": dueling, "noisy": noisy}
