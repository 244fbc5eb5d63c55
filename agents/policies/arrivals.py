"""The pictures with which a policy of one level begins in the full game: as its own training began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

_NEVER: Final = 1_000_000  # decisions: long ago


class Arrivals:
    """Begins the stack of frames anew where a game comes to a level, or a new life begins in it.

    A game of one level begins with its first picture in all places of the stack. In the full game the older places show what
    came before: the castle behind the last flagpole, or how the last life ended. No policy of a level knows such a stack. So
    these pictures are replaced by the first one of the level. From the second decision on that one is left out, too: a picture
    is the maximum of a decision's last two frames, and one of the two may lie before the arrival.

    Other things differ from the start of a level, and stay as they are: Mario may be tall or have fire, the status bar has the
    score so far, a new life may begin halfway, and the counters by which enemies move are a few frames apart.

    Rows are games. Row i is the same game in every call.
    """

    def __init__(self) -> None:
        self._places: dict[int, tuple[Any, ...]] = {}
        self._decisions: dict[int, int] = {}  # since the arrival

    def begin_anew(self, observations: NDArray[Any], infos: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
        """The observations without what lies before an arrival.

        Args:
            observations: (n, frames, height, width), the newest frame last.
            infos: of each game, from its last step or reset: world, stage, deaths and frame_count.

        Returns:
            The same array where no game has just arrived, else a copy.
        """
        shown = observations
        for row, info in enumerate(infos):
            known = min(max(1, self._decisions_since_arrival(row, info)), observations.shape[1])
            if known < observations.shape[1]:
                shown = observations.copy() if shown is observations else shown
                shown[row, :-known] = observations[row, -known]
        return shown

    def _decisions_since_arrival(self, row: int, info: Mapping[str, Any]) -> int:
        place = (info["world"], info["stage"], info["deaths"])
        if info["frame_count"] == 0:
            self._decisions[row] = _NEVER  # the environment itself has just begun the stack
        else:
            self._decisions[row] = self._decisions[row] + 1 if self._places.get(row) == place else 0
        self._places[row] = place
        return self._decisions[row]
