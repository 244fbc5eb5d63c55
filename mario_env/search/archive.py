"""Exploration with an archive of states, like Go-Explore (Ecoffet et al. 2021, "First return, then explore").

For each small region of a level, the archive keeps the state that reached it with the fewest decisions, and the actions that
led there. Each exploration chooses a region, restores its state, and plays on randomly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from configs.schema import EnvironmentConfig
from mario_env.errors import SearchError
from mario_env.search.player import Player, Saved
from mario_env.wrappers.actions import button_combinations

__all__ = ["Archive", "Key"]

Key: TypeAlias = tuple[int, ...]

_LONGEST: Final = 48  # decisions of one exploration
_LATEST: Final = 40  # regions that every other exploration chooses from
_HOLDS: Final = (1.2, 3.0, 8.0)  # mean decisions of an action: swimming needs short presses, a high jump a long one

# RAM, see mario_env.memory for the rest
_STATE, _PAGE, _X, _Y_HIGH, _Y = 0x001D, 0x006D, 0x0086, 0x00B5, 0x00CE
_LOOP_RIGHT, _LOOP_PASSED = 0x06D9, 0x06DA  # mazes: checks passed correctly, checks passed
_AREA, _STATUS = 0x0750, 0x0756

_COMPLEX: Final = [frozenset(each) for each in button_combinations(EnvironmentConfig(actions="complex"))]
# How often an action is drawn, by its buttons; most of them move right. Where none presses down, pipes do not matter.
_WEIGHTS: Final = dict(zip(_COMPLEX, (3, 5, 8, 28, 34, 8, 14, 3, 3, 3, 0, 3), strict=True))
_WEIGHTS_WITH_DOWN: Final = dict(zip(_COMPLEX, (3, 8, 8, 20, 26, 8, 8, 3, 3, 3, 10, 3), strict=True))


def action_weights(combinations: Sequence[Sequence[str]]) -> npt.NDArray[np.float64]:
    """The cumulative probabilities with which the search draws the actions of an environment.

    An action that is none of the set `complex` is never drawn, since no demonstration can have it.

    Raises:
        SearchError: none of the actions can be drawn.
    """
    pressed = [frozenset(each) for each in combinations]
    table: Mapping[frozenset[str], int] = _WEIGHTS_WITH_DOWN if frozenset({"down"}) in pressed else _WEIGHTS
    weights = np.array([table.get(each, 0) for each in pressed], float)
    if not weights.any():
        raise SearchError(
            "no action of environment.actions is one of the action set complex, in which demonstrations are written"
        )
    return np.cumsum(weights / weights.sum())


@dataclass(slots=True)
class _Cell:
    """A region of the archive.

    Attributes:
        state: of the emulator.
        actions: that led there.
        past: the relevant history, see :meth:`Archive.past`.
        chosen: how often the search has continued from it without finding a new region.
    """

    state: Saved
    actions: bytes
    past: Key
    chosen: int = 0


class Archive:
    """The regions of a level that were reached. A subclass may search for something else than the end of the level.

    Args:
        player: a game of the level.
        generator: of the random numbers.
        first: actions that are played before the search begins.

    Attributes:
        start: the state in which the search begins.
        furthest: the largest x in pixels that was reached.
    """

    def __init__(self, player: Player, generator: np.random.Generator, first: bytes = b"") -> None:
        self.player, self.generator = player, generator
        self._weights = action_weights(player.combinations)
        self._cells: dict[Key, _Cell] = {}
        self._keys: list[Key] = []  # in the order of discovery
        for action in first:
            player.play(action)
        self.start, self.furthest = player.save(), 0
        self._add(first, self.past(()))

    def past(self, before: Key) -> Key:
        """The history that tells states of a region apart, after a decision. `before` is that before the decision."""
        return ()

    def is_reached(self, past: Key) -> bool:
        """Whether the last decision has reached what is searched for."""
        return self.player.completed

    def is_over(self) -> bool:
        """Whether the search cannot continue from here."""
        return self.player.ended

    def draw_action(self) -> int:
        """A random action."""
        return int(np.searchsorted(self._weights, self.generator.random()))

    def explore(self) -> bytes | None:
        """Play randomly from a region. Returns the actions from the start of the level if they reach the goal, else None."""
        cell, player = self._choose(), self.player
        cell.chosen += 1
        player.restore(cell.state)
        actions, past = bytearray(cell.actions), cell.past
        hold = _HOLDS[int(self.generator.integers(len(_HOLDS)))]
        action = 0
        for step in range(_LONGEST):
            if step == 0 or self.generator.random() * hold < 1:
                action = self.draw_action()
            player.play(action)
            actions.append(action)
            past = self.past(past)
            if self.is_reached(past):
                return bytes(actions)
            if self.is_over():
                return None
            if self._add(bytes(actions), past):
                cell.chosen = 0
        return None

    def _add(self, actions: bytes, past: Key) -> bool:
        """Add the present state if its region is new, or was reached by more decisions before; returns whether it is new."""
        ram = self.player.ram
        x, y = int(ram[_PAGE]) * 256 + int(ram[_X]), int(ram[_Y_HIGH]) * 256 + int(ram[_Y])
        key = (
            int(ram[_AREA]), x // 32, y // 32, int(ram[_STATE] == 0), int(ram[_LOOP_RIGHT]), int(ram[_LOOP_PASSED]),
            int(ram[_STATUS]), *past,
        )  # fmt: skip
        known = self._cells.get(key)
        if known is None:
            self._cells[key] = _Cell(self.player.save(), actions, past)
            self._keys.append(key)
            self.furthest = max(self.furthest, x)
            return True
        if len(actions) < len(known.actions):
            known.state, known.actions = self.player.save(), actions
        return False

    def _choose(self) -> _Cell:
        """Choose a region: one of the latest, or one that was rarely chosen."""
        number = len(self._keys)
        if self.generator.random() < 0.5:
            number = min(number, _LATEST)
        while True:
            cell = self._cells[self._keys[len(self._keys) - 1 - int(self.generator.random() * number)]]
            if self.generator.random() ** 2 * (1 + cell.chosen) < 1:
                return cell
