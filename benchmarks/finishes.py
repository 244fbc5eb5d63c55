"""A search for episodes that random play does not produce: finishing a level, returning from a pipe, growing and being hit.

    python -m benchmarks.finishes [--levels 1-1] [--goals finish pipe hit] [--full 5] [--decisions 300000] [--seed 0] --out FILE

The search is that of :mod:`mario_env.search`, and what it finds stays as it was found. The result is the actions of an episode
of a level at the default settings (frame skip 4, no idle frames); :func:`holds` verifies them on nes-py. `--full` searches for
play that finishes a number of levels of the full game in a row; the search for each level starts at the end of the one before.

The file is JSON, as :mod:`mario_env.demonstrations` describes it: names ("1-1", "1-1 pipe", "1-1 hit", "full"), and actions of
`complex`, of which the first seven are those of `simple`. Existing entries of the file are kept.
"""

import argparse
import json
import os
import sys
from itertools import groupby, product
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from configs.schema import EnvironmentConfig
from mario_env.demonstrations import DIGITS, read_plays
from mario_env.factory import make
from mario_env.search import Archive, Player
from mario_env.search.archive import Key

__all__ = ["GOALS", "LEVELS", "Goal", "config_of", "holds", "holds_in_full", "name_of", "search"]

Goal: TypeAlias = Literal["finish", "pipe", "hit"]
Level: TypeAlias = tuple[int, int]  # world and stage

GOALS: Final[tuple[Goal, ...]] = get_args(Goal)
LEVELS: Final = tuple((world, stage) for world in range(1, 9) for stage in range(1, 5))
FRAME_SKIP: Final = 4

# RAM, see mario_env.memory for the rest
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


class _Pipe(Archive):
    """Searches for play that returns to an area. Its history are the visited areas in order."""

    def past(self, before: Key) -> Key:
        area = int(self.player.ram[_AREA])
        return before if before[-1:] == (area,) else (*before, area)

    def is_reached(self, past: Key) -> bool:
        return len(past) > len(set(past)) and not self.is_over()


class _Hit(Archive):
    """Searches for play in which Mario grows and is hit. Its history is his largest size."""

    def past(self, before: Key) -> Key:
        return (max(*before, int(self.player.ram[_STATUS])) if before else int(self.player.ram[_STATUS]),)

    def is_reached(self, past: Key) -> bool:
        return past[0] > 0 and self.player.ram[_STATUS] == 0 and not self.is_over()


class _InFull(Archive):
    """Searches for play that finishes the level of the full game to which its first actions lead, without a death."""

    def __init__(self, player: Player, generator: np.random.Generator, first: bytes) -> None:
        super().__init__(player, generator, first)
        self._level, self._lives = self._number(), int(player.ram[_LIVES])

    def _number(self) -> int:
        """The current level, counted from 0."""
        return int(self.player.ram[_WORLD]) * 4 + int(self.player.ram[_STAGE])

    def is_reached(self, past: Key) -> bool:
        return self._number() == self._level + 1

    def is_over(self) -> bool:
        return int(self.player.ram[_LIVES]) != self._lives or self._number() != self._level  # died, or warped


_ARCHIVES: Final[dict[Goal, type[Archive]]] = {"finish": Archive, "pipe": _Pipe, "hit": _Hit}


def search(level: Level | None, goal: Goal, decisions: int, seed: int, first: bytes = b"") -> bytes | None:
    """Search for actions that reach `goal` in `level`, within a number of decisions.

    If `level` is None, the search is for actions that finish the level of the full game that the actions `first` lead to.

    Returns:
        The actions; None if the search failed.
    """
    generator = np.random.default_rng(seed)
    down = goal == "pipe" or level == (8, 4)  # the route through 8-4 leads down pipes
    config = config_of(level).model_copy(update={"actions": "complex" if down else "simple"})
    player = Player(config, None if level is None else name_of(level, "finish"))
    archive = _InFull(player, generator, first) if level is None else _ARCHIVES[goal](player, generator)
    while player.decisions < decisions:
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
    parser.add_argument("--decisions", type=int, default=300_000, help="limit per goal and level")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    plays = read_plays(arguments.out) if arguments.out.exists() else {}
    missing = 0
    for goal, level in product(arguments.goals, [_level(name) for name in arguments.levels]):
        name = name_of(level, goal)
        if name not in plays:
            found = search(level, goal, arguments.decisions, arguments.seed)
            missing += not _keep(plays, name, found, found is not None and holds(level, goal, found), arguments.out)
    if arguments.full:
        found = b""
        for _ in range(arguments.full):
            found = None if found is None else search(None, "finish", arguments.decisions, arguments.seed, found)
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
