"""Memory for stacked frames: the replay buffers of the off-policy algorithms, and the pool that rollouts use as well."""

from agents.replay.frames import FrameReplayBuffer, ReplayBatch
from agents.replay.pool import FramePool
from agents.replay.prioritised import PrioritisedReplayBuffer
from agents.replay.storage import load_replay, save_replay

__all__ = ["FramePool", "FrameReplayBuffer", "PrioritisedReplayBuffer", "ReplayBatch", "load_replay", "save_replay"]
