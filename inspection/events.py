"""What happens in an episode: coins, power-ups, pipes, deaths, goals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from configs.game_facts import STATUSES

__all__ = ["Event", "find_events"]

Kind = Literal["coin", "power-up", "hurt", "1-up", "pipe", "level", "death", "goal", "cut off"]

_CUT_OFF: Final = {"stalled": "cut off: no progress", "step_limit": "cut off: step limit"}
_COINS_OF_A_LIFE: Final = 100


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        frame: in which frame of the episode.
        kind: what, as a word.
        text: what, for people.
    """

    frame: int
    kind: Kind
    text: str


def find_events(infos: Sequence[Mapping[str, Any]], areas: Sequence[int], end_reason: str) -> tuple[Event, ...]:
    """The events of an episode, in order.

    Args:
        infos: of each frame, with the facts and counts of :class:`mario_env.wrappers.MemoryFacts`.
        areas: of each frame, :func:`mario_env.memory.area`.
        end_reason: why it ended.
    """
    found: list[Event] = []
    # The first frame has none before it; a life or a level is not lost or won in a single frame.
    for frame, (before, now) in enumerate(pairwise(infos), start=1):
        found += [Event(frame, kind, text) for kind, text in _between(before, now, areas[frame - 1] != areas[frame])]
    if end_reason in _CUT_OFF:
        found.append(Event(len(infos) - 1, "cut off", _CUT_OFF[end_reason]))
    return tuple(found)


def _between(before: Mapping[str, Any], now: Mapping[str, Any], moved: bool) -> list[tuple[Kind, str]]:
    """What happened between two frames."""
    found: list[tuple[Kind, str]] = []
    died = now["deaths"] > before["deaths"]
    if (coins := (now["coins"] - before["coins"]) % _COINS_OF_A_LIFE) and not died:
        found.append(("coin", f"{coins} coin{'s' * (coins != 1)}"))
    if (grown := STATUSES.index(now["status"]) - STATUSES.index(before["status"])) and not died:
        found.append(("power-up", f"becomes {now['status']}") if grown > 0 else ("hurt", f"hurt, is {now['status']} again"))
    if now["life"] > before["life"]:
        found.append(("1-up", "an extra life"))
    if now["levels_completed"] > before["levels_completed"]:
        found.append(("goal", "reaches the goal"))
    if died:
        found.append(("death", "dies: time is up" if now["time_ups"] > before["time_ups"] else "dies"))
    elif (now["world"], now["stage"]) != (before["world"], before["stage"]):
        found.append(("level", f"enters {now['world']}-{now['stage']}"))
    elif moved:
        found.append(("pipe", "enters another area"))
    return found
