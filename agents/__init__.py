"""Learning: algorithms, training, checkpoints, evaluation."""

# First: on the older stack stable-baselines3 imports the old Gym, which prints a notice unless mario_env has silenced it.
import mario_env  # noqa: F401  # isort: split
from agents.algorithms import build, replay_bytes, resolve_device, rollout_bytes
from agents.checkpoints import Checkpoint, latest_checkpoint
from agents.errors import AgentError, CheckpointError, DeviceError, DeviceLostError, NonFiniteError, TrainingInterrupted
from agents.evaluation import episodes_to_play, evaluation_seed, play_episodes, protocol_environment
from agents.manifests import Manifest
from agents.models import Agent, described_by, keep_best, load_agent
from agents.progress import PlayedEpisode, Progress, Recorded, TrainingResult, Validated
from agents.provenance import Provenance, provenance
from agents.shipped import load_shipped, ship
from agents.training import train
from agents.validation import Validation

__all__ = [
    "Agent",
    "AgentError",
    "Checkpoint",
    "CheckpointError",
    "DeviceError",
    "DeviceLostError",
    "Manifest",
    "NonFiniteError",
    "PlayedEpisode",
    "Progress",
    "Provenance",
    "Recorded",
    "TrainingInterrupted",
    "TrainingResult",
    "Validated",
    "Validation",
    "build",
    "described_by",
    "episodes_to_play",
    "evaluation_seed",
    "keep_best",
    "latest_checkpoint",
    "load_agent",
    "load_shipped",
    "play_episodes",
    "protocol_environment",
    "provenance",
    "replay_bytes",
    "resolve_device",
    "rollout_bytes",
    "ship",
    "train",
]
