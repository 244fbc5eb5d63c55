"""The progress of a training: its counters, and the values that it passes to its callers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from mario_env import EpisodeSummary

WINDOW = 100  # number of episodes that means cover, as in stable-baselines3


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode that ended, with its place in the training or evaluation.

    Attributes:
        summary: the facts about the episode.
        env_index: the index of the environment that played it.
        episode_index: the index among the episodes of this environment, from 0.
        global_step: the number of decisions of all environments up to its end; in an evaluation the number of decisions that
            the agent was trained for.
        exploration_rate: the share of random actions at its end; 0 for PPO.
        timestamp: the time of its end, UTC.
    """

    summary: EpisodeSummary
    env_index: int
    episode_index: int
    global_step: int
    exploration_rate: float
    timestamp: datetime

    def at_index(self, episode_index: int) -> PlayedEpisode:
        """The same episode with another index."""
        return replace(self, episode_index=episode_index)


@dataclass(frozen=True)
class Progress:
    """The state of a training in numbers. Steps and frames include running episodes; `updates` counts calls of `train`."""

    steps: int
    frames: int
    episodes: int
    reward_sum: float
    updates: int


@dataclass(frozen=True)
class EpisodeTotals:
    """The number of episodes that an experiment has on record, and the sum of their rewards."""

    episodes: int
    reward_sum: float


@dataclass(frozen=True)
class ValidationResult:
    """The result of one validation: the policy after `steps` decisions played `episodes` and completed `completed` of them.

    Attributes:
        distance: the mean distance in pixels.
    """

    steps: int
    episodes: int
    completed: int
    distance: float

    @property
    def rank(self) -> tuple[float, float, int]:
        """Sort key of results, best last: share of completed episodes, then distance, then steps."""
        return (self.completed / self.episodes, self.distance, self.steps)


@dataclass(frozen=True)
class RecentEpisode:
    """The part of an ended episode that enters the means of the last `WINDOW` episodes."""

    reward: float
    steps: int
    distance: int
    completed: bool
    components: dict[str, float]


@dataclass
class LevelCounters:
    """Counts of the training episodes of one level, where there are several.

    Attributes:
        episodes: how many have ended.
        recent: of the last `WINDOW` of them, the distance in pixels and whether the level was completed.
    """

    episodes: int = 0
    recent: deque[tuple[int, bool]] = field(default_factory=lambda: deque(maxlen=WINDOW))

    @property
    def completion_rate(self) -> float:
        """The share of recent episodes that completed the level."""
        return sum(completed for _, completed in self.recent) / len(self.recent)

    @property
    def distance_mean(self) -> float:
        """The mean distance of recent episodes, in pixels."""
        return sum(distance for distance, _ in self.recent) / len(self.recent)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LevelCounters:
        """The inverse of the dictionary that `Counters.to_json` makes."""
        recent = ((int(distance), bool(completed)) for distance, completed in values["recent"])
        return cls(values["episodes"], deque(recent, maxlen=WINDOW))


@dataclass
class ValidationCounters:
    """Counters of a training's validations.

    Attributes:
        history: the results, oldest first.
        next_index: the first episode index of each environment in the next validation.
    """

    history: list[ValidationResult] = field(default_factory=list)
    episodes: int = 0
    reward_sum: float = 0.0
    next_index: int = 0

    @property
    def last_steps(self) -> int:
        """The number of decisions at the last validation; 0 before the first."""
        return self.history[-1].steps if self.history else 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ValidationCounters:
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**values, "history": [ValidationResult(**each) for each in values["history"]]})


@dataclass
class Counters:
    """Counters of a training, saved with each checkpoint. Validations have counters of their own.

    Attributes:
        written_steps: the number of decisions when metrics were last written. With `written_episodes` it determines when they
            are written next.
        levels: counters of each level that has been played, where there are several.
    """

    frames: int = 0
    episodes: int = 0
    reward_sum: float = 0.0
    written_steps: int = 0
    written_episodes: int = 0
    next_index: dict[int, int] = field(default_factory=dict)
    recent: deque[RecentEpisode] = field(default_factory=lambda: deque(maxlen=WINDOW))
    validation: ValidationCounters = field(default_factory=ValidationCounters)
    levels: dict[str, LevelCounters] = field(default_factory=dict)

    def add(self, summary: EpisodeSummary, env_index: int) -> int:
        """Count an ended episode; returns its index among the episodes of its environment."""
        index = self.next_index.get(env_index, 0)
        self.next_index[env_index] = index + 1
        self.episodes += 1
        self.reward_sum += float(summary.reward)
        if summary.start.level is not None:
            level = self.levels.setdefault(summary.start.level, LevelCounters())
            level.episodes += 1
            level.recent.append((int(summary.distance_traveled), bool(summary.level_completed)))
        self.recent.append(
            RecentEpisode(
                reward=float(summary.reward),
                steps=int(summary.steps),
                distance=int(summary.distance_traveled),
                completed=bool(summary.level_completed),
                components={name: float(value) for name, value in summary.reward_components.items()},
            )
        )
        return index

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        values = asdict(self)
        values["next_index"] = {str(index): count for index, count in self.next_index.items()}
        values["recent"] = [asdict(episode) for episode in self.recent]
        values["levels"] = {
            level: {"episodes": counts.episodes, "recent": [list(each) for each in counts.recent]}
            for level, counts in sorted(self.levels.items())
        }
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Counters:
        """The inverse of `to_json`."""
        return cls(
            frames=values["frames"],
            episodes=values["episodes"],
            reward_sum=values["reward_sum"],
            # Checkpoints of older versions lack these keys.
            written_steps=values.get("written_steps", 0),
            written_episodes=values.get("written_episodes", 0),
            next_index={int(index): count for index, count in values["next_index"].items()},
            recent=deque((RecentEpisode(**episode) for episode in values["recent"]), maxlen=WINDOW),
            validation=ValidationCounters.from_json(values["validation"]) if "validation" in values else ValidationCounters(),
            levels={level: LevelCounters.from_json(each) for level, each in values.get("levels", {}).items()},
        )
