"""Dueling networks: Wang et al. 2016, "Dueling Network Architectures for Deep Reinforcement Learning"."""

from __future__ import annotations

import torch
from sb3_contrib.qrdqn.policies import CnnPolicy as QuantileCnnPolicy
from sb3_contrib.qrdqn.policies import QuantileNetwork
from stable_baselines3.dqn.policies import CnnPolicy, QNetwork
from torch import nn


class DuelingHead(nn.Module):
    """Values of actions from two streams: Q = V + A - mean of A over the actions (equation 9).

    The paper's streams have a hidden layer each. The extractor's last layer is cut in two to be those: its first half is seen
    by the value's stream alone, the rest by the advantages', so that with `features_dim` 1 024 the network is the paper's, and
    with any other as large as the plain one. Were both to see all of it, Q would be as linear in it as without streams.

    Takes float32 (n, features_dim), returns float32 (n, quantiles x actions), the actions last.

    Args:
        quantiles: of each value: Q-values are distributions where there are several, and each quantile is put together alone.
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


class DuelingDQNPolicy(CnnPolicy):
    """stable-baselines3's policy with a dueling head. `net_arch` must be empty: hidden layers are the streams' own."""

    def make_q_net(self) -> QNetwork:
        """As in the library, with the last layer exchanged."""
        network = super().make_q_net()
        network.q_net = nn.Sequential(DuelingHead(network.features_dim, int(network.action_space.n))).to(self.device)
        return network


class DuelingQRDQNPolicy(QuantileCnnPolicy):
    """sb3-contrib's policy with a dueling head for each quantile. `net_arch` must be empty."""

    def make_quantile_net(self) -> QuantileNetwork:
        """As in the library, with the last layer exchanged."""
        network = super().make_quantile_net()
        head = DuelingHead(network.features_dim, int(network.action_space.n), network.n_quantiles)
        network.quantile_net = nn.Sequential(head).to(self.device)
        return network
