"""The states of a game along a demonstration, from which episodes begin as if everything before had been played."""

from collections.abc import Mapping, Sequence

from mario_env.errors import DemonstrationError
from mario_env.nes.machine import Episode, Fleet, Snapshot, Waypoint

__all__ = ["Trails", "walk"]


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


class Trails:
    """The states along the demonstrations of a level, each of which completes it.

    With `frames` each state takes about 40 KB, so a demonstration takes some 10 MB.

    Args:
        level: its name, for messages.
        fleet, beginning: see :func:`walk`.
        demonstrations: the actions of each.
        pressed: a byte of pressed buttons for each action.

    Raises:
        DemonstrationError: one of them does not complete the level, or goes on after that.
    """

    def __init__(
        self,
        level: str,
        fleet: Fleet,
        beginning: tuple[Snapshot, Episode],
        demonstrations: Sequence[bytes],
        pressed: Mapping[int, int],
    ) -> None:
        self._waypoints: dict[bytes, list[Waypoint]] = {}
        for number, actions in enumerate(demonstrations, 1):
            waypoints = walk(fleet, beginning, [pressed[action] for action in actions])
            if len(waypoints) < len(actions) or not fleet.outcomes["levels_completed"][0]:
                which = f"the demonstration of {level}" if len(demonstrations) == 1 else f"demonstration {number} of {level}"
                raise DemonstrationError(
                    f"train.curriculum: {which} does not complete the level with the last of its {len(actions)} decisions (it "
                    f"was played {len(waypoints)} decisions far): was it played with another environment.frame_skip or "
                    "environment.rom, with sticky actions, or after idle frames?"
                )
            self._waypoints[actions] = waypoints[:-1]

    def start(self, fleet: Fleet, index: int, skipped: bytes) -> None:
        """Begin an episode after these decisions, at least 1, with which a demonstration begins, and not all of one."""
        along = next(waypoints for actions, waypoints in self._waypoints.items() if actions.startswith(skipped))
        fleet.start_at(index, along[len(skipped) - 1])
