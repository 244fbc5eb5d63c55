"""Demonstrations: play that completes a level, and the states along it, from which episodes can begin.

`finishes.json` maps names ("1-1", "1-1 pipe", "full") to play that a search has found (`benchmarks/finishes.py`). An action is
one character, its index in the action set `complex` in base 12, and lasts four frames.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from configs.schema import EnvironmentConfig
from mario_env.errors import DemonstrationError
from mario_env.wrappers.actions import button_combinations

__all__ = ["DIGITS", "FINISHES", "decode", "demonstrations_of", "encode", "read_plays"]

FINISHES: Final = Path(__file__).with_name("finishes.json")
DIGITS: Final = "0123456789ab"

_COMPLEX: Final = [frozenset(each) for each in button_combinations(EnvironmentConfig(actions="complex"))]


def read_plays(file: Path = FINISHES) -> dict[str, bytes]:
    """The entries of a file: for each name the actions, as indices in the action set `complex`."""
    return {name: decode(actions) for name, actions in json.loads(file.read_text()).items()}


def decode(actions: str) -> bytes:
    """Actions from their characters."""
    return bytes(int(action, len(DIGITS)) for action in actions)


def encode(config: EnvironmentConfig, actions: Sequence[int]) -> str:
    """The actions of an environment as the characters of a demonstration.

    Raises:
        DemonstrationError: an action presses buttons that none of `complex` does.
    """
    combinations = [frozenset(each) for each in button_combinations(config)]
    for combination in dict.fromkeys(combinations[action] for action in actions):
        if combination not in _COMPLEX:
            raise DemonstrationError(
                f"the action {'+'.join(sorted(combination))} is not one of the action set complex, in which demonstrations "
                "are written"
            )
    return "".join(DIGITS[_COMPLEX.index(combinations[action])] for action in actions)


def demonstrations_of(config: EnvironmentConfig, given: Mapping[str, Sequence[str]]) -> dict[str, tuple[bytes, ...]]:
    """The demonstrations of each level of an environment, as its own actions.

    Args:
        config: the environment.
        given: demonstrations by level; the one of another level comes from `finishes.json`.

    Raises:
        DemonstrationError: a demonstration presses buttons that none of the environment's actions does.
    """
    plays = read_plays()
    return {
        level: tuple(_translated(config, level, actions) for actions in map(decode, given.get(level, [])))
        or (_translated(config, level, plays[level]),)
        for level in config.level_names
    }


def _translated(config: EnvironmentConfig, level: str, actions: bytes) -> bytes:
    own = [frozenset(each) for each in button_combinations(config)]
    for action in dict.fromkeys(actions):
        if _COMPLEX[action] not in own:
            raise DemonstrationError(
                f"train.curriculum: the demonstration of {level} presses {'+'.join(sorted(_COMPLEX[action]))}, which no action "
                f"of environment.actions ({config.actions}) does: set environment.actions to complex, or give another "
                "demonstration in train.curriculum.demonstrations"
            )
    return bytes(own.index(_COMPLEX[action]) for action in actions)
