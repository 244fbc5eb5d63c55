"""The summary of an episode that has ended."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from configs.levels import LEVEL_NAME
from mario_env.memory import FACTS

__all__ = ["EpisodeStart", "EpisodeSummary", "summarise"]

_HEXADECIMAL: Final = re.compile("([0-9a-f]{2})*")


@dataclass(frozen=True)
class EpisodeStart:
    """The start of an episode. Together with the actions it determines the episode, since the game is deterministic.

    Attributes:
        noop_frames: idle frames between the reset and the first decision.
        level: world and stage, such as "1-2", where the configuration has several levels; else None.
        demonstration: the actions of a demonstration, one byte a decision, that were played before the first decision. They
            count in nothing. Empty: the episode began at the level's start.
    """

    noop_frames: int = 0
    level: str | None = None
    demonstration: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without the keys that have nothing to say."""
        value: dict[str, Any] = {"noop_frames": self.noop_frames}
        if self.level is not None:
            value["level"] = self.level
        if self.demonstration:
            value["demonstration"] = self.demonstration.hex()
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: the object is not one that :meth:`to_json` wrote.
        """
        count, level, played = value.get("noop_frames"), value.get("level"), value.get("demonstration", "")
        named = "level" not in value or (isinstance(level, str) and LEVEL_NAME.fullmatch(level))
        known = not value.keys() - {"noop_frames", "level", "demonstration"}
        if (
            not isinstance(count, int) or isinstance(count, bool) or count < 0 or not named or not known
            or not isinstance(played, str) or not _HEXADECIMAL.fullmatch(played)
        ):  # fmt: skip
            raise ValueError(
                'an episode\'s start is {"noop_frames": <0 or more>}, with "level": "<world>-<stage>" where there are several, '
                f'and "demonstration": "<actions>" where it did not begin at the level\'s start, not {value!r}'
            )
        return cls(noop_frames=count, level=level, demonstration=bytes.fromhex(played))


@dataclass(frozen=True)
class EpisodeSummary:
    """One episode, from the first decision to its end. All numbers are Python's own.

    Attributes:
        reward: the sum of `reward_components`.
        steps: decisions.
        frames: emulator frames of these decisions. Idle frames at the start and skipped scenes are not counted.
        duration_seconds: wall-clock time.
        distance_traveled: pixels from the start of a level to the furthest x in it, summed over levels.
        x_pos, y_pos: pixels, at the end: where the player died or reached the goal.
        score, coins, time: at the end; time in units of the game's clock.
        life: lives left, including the current one (a level starts with the game's three); 0 at game over.
        status: "small", "tall" or "fireball".
        world, stage: where it ended.
        level_completed: the level (full game: at least one level) was completed.
        end_reason: one of `configs.game_facts.END_REASONS`.
        reward_components: by name (`mario_env.wrappers.REWARD_COMPONENTS`); weighted, scaled, summed.
        start: how it started.
        actions: one byte a decision: the index of the action that was executed.
        delays: one byte a decision: the frames that passed before the action took hold. Until then the buttons of an earlier
            action stayed pressed. Empty: no decision was delayed.
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


_END_FACTS = tuple(field.name for field in fields(EpisodeSummary) if field.name in FACTS)


def summarise(
    info: dict[str, Any],
    components: Mapping[str, float],
    *,
    started: float,
    start: EpisodeStart,
    actions: Sequence[int],
    delays: Sequence[int],
) -> None:
    """Complete the info of an episode's last decision.

    It gets `end_reason`, unless it has one; `episode_summary` (:class:`EpisodeSummary`); and `episode`, the dictionary of
    reward `r`, length `l` and seconds `t` that stable-baselines3 reads for its statistics.

    Args:
        info: has the facts and counts of the last decision.
        components: the sums of the reward's components.
        started: the reading of `time.perf_counter` at the first decision.
        start: how the episode started.
        actions, delays: of each decision, see :class:`EpisodeSummary`.
    """
    # Only Gymnasium's TimeLimit truncates without naming its reason.
    info.setdefault("end_reason", "step_limit")
    summary = EpisodeSummary(
        reward=sum(components.values()),
        steps=len(actions),
        frames=info["frame_count"],
        duration_seconds=time.perf_counter() - started,
        distance_traveled=info["distance"],
        **{name: info[name] for name in _END_FACTS},
        level_completed=info["levels_completed"] > 0,
        end_reason=info["end_reason"],
        reward_components=dict(components),
        start=start,
        actions=bytes(actions),
        delays=bytes(delays) if any(delays) else b"",
    )
    info["episode_summary"] = summary
    info["episode"] = {"r": summary.reward, "l": summary.steps, "t": round(summary.duration_seconds, 6)}
