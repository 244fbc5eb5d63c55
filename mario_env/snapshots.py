"""Snapshots of running games, from which the same games can go on, in another process too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mario_env.errors import SnapshotError

__all__ = ["GamesSnapshot", "Snapshots", "differences", "generator_state", "require_same", "set_generator_state"]


@dataclass(frozen=True)
class GamesSnapshot:
    """Everything that the future of some games depends on, between two decisions.

    Attributes:
        values: JSON types. `values["of"]` says which games these are, under which rules.
        arrays: large values, by name.
    """

    values: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]


@runtime_checkable
class Snapshots(Protocol):
    """A vectorised environment that can be saved. That of the fast emulator can, that of nes-py cannot."""

    def snapshot(self) -> GamesSnapshot:
        """The present state of the games. It can be taken between two steps, and changes nothing."""
        ...

    def restore(self, snapshot: GamesSnapshot) -> npt.NDArray[np.uint8]:
        """Restore the games, and return their observations, as `reset` does.

        Raises:
            SnapshotError: the snapshot is of other games. Nothing was changed.
        """
        ...


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """The state of a generator, as JSON types (PCG64, NumPy's default)."""
    return dict(generator.bit_generator.state)


def set_generator_state(generator: np.random.Generator, state: Mapping[str, Any]) -> None:
    """The inverse of :func:`generator_state`."""
    generator.bit_generator.state = dict(state)


def differences(taken: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """The differences between two nested mappings, as short texts "key: ... then, ... now"."""
    found = []
    for key in sorted(taken.keys() | present.keys()):
        then, now = taken.get(key), present.get(key)
        if isinstance(then, Mapping) and isinstance(now, Mapping):
            found += [f"{key}.{each}" for each in differences(then, now)]
        elif then != now:
            found.append(f"{key}: {_short(then)} then, {_short(now)} now")
    return found


def require_same(taken: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Raise SnapshotError, naming the differences, if a snapshot is not of the present games."""
    if differing := differences(taken, present):
        raise SnapshotError(f"the games were saved under other conditions ({'; '.join(differing)})")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
