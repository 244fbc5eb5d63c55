"""Rollouts of the on-policy algorithms: the loop that collects them, and the buffers that keep them."""

from agents.rollouts.collecting import Adviser, Collecting
from agents.rollouts.frames import AdvisedSamples, FrameRolloutBuffer, rollout_bytes, rollout_steps_per_update
from agents.rollouts.on_device import DeviceRolloutBuffer, buffer_class

__all__ = [
    "AdvisedSamples",
    "Adviser",
    "Collecting",
    "DeviceRolloutBuffer",
    "FrameRolloutBuffer",
    "buffer_class",
    "rollout_bytes",
    "rollout_steps_per_update",
]
