"""The wrappers between the console and the agent, one class each, grouped by what they transform."""

from mario_env.wrappers.actions import ActionDelay, JoypadAction, NoopStart, StickyActions, button_combinations
from mario_env.wrappers.facts import MemoryFacts
from mario_env.wrappers.observation import CropStatusBar, FrameSkip, Grayscale, Resize
from mario_env.wrappers.record import EpisodeRecorder
from mario_env.wrappers.reward import REWARD_COMPONENTS, MemoryReward
from mario_env.wrappers.start import DemonstrationStart
from mario_env.wrappers.termination import LifeLossTermination, StallTruncation

__all__ = [
    "REWARD_COMPONENTS",
    "ActionDelay",
    "CropStatusBar",
    "DemonstrationStart",
    "EpisodeRecorder",
    "FrameSkip",
    "Grayscale",
    "JoypadAction",
    "LifeLossTermination",
    "MemoryFacts",
    "MemoryReward",
    "NoopStart",
    "Resize",
    "StallTruncation",
    "StickyActions",
    "button_combinations",
]
