"""Trained policies that see tiles, and say what they would do where another policy is learning."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv
from torch.distributions import Categorical
from torch.nn import functional

from agents.errors import TeacherError
from agents.policies.models import Agent
from configs import Config
from mario_env.observations import Tiles
from mario_env.stable_baselines import FastVecEnv


class Teachers:
    """The teacher of each level.

    Args:
        agents: by level.
        config: the configuration of the training that they advise.

    Raises:
        TeacherError: a level has none, or one does not see tiles, was not trained with PPO, or has other actions or decisions
            than the training.
    """

    def __init__(self, agents: Mapping[str, Agent], config: Config) -> None:
        for level in config.environment.level_names:
            if level not in agents:
                raise TeacherError(f"train.teacher: there is no teacher for {level}")
            _require_fit(level, agents[level], config)
        assert config.train.teacher is not None
        self._temperature = config.train.teacher.temperature
        self._policies: dict[str, ActorCriticPolicy] = {level: agent.model for level, agent in agents.items()}  # type: ignore[misc]

    def to(self, device: torch.device) -> None:
        """Move the policies to a device."""
        for policy in self._policies.values():
            policy.to(device)

    @torch.no_grad()
    def advise(self, env: VecEnv, games: slice) -> torch.Tensor:
        """The probabilities with which the teachers would choose each action now, float32 (n, actions), on their device.

        A temperature below 1 makes them surer of their choices (Rusu et al. 2016, "Policy Distillation").

        Args:
            env: the games, with the tiles as :attr:`~mario_env.stable_baselines.FastVecEnv.view`.
            games: which of them.
        """
        assert isinstance(env, FastVecEnv)
        assert env.view is not None
        tiles, levels = torch.from_numpy(env.view.observations[games]), env.levels[games]
        rows = {level: [row for row, each in enumerate(levels) if each == level] for level in dict.fromkeys(levels)}
        logits = torch.cat([_logits(self._policies[level], tiles[own]) for level, own in rows.items()])
        by_level = functional.softmax(logits / self._temperature, dim=1)
        return by_level[torch.tensor([row for own in rows.values() for row in own]).argsort()]


def _logits(policy: ActorCriticPolicy, tiles: torch.Tensor) -> torch.Tensor:
    distribution = policy.get_distribution(tiles.to(policy.device)).distribution
    assert isinstance(distribution, Categorical)
    return distribution.logits


def _require_fit(level: str, agent: Agent, config: Config) -> None:
    theirs, ours = agent.config.environment, config.environment
    faults = {
        f"it was trained with {agent.config.agent.algorithm}, not with ppo": not isinstance(agent.model, ActorCriticPolicy),
        f"it sees {theirs.observation}, not {Tiles.name}": theirs.observation != Tiles.name,
        f"its environment.actions are {theirs.actions}, and here they are {ours.actions}": theirs.actions != ours.actions,
        f"its environment.frame_skip is {theirs.frame_skip}, and here it is {ours.frame_skip}": (
            theirs.frame_skip != ours.frame_skip
        ),
    }
    if found := [fault for fault, there in faults.items() if there]:
        raise TeacherError(f"train.teacher: the teacher of {level} does not fit: {'; '.join(found)}")
