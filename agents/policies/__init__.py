"""Trained policies: kept, shipped, loaded without unpickling, and evaluated."""

from agents.policies.evaluation import episodes_to_play, evaluation_seed, play_episodes, protocol_environment
from agents.policies.models import Agent, agent_of, described_by, keep_best, load_agent, save_model
from agents.policies.shipped import load_shipped, ship

__all__ = [
    "Agent",
    "agent_of",
    "described_by",
    "episodes_to_play",
    "evaluation_seed",
    "keep_best",
    "load_agent",
    "load_shipped",
    "play_episodes",
    "protocol_environment",
    "save_model",
    "ship",
]
