"""A team plays the full game: in each level its own policy, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.errors import TeamError
from agents.policies.arrivals import Arrivals
from agents.policies.models import Agent
from configs.levels import LEVELS, kind_of
from configs.schema import EnvironmentConfig
from mario_env.wrappers import button_combinations

_SHARED = ("observation", "crop_status_bar", "frame_skip", "actions", "rom")
"""What the environment gives and takes, and cannot give differently to two policies in one game."""


@dataclass(frozen=True)
class Member:
    """A policy of one level.

    Attributes:
        name: for messages and results, such as world-1-2.
        agent: the policy.
    """

    name: str
    agent: Agent


@dataclass
class Team:
    """Policies of single levels that play the full game together.

    A level without a policy of its own is played by the nearest one of the same kind (ground, underground, water, castle), or,
    if there is none, by the nearest of all. Near is what lies few levels before or after; of two equally near, the earlier.

    Attributes:
        members: by level, at least one.

    Raises:
        TeamError: two of them differ in what they see or can do; the message names both.
    """

    members: Mapping[str, Member]
    _arrivals: Arrivals = field(default_factory=Arrivals, repr=False)

    def __post_init__(self) -> None:
        if not self.members:
            raise TeamError("a team needs a policy of at least one level")
        first, *others = self.members.values()
        for other in others:
            if differences := _differences(first.agent.config.environment, other.agent.config.environment):
                raise TeamError(
                    f"{first.name} and {other.name} cannot play one game together, because they were trained with "
                    f"{'; '.join(differences)}: train one of them again with the other's settings, or leave it out"
                )

    @property
    def steps(self) -> int:
        """The decisions that all members were trained for."""
        return sum(member.agent.steps for member in self.members.values())

    @property
    def exploration_rate(self) -> float:
        """The largest share of random actions among the members when they act stochastically."""
        return max(member.agent.exploration_rate for member in self.members.values())

    def member_for(self, level: str) -> Member:
        """The member that plays a level: its own, or the nearest."""
        return self.members[self._nearest(level)]

    def borrowed(self, levels: Iterable[str]) -> dict[str, str]:
        """Those of the levels without a policy of their own, each with the name of the policy that plays it."""
        return {level: self.member_for(level).name for level in levels if level not in self.members}

    def require_playable(self, environment: EnvironmentConfig) -> None:
        """Refuse an environment that the members do not know.

        Raises:
            TeamError: it gives other observations than they were trained with, or takes other actions.
        """
        member = next(iter(self.members.values()))
        if differences := _differences(member.agent.config.environment, environment):
            raise TeamError(f"{member.name} cannot play this environment: it was trained with {'; '.join(differences)}")

    def act(
        self,
        observations: NDArray[Any],
        *,
        deterministic: bool = True,
        random: Sequence[np.random.Generator] | None = None,
        infos: Sequence[Mapping[str, Any]] | None = None,
    ) -> NDArray[np.int64]:
        """Choose actions for a batch of games, each by the policy of the level that it is in.

        Args:
            observations, deterministic, random: see :meth:`Agent.act`.
            infos: of each game, from its last step or reset. Row i must be the same game in every call.

        Returns:
            int64 (n,), indices into the actions.

        Raises:
            ValueError: there are no infos, which say where the games are; or see :meth:`Agent.act`.
        """
        if infos is None:
            raise ValueError("a team needs the infos of the games: they say which level each is in")
        if self._sees_frames:
            observations = self._arrivals.begin_anew(observations, infos)
        levels = [self._nearest(f"{info['world']}-{info['stage']}") for info in infos]
        actions = np.zeros(len(observations), np.int64)
        for level in dict.fromkeys(levels):
            rows = [row for row, own in enumerate(levels) if own == level]
            chosen = None if random is None else [random[row] for row in rows]
            actions[rows] = self.members[level].agent.act(observations[rows], deterministic=deterministic, random=chosen)
        return actions

    @property
    def _sees_frames(self) -> bool:
        return next(iter(self.members.values())).agent.config.environment.observation == "frames"

    def _nearest(self, level: str) -> str:
        """The level whose policy plays `level`."""
        if level in self.members:
            return level
        if level not in LEVELS:  # the minus world, 36-1: the end of 1-2, if anything
            level = "1-2"
        same = [own for own in self.members if kind_of(own) == kind_of(level)]
        place = LEVELS.index(level)
        return min(same or self.members, key=lambda own: (abs(LEVELS.index(own) - place), LEVELS.index(own)))


def _differences(first: EnvironmentConfig, second: EnvironmentConfig) -> list[str]:
    """In words, where two environments differ in what an agent sees and can do."""
    values = {name: (getattr(first, name), getattr(second, name)) for name in _SHARED}
    if button_combinations(first) == button_combinations(second):
        del values["actions"]  # one list can be written in two ways
    return [f"environment.{name} {ours} and {theirs}" for name, (ours, theirs) in values.items() if ours != theirs]
