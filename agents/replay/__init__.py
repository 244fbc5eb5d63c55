"""Replay buffers for stacked frames, used by the off-policy algorithms."""

from agents.replay.frames import FrameReplayBuffer, ReplayBatch
from agents.replay.prioritised import PrioritisedReplayBuffer
from agents.replay.storage import load_replay, save_replay

__all__ = ["FrameReplayBuffer", "PrioritisedReplayBuffer", "ReplayBatch", "load_replay", "save_replay"]
