"""What stands behind the feature extractor of a value network: plain, dueling and noisy layers.

Dueling: Wang et al. 2016, "Dueling Network Architectures for Deep Reinforcement Learning".

Noisy: Fortunato et al. 2018, "Noisy Networks for Exploration". The weights of these layers are drawn at each pass, with means
and deviations that are learned. The network explores as much as its losses let it, instead of epsilon
(`agent.exploration_initial_eps` and `exploration_final_eps` may then be 0). Each pass is one draw for its whole batch, from
torch's global generator. To play, the means alone are used.
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

SIGMA: Final = 0.5  # the paper's sigma_0 for factorised noise (section 3.2)


class DuelingHead(nn.Module):
    """Values of actions from two streams: Q = V + A - mean of A over the actions (equation 9 of Wang et al.).

    The paper's streams have a hidden layer each. Here the extractor's last layer is cut in two to be those: the value's stream
    sees its first half alone, the advantages' stream the rest. With `features_dim` 1 024 the network is the paper's, and with
    any other it is as large as the plain one. If both saw all of it, Q would be as linear in it as without streams.

    Takes float32 (n, features_dim), returns float32 (n, quantiles x actions), the actions last.

    Args:
        quantiles: of each value. Where there are several, Q-values are distributions and each quantile is combined separately.
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
        noisy: whether noise is drawn; off until :func:`set_noise`.
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
    """Let every noisy layer of `policy` draw noise, or use its means alone."""
    for module in policy.modules():
        if isinstance(module, NoisyLinear):
            module.noisy = on


@contextmanager
def without_noise(policy: nn.Module) -> Iterator[None]:
    """Use the means alone within the block; afterwards `policy` is as it was."""
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
    """Replace each linear layer by a noisy one."""
    for name, module in list(network.named_children()):
        if type(module) is nn.Linear:
            setattr(network, name, NoisyLinear(module.in_features, module.out_features))
        else:
            _make_noisy(module)


class DQNPolicy(dqn.CnnPolicy):
    """stable-baselines3's policy of DQN with another head. ``net_arch`` must be empty.

    Args:
        dueling: put a `DuelingHead` behind the extractor.
        noisy: make the layers behind the convolutions noisy.
        arguments: as the library's policy takes them.
    """

    def __init__(self, *arguments: Any, dueling: bool = False, noisy: bool = False, **named: Any) -> None:
        self.dueling, self.noisy = dueling, noisy
        super().__init__(*arguments, **named)

    def make_q_net(self) -> dqn.QNetwork:
        """The library's network with the head exchanged."""
        network = super().make_q_net()
        if self.dueling:
            network.q_net = nn.Sequential(DuelingHead(network.features_dim, int(network.action_space.n)))
        if self.noisy:
            _make_noisy(network)
        return network.to(self.device)


class QRDQNPolicy(qrdqn.CnnPolicy):
    """sb3-contrib's policy of QR-DQN with another head; arguments as those of `DQNPolicy`."""

    def __init__(self, *arguments: Any, dueling: bool = False, noisy: bool = False, **named: Any) -> None:
        self.dueling, self.noisy = dueling, noisy
        super().__init__(*arguments, **named)

    def make_quantile_net(self) -> qrdqn.QuantileNetwork:
        """The library's network with the head exchanged."""
        network = super().make_quantile_net()
        if self.dueling:
            head = DuelingHead(network.features_dim, int(network.action_space.n), network.n_quantiles)
            network.quantile_net = nn.Sequential(head)
        if self.noisy:
            _make_noisy(network)
        return network.to(self.device)


def value_policy(algorithm: str, *, dueling: bool, noisy: bool) -> tuple[type[BasePolicy], dict[str, Any]]:
    """The policy class of "dqn" or "qrdqn" with its ``policy_kwargs``; without a switch it is the library's own."""
    if dueling or noisy:
        return (QRDQNPolicy if algorithm == "qrdqn" else DQNPolicy), {"dueling": dueling, "noisy": noisy}
    return (qrdqn.CnnPolicy if algorithm == "qrdqn" else dqn.CnnPolicy), {}
