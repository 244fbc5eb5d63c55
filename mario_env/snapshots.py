"""Games in the midst of their episodes, written down, so that others can go on from there as if they were the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mario_env.errors import SnapshotError

__all__ = ["GamesSnapshot", "Snapshots", "differences", "generator_state", "require_same", "set_generator_state"]


@dataclass(frozen=True)
class GamesSnapshot:
    """All that the future of some games depends on, between two decisions.

    Attributes:
        values: JSON types; `values["of"]` says of which games, under which rules.
        arrays: what is large, by name.
    """

    values: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]


@runtime_checkable
class Snapshots(Protocol):
    """A vectorised environment whose games can be written down. Those of the fast emulator can, nes-py's cannot."""

    def snapshot(self) -> GamesSnapshot:
        """What the games are now; between two steps only. Taking it changes nothing."""
        ...

    def restore(self, snapshot: GamesSnapshot) -> npt.NDArray[np.uint8]:
        """Make the games what they were; returns their observations, as `reset` does.

        Raises:
            SnapshotError: it is of other games; nothing was changed.
        """
        ...


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """What a generator will draw, as JSON types (PCG64, NumPy's default)."""
    return dict(generator.bit_generator.state)


def set_generator_state(generator: np.random.Generator, state: Mapping[str, Any]) -> None:
    """The inverse of :func:`generator_state`."""
    generator.bit_generator.state = dict(state)


def differences(taken: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """What differs between two nested mappings, as "key: then, now"; short for a person to read."""
    found = []
    for key in sorted(taken.keys() | present.keys()):
        then, now = taken.get(key), present.get(key)
        if isinstance(then, Mapping) and isinstance(now, Mapping):
            found += [f"{key}.{each}" for each in differences(then, now)]
        elif then != now:
            found.append(f"{key}: {_short(then)} then, {_short(now)} now")
    return found


def require_same(taken: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Raise SnapshotError, naming what differs, if a snapshot is not of the games that are there."""
    if differing := differences(taken, present):
        raise SnapshotError(f"the games were saved under other conditions ({'; '.join(differing)})")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
