"""Rollouts of the on-policy algorithms: the loop that collects them, and the buffers that keep them."""

from agents.rollouts.collecting import Collecting
from agents.rollouts.frames import FrameRolloutBuffer, rollout_bytes, rollout_steps_per_update
from agents.rollouts.on_device import DeviceRolloutBuffer, buffer_class

__all__ = [
    "Collecting",
    "DeviceRolloutBuffer",
    "FrameRolloutBuffer",
    "buffer_class",
    "rollout_bytes",
    "rollout_steps_per_update",
]
