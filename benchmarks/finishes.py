"""A search for episodes that random play does not produce: finishing a level, returning from a pipe, growing and being hit.

    python -m benchmarks.finishes [--levels 1-1 2-3] [--goals finish pipe hit] [--full 5] [--seconds 25] [--seed 0] --out FILE

The search uses snapshots of the fast emulator, like Go-Explore (Ecoffet et al. 2021, "First return, then explore"). For each
small region of a level, an archive keeps the state that reached it with the fewest decisions, and the actions that led there.
The search chooses a region, restores its state, and plays on randomly. The result are the actions of one episode of a level at
the default settings (frame skip 4, no idle frames); :func:`holds` verifies them on nes-py. `--full` searches for play that
finishes a number of levels of the full game in a row; the search for each level starts at the end of the one before.

The file is JSON, as :mod:`mario_env.demonstrations` describes it: names ("1-1", "1-1 pipe", "1-1 hit", "full"), and actions of
`complex`, of which the first seven are those of `simple`. Existing entries of the file are kept.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from configs.schema import EnvironmentConfig
from mario_env.demonstrations import DIGITS, read_plays
from mario_env.factory import make
from mario_env.fast import cartridge, start_of_game
from mario_env.nes.machine import Fleet, make_rules
from mario_env.wrappers.actions import button_combinations, pressed_buttons

__all__ = ["GOALS", "LEVELS", "Goal", "config_of", "holds", "holds_in_full", "name_of", "search"]

Goal: TypeAlias = Literal["finish", "pipe", "hit"]
Level: TypeAlias = tuple[int, int]  # world and stage
Key: TypeAlias = tuple[int, ...]

GOALS: Final[tuple[Goal, ...]] = get_args(Goal)
LEVELS: Final = tuple((world, stage) for world in range(1, 9) for stage in range(1, 5))
FRAME_SKIP: Final = 4
_DOWN: Final = 10
# Probabilities of the actions of `complex`, which favour moving right. Without pipes, only those of `simple` are used.
_WEIGHTS: Final = np.array([3, 5, 8, 28, 34, 8, 14], float)
_WEIGHTS_WITH_DOWN: Final = np.array([3, 8, 8, 20, 26, 8, 8, 3, 3, 3, 10, 3], float)

# RAM, see mario_env.memory for the rest
_ENGINE, _STATE, _PAGE, _X, _Y_HIGH, _Y = 0x000E, 0x001D, 0x006D, 0x0086, 0x00B5, 0x00CE
_LOOP_RIGHT, _LOOP_PASSED = 0x06D9, 0x06DA  # mazes: checks passed correctly, checks passed
_AREA, _STATUS, _LIVES, _STAGE, _WORLD = 0x0750, 0x0756, 0x075A, 0x075C, 0x075F


def config_of(level: Level | None, **more: Any) -> EnvironmentConfig:
    """The environment for the actions of a level, or of the full game. It has the actions `complex` and is never truncated."""
    world, stage = level or (1, 1)
    return EnvironmentConfig(
        game="level" if level else "full", world=world, stage=stage, frame_skip=FRAME_SKIP, actions="complex",
        stall_after=None, max_steps=None, **more,
    )  # fmt: skip


def name_of(level: Level, goal: Goal) -> str:
    """The name of an entry of the file."""
    return f"{level[0]}-{level[1]}" + ("" if goal == "finish" else f" {goal}")


@dataclass(slots=True)
class _Cell:
    """A region of the archive.

    Attributes:
        machine: the state of the emulator.
        actions: the actions that led there.
        past: the relevant history, see `_Search.past`.
        chosen: how often the search has continued from it.
    """

    machine: npt.NDArray[np.void]
    actions: bytes
    past: Key
    chosen: int = 0


class _Search:
    """The archive of one level, or of the level of the full game that the actions `first` lead to."""

    def __init__(self, level: Level | None, goal: Goal, generator: np.random.Generator, first: bytes = b"") -> None:
        self.goal, self.generator = goal, generator
        self.fleet = Fleet(cartridge("vanilla"), make_rules(level, frame_skip=FRAME_SKIP), 1)
        self.fleet.restore(0, start_of_game("vanilla", level))
        self.fleet.begin(0)
        self.ram = self.fleet.machines["ram"][0]
        self.buttons = pressed_buttons(button_combinations(config_of(level)))
        down = goal == "pipe" or level == (8, 4)  # the route through 8-4 leads down pipes
        weights = _WEIGHTS_WITH_DOWN if down else _WEIGHTS
        self.weights = np.cumsum(weights / weights.sum())
        self.cells: dict[Key, _Cell] = {}
        self.keys: list[Key] = []  # in the order of discovery
        for action in first:
            self.fleet.decide([self.buttons[action]])
        self.one_level, self.level = level is not None, self.number()
        self.add(first, self.past(()))

    def number(self) -> int:
        """The current level, counted from 0."""
        return int(self.ram[_WORLD]) * 4 + int(self.ram[_STAGE])

    def past(self, before: Key) -> Key:
        """The relevant history of an episode: for "pipe" the visited areas in order, for "hit" Mario's largest size."""
        if self.goal == "pipe":
            area = int(self.ram[_AREA])
            return before if before[-1:] == (area,) else (*before, area)
        if self.goal == "hit":
            return (max(*before, int(self.ram[_STATUS])) if before else int(self.ram[_STATUS]),)
        return ()

    def is_reached(self, past: Key) -> bool:
        if self.goal == "pipe":
            return len(past) > len(set(past))  # he has returned to an area
        if self.goal == "hit":
            return past[0] > 0 and self.ram[_STATUS] == 0
        return bool(self.fleet.outcomes["flag_get"][0]) if self.one_level else self.number() == self.level + 1

    def is_over(self, lives: int) -> bool:
        """Whether the search cannot continue from here. `lives` is the number of lives before."""
        if self.one_level:
            return bool(self.fleet.outcomes["terminated"][0])
        return int(self.ram[_LIVES]) != lives or self.number() != self.level  # died, or warped

    def add(self, actions: bytes, past: Key) -> bool:
        """Add the current state to the archive if its region is new, or was reached by more decisions before.

        Returns:
            Whether the region is new.
        """
        ram = self.ram
        x, y = int(ram[_PAGE]) * 256 + int(ram[_X]), int(ram[_Y_HIGH]) * 256 + int(ram[_Y])
        key = (
            int(ram[_AREA]), x // 32, y // 32, int(ram[_STATE] == 0), int(ram[_LOOP_RIGHT]), int(ram[_LOOP_PASSED]),
            int(ram[_STATUS]), *past,
        )  # fmt: skip
        known = self.cells.get(key)
        if known is None:
            self.cells[key] = _Cell(self.fleet.save(0), actions, past)
            self.keys.append(key)
            return True
        if len(actions) < len(known.actions):
            known.machine, known.actions = self.fleet.save(0), actions
        return False

    def choose(self) -> _Cell:
        """Choose a region: one of the latest, or one that was rarely chosen."""
        number = len(self.keys)
        if self.generator.random() < 0.5:
            number = min(number, 40)
        while True:
            cell = self.cells[self.keys[len(self.keys) - 1 - int(self.generator.random() * number)]]
            if self.generator.random() ** 2 * (1 + cell.chosen) < 1:
                return cell

    def explore(self) -> bytes | None:
        """Play randomly from a region. Returns the actions from the start of the level if they reach the goal, else None."""
        cell = self.choose()
        cell.chosen += 1
        self.fleet.put_back(0, cell.machine)
        actions, past = bytearray(cell.actions), cell.past
        hold = (1.2, 3.0, 8.0)[int(self.generator.integers(3))]  # swimming needs short presses, a high jump a long one
        action, lives = 0, int(self.ram[_LIVES])
        for step in range(48):
            if step == 0 or self.generator.random() * hold < 1:
                action = int(np.searchsorted(self.weights, self.generator.random()))
            self.fleet.decide([self.buttons[action]])
            actions.append(action)
            past = self.past(past)
            over = self.is_over(lives)
            if self.is_reached(past) and (self.goal == "finish" or not over):
                return bytes(actions)
            if over:
                return None
            if self.add(bytes(actions), past):
                cell.chosen = 0
        return None


