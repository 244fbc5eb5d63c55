"""How far a training is: what is counted, and what it hands to its callers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.checkpoints import Checkpoint
    from mario_env import EpisodeSummary

WINDOW = 100  # episodes that means are taken over, as in stable-baselines3


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode that ended, and where in the training or evaluation it did.

    Attributes:
        env_index: the environment that played it.
        episode_index: counts the episodes of this environment from 0.
        global_step: decisions of all environments up to its end; in an evaluation the agent's own age in decisions.
        exploration_rate: share of random actions at its end; 0 for PPO.
        timestamp: its end, UTC.
    """

    summary: EpisodeSummary
    env_index: int
    episode_index: int
    global_step: int
    exploration_rate: float
    timestamp: datetime

    def at_index(self, episode_index: int) -> PlayedEpisode:
        """The same episode, counted otherwise."""
        return replace(self, episode_index=episode_index)


@dataclass(frozen=True)
class Progress:
    """Where a training stands, running episodes included in steps and frames; `updates` counts gradient updates' rounds."""

    steps: int
    frames: int
    episodes: int
    reward_sum: float
    updates: int


@dataclass(frozen=True)
class Recorded:
    """What the experiment's record already holds when a training is resumed: episodes, and the sum of their rewards."""

    episodes: int
    reward_sum: float


@dataclass(frozen=True)
class Validated:
    """What came of one validation: the policy after `steps` decisions played `episodes`, and completed so many of them.

    Attributes:
        distance: mean, in pixels.
    """

    steps: int
    episodes: int
    completed: int
    distance: float

    @property
    def merit(self) -> tuple[float, float, int]:
        """What the best has most of: completed episodes, else distance; of equals the newest, which has learned longest."""
        return (self.completed / self.episodes, self.distance, self.steps)


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to; steps, frames, episodes and reward_sum count from the experiment's beginning, over resumptions.

    Attributes:
        seconds: wall-clock time of this call.
        model_path: folder of the final model; None when interrupted.
        checkpoint: the newest complete checkpoint, or None.
        validations: what came of each, oldest first.
        validated: all episodes of validations, and the sum of their rewards.
        best: the checkpoint that did best in a validation; None without validations.
    """

    steps: int
    frames: int
    episodes: int
    reward_sum: float
    seconds: float
    model_path: Path | None
    checkpoint: Checkpoint | None
    interrupted: bool
    validations: Sequence[Validated] = ()
    validated: Recorded = Recorded(0, 0.0)
    best: Checkpoint | None = None


@dataclass(frozen=True)
class RecentEpisode:
    """The part of an ended episode that means are taken of."""

    reward: float
    steps: int
    distance: int
    completed: bool
    components: dict[str, float]


@dataclass
class ValidationTally:
    """Counts of a training's validations.

    Attributes:
        history: what came of each, oldest first.
        next_index: the episode index with which each environment begins the next one.
    """

    history: list[Validated] = field(default_factory=list)
    episodes: int = 0
    reward_sum: float = 0.0
    next_index: int = 0

    @property
    def last_steps(self) -> int:
        """Decisions at the last validation; 0 before the first."""
        return self.history[-1].steps if self.history else 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ValidationTally:
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**values, "history": [Validated(**each) for each in values["history"]]})


@dataclass
class Tally:
    """Counts of a training, saved with each checkpoint. Episodes of validations have their own.

    Attributes:
        written_steps: decisions when metrics were last written; with `written_episodes` it fixes when they are written next.
    """

    frames: int = 0
    episodes: int = 0
    reward_sum: float = 0.0
    written_steps: int = 0
    written_episodes: int = 0
    next_index: dict[int, int] = field(default_factory=dict)
    recent: deque[RecentEpisode] = field(default_factory=lambda: deque(maxlen=WINDOW))
    validation: ValidationTally = field(default_factory=ValidationTally)

    def add(self, summary: EpisodeSummary, env_index: int) -> int:
        """Count an ended episode; returns its index among those of its environment."""
        index = self.next_index.get(env_index, 0)
        self.next_index[env_index] = index + 1
        self.episodes += 1
        self.reward_sum += float(summary.reward)
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
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Tally:
        """The inverse of `to_json`."""
        return cls(
            frames=values["frames"],
            episodes=values["episodes"],
            reward_sum=values["reward_sum"],
            # Checkpoints of older versions do not say.
            written_steps=values.get("written_steps", 0),
            written_episodes=values.get("written_episodes", 0),
            next_index={int(index): count for index, count in values["next_index"].items()},
            recent=deque((RecentEpisode(**episode) for episode in values["recent"]), maxlen=WINDOW),
            validation=ValidationTally.from_json(values["validation"]) if "validation" in values else ValidationTally(),
        )
