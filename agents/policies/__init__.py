"""Trained policies: saving, shipping, loading without unpickling, and evaluating them."""

from agents.policies.evaluation import (
    Player,
    episode_seed,
    episodes_to_play,
    evaluated_environments,
    evaluation_seed,
    play_episodes,
    play_levels,
    protocol_environment,
)
from agents.policies.insight import Saliency, Thoughts, saliency, think
from agents.policies.models import Agent, agent_of, keep_best, load_agent, manifest_path, save_model
from agents.policies.shipped import load_shipped, ship
from agents.policies.teachers import Teachers
from agents.policies.team import Member, Team

__all__ = [
    "Agent",
    "Member",
    "Player",
    "Saliency",
    "Teachers",
    "Team",
    "Thoughts",
    "agent_of",
    "episode_seed",
    "episodes_to_play",
    "evaluated_environments",
    "evaluation_seed",
    "keep_best",
    "load_agent",
    "load_shipped",
    "manifest_path",
    "play_episodes",
    "play_levels",
    "protocol_environment",
    "saliency",
    "save_model",
    "ship",
    "think",
]