def search(level: Level | None, goal: Goal, seconds: float, seed: int, first: bytes = b"") -> bytes | None:
    """Search for at most `seconds` for actions that reach `goal` in `level`.

    If `level` is None, the search is for actions that finish the level of the full game that the actions `first` lead to.

    Returns:
        The actions; None if the search failed.
    """
    archive, until = _Search(level, goal, np.random.default_rng(seed), first), time.perf_counter() + seconds
    while time.perf_counter() < until:
        actions = archive.explore()
        if actions is not None:
            return actions
    return None


def holds(level: Level, goal: Goal, actions: bytes) -> bool:
    """Whether the actions reach the goal on nes-py too, with the last action."""
    memories, infos = _replay(config_of(level, emulator="nes-py"), actions)
    if len(infos) < len(actions):
        return False
    if goal == "finish":
        return bool(infos[-1]["flag_get"]) and infos[-1].get("end_reason") == "completed"
    if "end_reason" in infos[-1]:
        return False
    if goal == "hit":
        return max(memory[_STATUS] for memory in memories) > memories[-1][_STATUS] == 0
    areas = [area for area, _ in groupby(memory[_AREA] for memory in memories)]
    return len(areas) > len(set(areas))


def holds_in_full(actions: bytes, levels: int) -> bool:
    """Whether the actions finish `levels` levels of the full game without a death on nes-py too."""
    _, infos = _replay(config_of(None, emulator="nes-py"), actions)
    last = infos[-1]
    return (last["levels_completed"], last["deaths"], 4 * (last["world"] - 1) + last["stage"] - 1) == (levels, 0, levels)


