"""Play that was found is made shorter and smoother, by random edits that are kept if they still complete the level.

A search plays randomly between two states, so its play presses and releases buttons without need. A policy imitates such play
badly: what it shows in one state, it does not show in a similar one.
"""

from itertools import pairwise
from typing import Final

from mario_env.search.archive import Archive
from mario_env.search.player import Player, Saved

__all__ = ["changes", "refine"]

_CHANGE: Final = 3  # decisions that a change of action is worth
_LONGEST_EDIT: Final = 6.0  # as a power of two: 64 decisions
_EXTRA: Final = 20  # decisions for which the last action is held if the edited play ends too early


def changes(actions: bytes) -> int:
    """How often the action changes from one decision to the next."""
    return sum(first != second for first, second in pairwise(actions))


def refine(archive: Archive, actions: bytes, budget: int) -> bytes:
    """Make play shorter and smoother.

    Two fifths of the budget are spent on further exploration, which often finds better play, the rest on edits of the best.

    Args:
        archive: what found the play. Its game and random numbers are used.
        actions: they complete the level.
        budget: decisions that may be played. It is exceeded by one play at most.

    Returns:
        Actions that complete the level with the last of them. They cost no more than those given, where each decision costs 1
        and each change of action 3.
    """
    player, end = archive.player, archive.player.decisions + budget
    while player.decisions < end - budget * 3 // 5:
        other = archive.explore()
        if other is not None and _cost(other) < _cost(actions):
            actions = other
    play = _Play(player, archive.start, actions)
    while player.decisions < end:
        play.try_edit(_edited(play.actions, archive))
    return play.actions


def _cost(actions: bytes) -> int:
    return len(actions) + _CHANGE * changes(actions)


def _edited(actions: bytes, archive: Archive) -> bytes:
    """A random edit: a stretch is left out, or one action is held in it, mostly the one before or the one behind it."""
    generator, count = archive.generator, len(actions)
    first = int(generator.integers(count))
    last = min(count, first + int(2 ** generator.uniform(0, _LONGEST_EDIT)))
    before, stretch, behind = actions[:first], last - first, actions[last:]
    kind = int(generator.integers(5))
    held = b""
    if kind == 0:
        held = before[-1:] * stretch
    elif kind == 1:
        held = behind[:1] * stretch
    elif kind == 2:  # both: a change of action moves
        boundary = int(generator.integers(stretch + 1))
        held = before[-1:] * boundary + behind[:1] * (stretch - boundary)
    elif kind == 3:
        held = bytes([archive.draw_action()]) * stretch
    return before + held + behind


def _common(first: bytes, second: bytes) -> int:
    """With how many equal decisions both begin."""
    both = zip(first, second, strict=False)
    return next((at for at, (one, other) in enumerate(both) if one != other), min(len(first), len(second)))


class _Play:
    """Play that completes a level, with the state before each decision, so that edits are played from where they begin."""

    def __init__(self, player: Player, start: Saved, actions: bytes) -> None:
        self._player, self.actions = player, b""
        self._states = [start]
        self._replay(0, actions)

    def try_edit(self, edited: bytes) -> None:
        """Play other actions, and keep them if they complete the level and cost no more."""
        if edited and edited != self.actions and _cost(edited) <= _cost(self.actions):
            self._replay(_common(edited, self.actions), edited)

    def _replay(self, first: int, actions: bytes) -> None:
        """Play `actions` from the decision `first` on, before which they are the same, and keep them as above."""
        player, states = self._player, self._states[: first + 1]
        player.restore(states[-1])
        actions += actions[-1:] * _EXTRA
        for at in range(first, len(actions)):
            player.play(actions[at])
            if player.ended:
                break
            states.append(player.save())
        played = actions[: at + 1]
        if player.completed and (not self.actions or _cost(played) <= _cost(self.actions)):
            self.actions, self._states = played, states
