"""Replay buffers for stacked frames: what learns off-policy learns from them."""

from agents.replay.frames import Drawn, FrameReplayBuffer
from agents.replay.prioritised import PrioritisedReplayBuffer
from agents.replay.storage import load_replay, save_replay

__all__ = ["Drawn", "FrameReplayBuffer", "PrioritisedReplayBuffer", "load_replay", "save_replay"]
