"""Learning: algorithms, training, checkpoints, policies and their evaluation.

Each folder is a room. It imports only the rooms below it, in this order: training, policies, checkpoints, algorithms, replay,
device, and at the ground the modules `errors`, `progress` and `announce`.
"""

# First: on the older stack stable-baselines3 imports the old Gym, which prints a notice unless mario_env has silenced it.
import mario_env  # noqa: F401  # isort: split
from agents.algorithms import MemoryNeeds, build, memory_needs
from agents.checkpoints import Checkpoint, Manifest, SharedFolder, latest_checkpoint
from agents.device import Provenance, provenance, resolve_device
from agents.errors import (
    AgentError,
    CheckpointError,
    DeviceError,
    DeviceLostError,
    NonFiniteError,
    SharedStorageError,
    TeacherError,
    TeamError,
)
from agents.policies import (
    Agent,
    Member,
    Player,
    Saliency,
    Teachers,
    Team,
    Thoughts,
    episode_seed,
    episodes_to_play,
    evaluated_environments,
    evaluation_seed,
    keep_best,
    load_agent,
    load_shipped,
    manifest_path,
    play_episodes,
    play_levels,
    protocol_environment,
    saliency,
    ship,
    think,
)
from agents.progress import EpisodeTotals, PlayedEpisode, Progress, ValidationResult
from agents.training import STATE_FILES, TrainingInterrupted, TrainingResult, Validation, train

__all__ = [
    "STATE_FILES",
    "Agent",
    "AgentError",
    "Checkpoint",
    "CheckpointError",
    "DeviceError",
    "DeviceLostError",
    "EpisodeTotals",
    "Manifest",
    "Member",
    "MemoryNeeds",
    "NonFiniteError",
    "PlayedEpisode",
    "Player",
    "Progress",
    "Provenance",
    "Saliency",
    "SharedFolder",
    "SharedStorageError",
    "TeacherError",
    "Teachers",
    "Team",
    "TeamError",
    "Thoughts",
    "TrainingInterrupted",
    "TrainingResult",
    "Validation",
    "ValidationResult",
    "build",
    "episode_seed",
    "episodes_to_play",
    "evaluated_environments",
    "evaluation_seed",
    "keep_best",
    "latest_checkpoint",
    "load_agent",
    "load_shipped",
    "manifest_path",
    "memory_needs",
    "play_episodes",
    "play_levels",
    "protocol_environment",
    "provenance",
    "resolve_device",
    "saliency",
    "ship",
    "think",
    "train",
]
