"""What is known of an episode when it has ended."""

from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["EpisodeStart", "EpisodeSummary"]


@dataclass(frozen=True)
class EpisodeStart:
    """What, together with the actions, fixes an episode: the game itself is deterministic.

    Attributes:
        noop_frames: idle frames between the reset and the first decision.
    """

    noop_frames: int = 0

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: the object is not one that :meth:`to_json` wrote.
        """
        count = value.get("noop_frames")
        if set(value) != {"noop_frames"} or not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f'an episode\'s start is {{"noop_frames": <0 or more>}}, not {value!r}')
        return cls(noop_frames=count)


@dataclass(frozen=True)
class EpisodeSummary:
    """One episode, from the first decision to its end. All numbers are Python's own.

    Attributes:
        reward: the sum of `reward_components`.
        steps: decisions.
        frames: emulator frames of these decisions (idle frames at the start and scenes that are skipped are not counted).
        duration_seconds: on the clock on the wall.
        distance_traveled: pixels from the start of a level to the furthest x in it, summed over levels.
        x_pos, y_pos: pixels, at the end: where the player died or reached the goal.
        score, coins, time: at the end; time in units of the game's clock.
        life: lives left including the current one (a level starts with the game's three); 0 at game over.
        status: "small", "tall" or "fireball".
        world, stage: where it ended.
        level_completed: the level (full game: at least one level) was completed.
        end_reason: one of `configs.game_facts.END_REASONS`.
        reward_components: progress, clock, score, death, completion; weighted, scaled, summed.
        start: how it started.
        actions: one byte a decision: the index of the action really executed.
        delays: one byte a decision: the frames that passed before the action took hold, in which the one before it was still
            held. Empty: no decision was delayed.
    """

    reward: float
    steps: int
    frames: int
    duration_seconds: float
    distance_traveled: int
    x_pos: int
    y_pos: int
    score: int
    coins: int
    time: int
    life: int
    status: str
    world: int
    stage: int
    level_completed: bool
    end_reason: str
    reward_components: dict[str, float]
    start: EpisodeStart
    actions: bytes
    delays: bytes = b""
