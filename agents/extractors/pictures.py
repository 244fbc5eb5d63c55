"""Feature extractors for pictures: stacks of frames."""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym
import torch
from stable_baselines3.common import torch_layers
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from agents.extractors.linear import ONEDNN_LINEAR, OneDNNLinear
from agents.extractors.shares import in_shares


class UnscaledPictures(BaseModel):
    """A base class for policies and their networks: an extractor with the attribute `takes_bytes` gets pictures as bytes.

    stable-baselines3 makes a whole batch float32 and then divides it by 255: two passes over memory, as slow as a convolution.
    A `PictureNetwork` converts a part of the batch at a time, just before its first layer, to the same values.

    List it after the class of stable-baselines3: ``class Policy(CnnPolicy, UnscaledPictures)``.
    """

    def extract_features(self, obs: Any, features_extractor: BaseFeaturesExtractor) -> torch.Tensor:
        """The features of a batch of observations; those of other extractors are preprocessed as in stable-baselines3."""
        if getattr(features_extractor, "takes_bytes", False):
            features: torch.Tensor = features_extractor(obs)
            return features
        return super().extract_features(obs, features_extractor)


class PictureNetwork(BaseFeaturesExtractor):
    """Convolutions and a layer behind them, computed in the way that is fastest on a CPU.

    Takes pictures (n, channels, height, width), uint8 or, as stable-baselines3's policies pass them, float32 in [0, 1]. Returns
    float32 (n, features_dim).

    In evaluation mode features have the same bits as with stable-baselines3's operations, so a policy plays as it always has.
    In training mode they differ by rounding.

    Subclasses set `linear`; its first layer is the one behind the convolutions. The weights have the layout of torch's layers.

    Attributes:
        takes_bytes: for `UnscaledPictures`.
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
        # Noisy layers draw random numbers, which only one thread does in the same order each time.
        if type(self.linear[0]) is nn.Linear:
            return in_shares(self._features, observations, self)
        return self._features(observations)

    def _features(self, observations: torch.Tensor) -> torch.Tensor:
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

    def layers(self) -> nn.Sequential:
        """As in the base class."""
        return self.convolutions


class NatureCNN(PictureNetwork, torch_layers.NatureCNN):
    """The network of Mnih et al. 2015, with the weights of stable-baselines3's class."""

    def layers(self) -> nn.Sequential:
        """As in the base class."""
        return self.cnn