def _replay(config: EnvironmentConfig, actions: bytes) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Play an episode. Returns the RAM at its start and after each step, and the info of each step."""
    env = make(config)
    env.reset()
    memories: list[bytes] = [env.unwrapped.memory]  # type: ignore[attr-defined]
    infos: list[dict[str, Any]] = []
    for action in actions:
        _, _, terminated, _, info = env.step(action)
        memories.append(env.unwrapped.memory)  # type: ignore[attr-defined]
        infos.append(info)
        if terminated:
            break
    env.close()
    return memories, infos


def main() -> int:
    """Run the search of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", nargs="*", default=[f"{world}-{stage}" for world, stage in LEVELS], metavar="1-1")
    parser.add_argument("--goals", nargs="+", default=["finish"], choices=GOALS)
    parser.add_argument("--full", type=int, default=0, metavar="LEVELS", help="levels of the full game in a row")
    parser.add_argument("--seconds", type=float, default=25, help="time limit per goal and level")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    plays = read_plays(arguments.out) if arguments.out.exists() else {}
    missing = 0
    for goal, level in product(arguments.goals, [_level(name) for name in arguments.levels]):
        name = name_of(level, goal)
        if name not in plays:
            found = search(level, goal, arguments.seconds, arguments.seed)
            missing += not _keep(plays, name, found, found is not None and holds(level, goal, found), arguments.out)
    if arguments.full:
        found = b""
        for _ in range(arguments.full):
            found = None if found is None else search(None, "finish", arguments.seconds, arguments.seed, found)
        missing += not _keep(plays, "full", found, found is not None and holds_in_full(found, arguments.full), arguments.out)
    return int(missing > 0)


def _level(name: str) -> Level:
    world, _, stage = name.partition("-")
    if not (world.isdigit() and stage.isdigit() and (int(world), int(stage)) in LEVELS):
        raise SystemExit(f"--levels: there is no level {name!r}; levels are 1-1 to 8-4")
    return int(world), int(stage)


def _keep(plays: dict[str, bytes], name: str, found: bytes | None, verified: bool, file: Path) -> bool:
    """Print the result, and rewrite the file atomically, so that the search may be stopped at any time.

    Returns:
        Whether the result was added.
    """
    outcome = "nothing found" if found is None else f"{len(found)} decisions" + ("" if verified else ", but not on nes-py")
    sys.stdout.write(f"{name}: {outcome}\n")
    sys.stdout.flush()
    if found is None or not verified:
        return False
    plays[name] = found
    scratch = file.with_name(file.name + ".part")
    written = {name: "".join(DIGITS[action] for action in plays[name]) for name in sorted(plays)}
    scratch.write_text(json.dumps(written, indent=0) + "\n")
    os.replace(scratch, file)
    return True


if __name__ == "__main__":
    sys.exit(main())
