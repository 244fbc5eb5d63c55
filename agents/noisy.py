"""Noisy networks: Fortunato et al. 2018, "Noisy Networks for Exploration".

Weights of the layers behind the convolutions are drawn anew at each pass, about means and with deviations that are learned: the
network explores, as much as its losses let it, in place of epsilon (`agent.exploration_initial_eps` and `exploration_final_eps`
may be 0 then). Each pass is one draw for all of its batch, from torch's own generator. To play, means alone are used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from sb3_contrib.qrdqn.policies import CnnPolicy as QuantileCnnPolicy
from sb3_contrib.qrdqn.policies import QuantileNetwork
from stable_baselines3.dqn.policies import CnnPolicy, QNetwork
from torch import nn
from torch.nn import functional

from agents.dueling import DuelingDQNPolicy, DuelingQRDQNPolicy

SIGMA: Final = 0.5  # the paper's sigma_0 for factorised noise (section 3.2)


class NoisyLinear(nn.Linear):
    """A layer with factorised Gaussian noise (equations 10 and 11).

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
        of_inputs, of_outputs = (_drawn(size, features.device) for size in (self.in_features, self.out_features))
        # As one product with the sum of means and noise, but without putting together the noise of every weight.
        noise = functional.linear(features * of_inputs, self.weight_sigma) * of_outputs
        return super().forward(features) + noise + self.bias_sigma * of_outputs


def set_noise(policy: nn.Module, on: bool) -> None:
    """Let every noisy layer of `policy` draw noise, or use its means alone."""
    for module in policy.modules():
        if isinstance(module, NoisyLinear):
            module.noisy = on


@contextmanager
def without_noise(policy: nn.Module) -> Iterator[None]:
    """Within the block `policy` uses means alone, and is afterwards as it was."""
    noisy = [module for module in policy.modules() if isinstance(module, NoisyLinear) and module.noisy]
    set_noise(policy, False)
    try:
        yield
    finally:
        for module in noisy:
            module.noisy = True


def _drawn(size: int, device: torch.device) -> torch.Tensor:
    noise = torch.randn(size, device=device)
    return noise.sign() * noise.abs().sqrt()


def _exchange(network: nn.Module) -> None:
    """Put a noisy layer in the place of each linear one."""
    for name, module in list(network.named_children()):
        if type(module) is nn.Linear:
            setattr(network, name, NoisyLinear(module.in_features, module.out_features))
        else:
            _exchange(module)


class _NoisyQ(CnnPolicy):
    def make_q_net(self) -> QNetwork:
        """As without noise, with other layers behind the convolutions."""
        network = super().make_q_net()
        _exchange(network)
        return network.to(self.device)


class _NoisyQuantiles(QuantileCnnPolicy):
    def make_quantile_net(self) -> QuantileNetwork:
        """As without noise, with other layers behind the convolutions."""
        network = super().make_quantile_net()
        _exchange(network)
        return network.to(self.device)


class NoisyDQNPolicy(_NoisyQ):
    """stable-baselines3's policy with noisy layers."""


class NoisyDuelingDQNPolicy(_NoisyQ, DuelingDQNPolicy):
    """The dueling one with noisy layers."""


class NoisyQRDQNPolicy(_NoisyQuantiles):
    """sb3-contrib's policy with noisy layers."""


class NoisyDuelingQRDQNPolicy(_NoisyQuantiles, DuelingQRDQNPolicy):
    """The dueling one with noisy layers."""
