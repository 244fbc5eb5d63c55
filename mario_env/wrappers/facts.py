"""The facts that are read from the console's RAM at every frame, and the ends of an episode that follow from them."""

from typing import Any, Final

import gymnasium

from mario_env import memory as ram
from mario_env.console import Console, Screen

__all__ = ["COUNTS", "MemoryFacts"]

COUNTS: Final = ("frame_count", "progress", "distance", "deaths", "time_ups", "levels_completed")

_FASTEST = 8  # pixels a frame; running is 3, a spring or a ledge adds less than the rest


class MemoryFacts(gymnasium.Wrapper[Screen, Any, Screen, Any]):
    """Puts the facts of the RAM into info, counts what happened since the reset, and ends the episode.

    For the facts see :func:`mario_env.memory.read_facts`. The counts since the reset are:

    - frame_count: frames played.
    - progress: pixels *moved* beyond the furthest x so far in the area that the player is in, summed over areas. An area is
      a part of the game with an x axis of its own: a level, each of its bonus rooms, the water of 8-4
      (:func:`mario_env.memory.area`). Jumps of the position do not count: behind a pipe the x may be a thousand pixels on
      (1-1), the mazes of 4-4, 7-4 and 8-4 put the player four pages back, and a lost life puts him back to the start or the
      middle of the level. The furthest x of an area is kept when the player leaves it, so that nothing is paid for twice.
    - distance: pixels from where an area was first entered to its furthest x, summed over areas. Jumps of the position within
      an area do count here.
    - deaths, time_ups: lives lost, and how many of them because the clock ran out.
    - levels_completed: levels left for a later one (by flag, axe or warp pipe; a warp pipe counts once, however many worlds it
      skips), and 8-4 by its axe.

    A game of one level terminates when its life is lost ("died", "timed_out") or the level is completed ("completed": by flag,
    axe, or a warp pipe to another level). The full game terminates when its last life is lost ("game_over") or the last
    princess is saved ("completed"). `info["end_reason"]` is the reason. The facts of that step are those of the frame in which
    it happened.
    """

    def __init__(self, env: gymnasium.Env[Screen, Any], *, one_level: bool) -> None:
        super().__init__(env)
        console = env.unwrapped
        assert isinstance(console, Console)
        self._console = console
        self._one_level = one_level

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Start counting from 0."""
        screen, info = self.env.reset(seed=seed, options=options)
        memory = self._console.memory
        self._frame_count = self._progress = self._deaths = self._time_ups = self._completed = 0
        self._furthest: dict[tuple[int, int], tuple[int, int]] = {}  # by level and area: x where it was entered, furthest x
        self._arrive(memory)
        return screen, {**info, **ram.read_facts(memory), **self._counts()}

    def step(self, action: int) -> tuple[Screen, float, bool, bool, dict[str, Any]]:
        """Play one frame."""
        screen, _, _, truncated, info = self.env.step(action)
        frame, memory = self._console.frame_memory, self._console.memory
        self._frame_count += 1
        self._move(frame)
        reason = self._end_reason(frame, memory)
        self._arrive(memory)
        facts = ram.read_facts(frame if reason else memory)
        if reason in ("died", "timed_out", "game_over"):
            facts["life"] = max(0, facts["life"] - 1)  # the game takes the life only after the frame
        info = {**info, **facts, **self._counts()}
        if reason:
            info["end_reason"] = reason
        return screen, 0.0, reason is not None, truncated, info

    def restart_counts(self) -> dict[str, int]:
        """Count from 0 again, without forgetting how far the player has come; returns the counts."""
        self._frame_count = self._progress = self._deaths = self._time_ups = self._completed = 0
        self._furthest = {place: (furthest, furthest) for place, (_, furthest) in self._furthest.items()}
        return self._counts()

    def _counts(self) -> dict[str, int]:
        return {
            "frame_count": self._frame_count,
            "progress": self._progress,
            "distance": sum(furthest - start for start, furthest in self._furthest.values()),
            "deaths": self._deaths,
            "time_ups": self._time_ups,
            "levels_completed": self._completed,
        }

    def _move(self, frame: bytes) -> None:
        """Count the pixels moved during the frame itself."""
        x, place = ram.x_position(frame), (ram.level(frame), ram.area(frame))
        start, furthest = self._furthest.get(place, (x, x))
        if place == self._place and abs(x - self._x) <= _FASTEST:
            self._progress += max(0, x - furthest)
        self._furthest[place] = start, max(furthest, x)

    def _arrive(self, memory: bytes) -> None:
        """Note where the player is after the scenes that were skipped after the frame."""
        self._x, self._place = ram.x_position(memory), (ram.level(memory), ram.area(memory))
        start, furthest = self._furthest.get(self._place, (self._x, self._x))
        self._furthest[self._place] = start, max(furthest, self._x)

    def _end_reason(self, frame: bytes, memory: bytes) -> str | None:
        if ram.is_dying(frame):
            self._deaths += 1
            self._time_ups += ram.is_time_up(frame)
            if self._one_level:
                return "timed_out" if ram.is_time_up(frame) else "died"
            return "game_over" if ram.is_game_over(memory) else None
        done = ram.is_flag_reached(frame) if self._one_level else ram.is_last_princess_saved(frame)
        if done or ram.level(memory) > self._place[0]:
            self._completed += 1
            return "completed" if done or self._one_level else None
        return None
