"""Finds play that random play does not: that finishes levels, goes through pipes and comes back, grows and is hit.

    python -m benchmarks.finishes [--levels 1-1 2-3] [--goals finish pipe hit] [--full 5] [--seconds 25] [--seed 0] --out FILE

A search with snapshots on the fast emulator, after Go-Explore (Ecoffet et al. 2021, "First return, then explore"): an archive
keeps, for each small region of a level, the state in which it was reached by the fewest decisions, and how. A region is chosen,
its state put back, and played on from at random. What is found are the actions of one episode of a level at the default
settings: frame skip 4, no idling; :func:`holds` plays them again on nes-py. `--full` looks for play that finishes so many
levels of the full game one after the other: each is searched for from where the one before it was left.

The file is JSON: a name ("1-1", "1-1 pipe", "1-1 hit", "full") and its actions, one character each: the index in `complex`'s
action set in base 12, of which `simple` is the first seven. What the file holds already is kept.
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
from mario_env.factory import make
from mario_env.fast import cartridge, start_of_game
from mario_env.nes.machine import Fleet, make_rules
from mario_env.wrappers.actions import button_combinations, pressed_buttons

__all__ = ["FINISHES", "GOALS", "LEVELS", "Goal", "config_of", "holds", "holds_in_full", "name_of", "read_plays", "search"]

Goal: TypeAlias = Literal["finish", "pipe", "hit"]
Level: TypeAlias = tuple[int, int]  # world and stage
Key: TypeAlias = tuple[int, ...]

FINISHES: Final = Path(__file__).parents[1] / "tests" / "mario_env" / "data" / "finishes.json"
GOALS: Final[tuple[Goal, ...]] = get_args(Goal)
LEVELS: Final = tuple((world, stage) for world in range(1, 9) for stage in range(1, 5))
DIGITS: Final = "0123456789ab"
FRAME_SKIP: Final = 4
_DOWN: Final = 10
# How likely each action of `complex` is; only what goes down pipes is given more than `simple`. The way is to the right.
_WEIGHTS: Final = np.array([3, 5, 8, 28, 34, 8, 14], float)
_WEIGHTS_WITH_DOWN: Final = np.array([3, 8, 8, 20, 26, 8, 8, 3, 3, 3, 10, 3], float)

# RAM, see mario_env.memory for the rest
_ENGINE, _STATE, _PAGE, _X, _Y_HIGH, _Y = 0x000E, 0x001D, 0x006D, 0x0086, 0x00B5, 0x00CE
_LOOP_RIGHT, _LOOP_PASSED = 0x06D9, 0x06DA  # of mazes: checks passed rightly, checks passed
_AREA, _STATUS, _LIVES, _STAGE, _WORLD = 0x0750, 0x0756, 0x075A, 0x075C, 0x075F


def config_of(level: Level | None, **more: Any) -> EnvironmentConfig:
    """The settings that the actions of a level, or of the full game, were found for: they are indices in `complex`, and nothing
    ends them early."""
    world, stage = level or (1, 1)
    return EnvironmentConfig(
        game="level" if level else "full", world=world, stage=stage, frame_skip=FRAME_SKIP, actions="complex",
        stall_after=None, max_steps=None, **more,
    )  # fmt: skip


def name_of(level: Level, goal: Goal) -> str:
    """The name of a play in the file."""
    return f"{level[0]}-{level[1]}" + ("" if goal == "finish" else f" {goal}")


def read_plays(file: Path = FINISHES) -> dict[str, bytes]:
    """The plays of a file: a name and the indices of its actions."""
    return {name: bytes(int(action, 12) for action in actions) for name, actions in json.loads(file.read_text()).items()}


@dataclass(slots=True)
class _Cell:
    """A region that was reached: the machine, how it came there, what happened on the way, how often it was played on from."""

    machine: npt.NDArray[np.void]
    actions: bytes
    past: Key
    chosen: int = 0


class _Search:
    """The archive of one level, or of the level of the full game to which the actions `first` lead."""

    def __init__(self, level: Level | None, goal: Goal, generator: np.random.Generator, first: bytes = b"") -> None:
        self.goal, self.generator = goal, generator
        self.fleet = Fleet(cartridge("vanilla"), make_rules(level, frame_skip=FRAME_SKIP), 1)
        self.fleet.restore(0, start_of_game("vanilla", level))
        self.fleet.begin(0)
        self.ram = self.fleet.machines["ram"][0]
        self.buttons = pressed_buttons(button_combinations(config_of(level)))
        down = goal == "pipe" or level == (8, 4)  # the way through 8-4 leads down pipes
        weights = _WEIGHTS_WITH_DOWN if down else _WEIGHTS
        self.weights = np.cumsum(weights / weights.sum())
        self.cells: dict[Key, _Cell] = {}
        self.keys: list[Key] = []  # in the order of discovery
        for action in first:
            self.fleet.decide([self.buttons[action]])
        self.one_level, self.level = level is not None, self.number()
        self.add(first, self.past(()))

    def number(self) -> int:
        """The level that is played, counted from 0."""
        return int(self.ram[_WORLD]) * 4 + int(self.ram[_STAGE])

    def past(self, before: Key) -> Key:
        """What of a play's past counts: for "pipe" the areas seen in order, for "hit" whether he was big."""
        if self.goal == "pipe":
            area = int(self.ram[_AREA])
            return before if before[-1:] == (area,) else (*before, area)
        if self.goal == "hit":
            return (max(*before, int(self.ram[_STATUS])) if before else int(self.ram[_STATUS]),)
        return ()

    def is_reached(self, past: Key) -> bool:
        if self.goal == "pipe":
            return len(past) > len(set(past))  # back in an area that he has left
        if self.goal == "hit":
            return past[0] > 0 and self.ram[_STATUS] == 0
        return bool(self.fleet.outcomes["flag_get"][0]) if self.one_level else self.number() == self.level + 1

    def is_over(self, lives: int) -> bool:
        """Whether there is nothing more to find, where there were so many lives before."""
        if self.one_level:
            return bool(self.fleet.outcomes["terminated"][0])
        return int(self.ram[_LIVES]) != lives or self.number() != self.level  # died, or warped

    def add(self, actions: bytes, past: Key) -> bool:
        """Keep the present state if its region is new, or was reached by more decisions; whether it is new."""
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
        """A region: one of the latest, or one that was rarely played on from."""
        number = len(self.keys)
        if self.generator.random() < 0.5:
            number = min(number, 40)
        while True:
            cell = self.cells[self.keys[len(self.keys) - 1 - int(self.generator.random() * number)]]
            if self.generator.random() ** 2 * (1 + cell.chosen) < 1:
                return cell

    def explore(self) -> bytes | None:
        """Play on from a region at random; the actions from the level's start, if they reach the goal."""
        cell = self.choose()
        cell.chosen += 1
        self.fleet.put_back(0, cell.machine)
        actions, past = bytearray(cell.actions), cell.past
        hold = (1.2, 3.0, 8.0)[int(self.generator.integers(3))]  # swimming is short strokes, a high jump a long press
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
    """Look for play that reaches a goal in a level, for so long; its actions, or None.

    Without a level: for play that finishes the level of the full game to which the actions `first` lead.
    """
    archive, until = _Search(level, goal, np.random.default_rng(seed), first), time.perf_counter() + seconds
    while time.perf_counter() < until:
        actions = archive.explore()
        if actions is not None:
            return actions
    return None


def holds(level: Level, goal: Goal, actions: bytes) -> bool:
    """Whether nes-py, too, says that these actions reach the goal, with the last of them."""
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
    """Whether nes-py, too, says that these actions finish so many levels of the full game without a death."""
    _, infos = _replay(config_of(None, emulator="nes-py"), actions)
    last = infos[-1]
    return (last["levels_completed"], last["deaths"], 4 * (last["world"] - 1) + last["stage"] - 1) == (levels, 0, levels)


def _replay(config: EnvironmentConfig, actions: bytes) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Play an episode: the RAM from its start on, and the info of each step."""
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
    """Search as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", nargs="*", default=[f"{world}-{stage}" for world, stage in LEVELS], metavar="1-1")
    parser.add_argument("--goals", nargs="+", default=["finish"], choices=GOALS)
    parser.add_argument("--full", type=int, default=0, metavar="LEVELS", help="of the full game, one after the other")
    parser.add_argument("--seconds", type=float, default=25, help="for one goal in one level")
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
    """Print what was found and write the file anew, in one step, so that the search may be ended at any time."""
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
