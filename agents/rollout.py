"""PPO's rollouts, handed out in the layout that convolutions work in, and from the memory of the device they work on."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from agents.transfer import to_device


class ChannelsLastRolloutBuffer(RolloutBuffer):
    """stable-baselines3's `RolloutBuffer`; sampled observations (n, channels, height, width) are torch's `channels_last`.

    Observations of another number of dimensions are as they were.
    """

    def _get_samples(self, batch_inds: NDArray[Any], env: VecNormalize | None = None) -> RolloutBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        if samples.observations.ndim != 4:
            return samples  # an observation without channels
        # Here, where a value is one byte and not four.
        return samples._replace(observations=samples.observations.contiguous(memory_format=torch.channels_last))


class DeviceRolloutBuffer(RolloutBuffer):
    """stable-baselines3's `RolloutBuffer`, sent to the device once a rollout and not once an epoch, and drawn from there.

    Samples are the same. On the device it takes as much memory as on the host: 28 kB for each step of a game.
    """

    _sent: tuple[torch.Tensor, ...] | None = None

    def reset(self) -> None:
        """Forget the rollout, on the device too."""
        super().reset()
        self._sent = None

    def _get_samples(self, batch_inds: NDArray[Any], env: VecNormalize | None = None) -> RolloutBufferSamples:
        if self._sent is None:
            # The library has flattened them by now: (steps x environments, ...).
            rest = (self.values, self.log_probs, self.advantages, self.returns)
            arrays = (self.observations, self.actions.astype("float32"), *(array.flatten() for array in rest))
            self._sent = tuple(to_device(array, torch.device(self.device)) for array in arrays)
        places = to_device(batch_inds, torch.device(self.device))
        return RolloutBufferSamples(*(tensor.index_select(0, places) for tensor in self._sent))


class ChannelsLastDeviceRolloutBuffer(ChannelsLastRolloutBuffer, DeviceRolloutBuffer):
    """Both."""


def rollout_buffer_class(device: str, *, channels_last: bool) -> type[RolloutBuffer]:
    """What PPO collects into on `device`, "cpu" or "cuda": on a GPU a rollout is kept there for all its epochs."""
    if device.startswith("cuda"):
        return ChannelsLastDeviceRolloutBuffer if channels_last else DeviceRolloutBuffer
    return ChannelsLastRolloutBuffer if channels_last else RolloutBuffer
