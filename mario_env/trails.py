"""The states of a game along a demonstration, from which episodes begin as if everything before had been played."""

from collections.abc import Sequence

from mario_env.errors import DemonstrationError
from mario_env.nes.machine import Episode, Fleet, Snapshot, Waypoint

__all__ = ["Trail", "walk"]


def walk(fleet: Fleet, beginning: tuple[Snapshot, Episode], buttons: Sequence[int]) -> list[Waypoint]:
    """Play some decisions from the start of a level.

    Args:
        fleet: one machine, with the rules and the observation of the games whose episodes are to begin on the way.
        beginning: where the level starts.
        buttons: a byte of pressed buttons for each decision.

    Returns:
        The state after each decision up to the end of the level, or of the player's life.
    """
    fleet.restore(0, beginning[0])
    fleet.resume(0, beginning[1])
    found = []
    for pressed in buttons:
        fleet.decide([pressed])
        found.append(fleet.waypoint(0))
        if fleet.outcomes["terminated"][0]:
            break
    return found


class Trail:
    """The states along a demonstration that completes a level.

    With `frames` each state takes about 40 KB, so a demonstration takes some 10 MB.

    Args:
        level: its name, for messages.
        fleet, beginning: see :func:`walk`.
        buttons: of the demonstration.

    Raises:
        DemonstrationError: it does not complete the level, or goes on after that.
    """

    def __init__(self, level: str, fleet: Fleet, beginning: tuple[Snapshot, Episode], buttons: Sequence[int]) -> None:
        waypoints = walk(fleet, beginning, buttons)
        if len(waypoints) < len(buttons) or not fleet.outcomes["levels_completed"][0]:
            raise DemonstrationError(
                f"train.curriculum: the demonstration of {level} does not complete the level with the last of its "
                f"{len(buttons)} decisions (it was played {len(waypoints)} decisions far): was it played with another "
                "environment.frame_skip or environment.rom, with sticky actions, or after idle frames?"
            )
        self._waypoints = waypoints[:-1]

    def start(self, fleet: Fleet, index: int, decisions: int) -> None:
        """Begin an episode after so many decisions of the demonstration, at least 1, and fewer than there are."""
        fleet.start_at(index, self._waypoints[decisions - 1])
