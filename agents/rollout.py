"""PPO's rollouts, handed out in the layout that convolutions on a CPU work in."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecNormalize


class ChannelsLastRolloutBuffer(RolloutBuffer):
    """stable-baselines3's `RolloutBuffer`; sampled observations (n, channels, height, width) are torch's `channels_last`."""

    def _get_samples(self, batch_inds: NDArray[Any], env: VecNormalize | None = None) -> RolloutBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        # Here, where a value is one byte and not four.
        return samples._replace(observations=samples.observations.contiguous(memory_format=torch.channels_last))
