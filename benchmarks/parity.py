"""A comparison of the fast emulator with nes-py, played in lockstep.

    python -m benchmarks.parity --frames 5000000 --processes 2 --state parity.jsonl [--json parity.json]

After every frame it compares the 2 KiB of RAM, at the end of the frame and after skipped frames, and whether the game is over.
It compares every picture, or one of every `--picture-every`. Levels, styles of play and ROM variants take turns. A mismatch
ends the run with exit code 1 and prints the `Play` that reproduces it with `benchmarks.parity.lockstep`. With `--state`, an
interrupted run continues where it stopped.
"""

import argparse
import dataclasses
import hashlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.pilot import STYLES, Pilot, frames_needed
from configs.schema import EnvironmentConfig
from configs.seeds import Stream, seed_of
from mario_env import memory as ram
from mario_env import nes
from mario_env.console import SCREEN_SHAPE, Console, NesPyConsole, check_rom
from mario_env.errors import RomUnavailableError
from mario_env.fast import FastConsole
from mario_env.nes.kernel import kernel
from mario_env.observations import Frames

Rom = Literal["vanilla", "downsample", "pixel", "rectangle"]
ROMS: Final[tuple[Rom, ...]] = ("vanilla", "pixel", "rectangle", "downsample")
GAMES: Final = 33  # 32 levels and the full game
_ENGINE, _Y_HIGH, _STATUS = 0x000E, 0x00B5, 0x0756
_CLIMBS_VINE, _ENTERS_PIPE = 1, (2, 3)


class MismatchError(AssertionError):
    """The two emulators differ."""


@dataclass(frozen=True)
class Play:
    """A stretch of play to compare.

    Attributes:
        game: one level, or the full game.
        world, stage: the level; 1 and 1 in the full game.
        rom: the variant of the ROM.
        style: see `benchmarks.pilot.STYLES`.
        seed: seed of the buttons.
        frames: number of frames.
        picture_every: the picture of every frame with a multiple of this number is compared.
    """

    game: Literal["level", "full"]
    world: int
    stage: int
    rom: Rom
    style: str
    seed: int
    frames: int
    picture_every: int = 1


@dataclass
class Count:
    """The numbers of compared frames and pictures, and of events in them."""

    frames: int = 0
    pictures: int = 0
    games: int = 0  # ended games
    deaths_by_enemies: int = 0  # including fire
    falls: int = 0  # into pits or lava
    time_ups: int = 0
    flags: int = 0
    axes: int = 0
    pipes: int = 0
    vines: int = 0
    growths: int = 0
    hits: int = 0  # after which Mario shrinks

    def add(self, other: "Count") -> None:
        """Add the counts of another stretch of play."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def observe(self, before: bytes, frame: bytes) -> None:
        """Count the events of a frame from the RAM before it and at its end, before frames are skipped."""
        if ram.is_dying(frame):
            time_up = ram.is_time_up(frame)
            self.time_ups += time_up
            self.falls += not time_up and frame[_Y_HIGH] > 1
            self.deaths_by_enemies += not time_up and frame[_Y_HIGH] <= 1
            return
        if ram.is_flag_reached(frame):
            axe = ram.is_axe_reached(frame)
            self.axes += axe
            self.flags += not axe
        self.pipes += frame[_ENGINE] in _ENTERS_PIPE
        self.vines += frame[_ENGINE] == _CLIMBS_VINE
        self.growths += frame[_STATUS] > before[_STATUS]
        self.hits += frame[_STATUS] < before[_STATUS]


def lockstep(play: Play) -> Count:
    """Play `play` on both emulators frame by frame.

    Raises:
        MismatchError: they differ; the message says where, and how to reproduce it.
    """
    config = EnvironmentConfig(game=play.game, world=play.world, stage=play.stage, rom=play.rom)
    fast, reference = FastConsole(config), NesPyConsole(config)
    pilot = Pilot(play.style, None if play.game == "full" else (play.world, play.stage), play.seed)
    count, over = Count(), False
    try:
        fast.reset(), reference.reset()
        pilot.begin()
        while True:
            _compare_state(play, count, fast, reference)
            if count.frames >= play.frames:
                return count
            if over:
                fast.reset(), reference.reset()
                pilot.begin()
                count.games += 1
            for address, value in pilot.tamper():
                fast.write_memory(address, value)
                reference.write_memory(address, value)
            before, buttons = fast.memory, pilot.buttons()
            over, reference_over = fast.advance(buttons), reference.advance(buttons)
            count.frames += 1
            if over != reference_over:
                raise MismatchError(f"{play}: frame {count.frames}: over is {over}, nes-py says {reference_over}")
            count.observe(before, fast.frame_memory)
    finally:
        reference.close()


def _compare_state(play: Play, count: Count, fast: Console, reference: Console) -> None:
    """Compare RAM and picture of both emulators after a frame."""
    compare_bytes("RAM before skipped frames", play, count.frames, fast.frame_memory, reference.frame_memory)
    compare_bytes("RAM", play, count.frames, fast.memory, reference.memory)
    if count.frames % play.picture_every == 0:
        compare_bytes("picture", play, count.frames, fast.render().tobytes(), reference.render().tobytes())
        count.pictures += 1


def compare_bytes(what: str, play: Play, frame: int, fast: bytes, reference: bytes) -> None:
    """Compare bytes of the RAM, or of a picture (`what` is "picture", RGB).

    Raises:
        MismatchError: they differ; the message says where, and in which play.
    """
    if fast != reference:
        differing = [i for i, (a, b) in enumerate(zip(fast, reference, strict=True)) if a != b]
        first = differing[0]
        where = f"0x{first:04X}"
        if what == "picture":
            pixel, channel = divmod(first, SCREEN_SHAPE[2])
            where = f"row {pixel // SCREEN_SHAPE[1]}, column {pixel % SCREEN_SHAPE[1]}, {'RGB'[channel]}"
        raise MismatchError(
            f"{play}: frame {frame}: {what} differs in {len(differing)} bytes, first at {where}: "
            f"{fast[first]}, nes-py has {reference[first]}"
        )


def available_roms() -> list[Rom]:
    """The ROM variants of the installed gym-super-mario-bros."""
    available = []
    for rom in ROMS:
        try:
            check_rom(EnvironmentConfig(rom=rom))
        except RomUnavailableError:
            continue
        available.append(rom)
    return available


def _stretch(number: int, style: str, rom: Rom, seed: int, frames: int, picture_every: int) -> Play:
    """A stretch of play in a level (32: the full game). It is longer than `frames` if the style needs more."""
    level = None if number == GAMES - 1 else (number // 4 + 1, number % 4 + 1)
    world, stage = level or (1, 1)
    frames = max(frames, frames_needed(style, level))
    return Play("level" if level else "full", world, stage, rom, style, seed, frames, picture_every)


def plays(frames: int, seed: int, stretch: int, picture_every: int) -> list[Play]:
    """Stretches of play with at least `frames` frames together. Levels take turns, each time in another style.

    After (styles × variants) laps, each level has been played in each style on each variant.
    """
    roms, planned = available_roms(), 0
    result: list[Play] = []
    while planned < frames:
        number, lap = len(result) % GAMES, len(result) // GAMES
        style, rom = STYLES[(number + lap) % len(STYLES)], roms[(number + lap + lap // len(STYLES)) % len(roms)]
        length = min(stretch, frames - planned)
        result.append(_stretch(number, style, rom, seed_of(seed, Stream.BUTTONS, len(result), bits=63), length, picture_every))
        planned += result[-1].frames
    return result


def plays_of_level(number: int, frames: int, seed: int, picture_every: int) -> list[Play]:
    """Stretches of play in one level (32: the full game) in every style except "wait", with about `frames` frames together.

    "wait" would take ten thousand frames until the clock has run out. In "still", little time is left on the clock.
    """
    roms = available_roms()
    styles = ["finish", "still", *(style for style in STYLES if style not in ("finish", "still", "wait"))]
    result: list[Play] = []
    for i, style in enumerate(styles):
        rest = max(0, frames - sum(play.frames for play in result))
        length = rest // (len(styles) - i) if i > 1 else 0  # the first two have their minimum length
        # The stored plays were found on vanilla; on the other variants a few of them fail.
        rom = roms[(number + i) % len(roms)] if i > 0 else "vanilla"
        result.append(_stretch(number, style, rom, seed_of(seed, Stream.BUTTONS, i, bits=63), length, picture_every))
    return result


class State:
    """A file of stretches of play that were equal, by which an interrupted run continues; one line of JSON each.

    A line is valid only for the same versions of the emulator and of nes-py.
    """

    def __init__(self, file: Path | None) -> None:
        sources = sorted(Path(nes.__path__[0]).glob("*.py"))
        digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
        self.versions = {"emulator": digest, "nes-py": importlib.metadata.version("nes-py")}
        self.file = file
        self.known = dict(self._read())

    def _read(self) -> Iterator[tuple[Play, Count]]:
        if self.file is None or not self.file.exists():
            return
        for line in self.file.read_text().splitlines():
            try:
                stored = json.loads(line)
            except json.JSONDecodeError:
                continue  # empty, or the run was interrupted while it wrote
            if stored["versions"] == self.versions:
                yield Play(**stored["play"]), Count(**stored["count"])

    def note(self, play: Play, count: Count) -> None:
        """Add a stretch of play that was equal."""
        if self.file is not None:
            line = {"versions": self.versions, "play": dataclasses.asdict(play), "count": dataclasses.asdict(count)}
            with self.file.open("a") as lines:
                lines.write("\n" + json.dumps(line))  # a line that was cut short stays alone


def compare(todo: list[Play], state: State, processes: int) -> Count:
    """Compare all stretches of play that `state` does not contain, and print the progress every 100 000 frames.

    Raises:
        MismatchError: see :func:`lockstep`.
    """
    total, reported, frames, started = Count(), 0, sum(play.frames for play in todo), time.perf_counter()
    for play in todo:
        total.add(state.known.get(play, Count()))
    kernel(Frames())  # it is compiled once, before processes are started
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        running = {pool.submit(lockstep, play): play for play in todo if play not in state.known}
        try:
            for done in as_completed(running):
                state.note(running[done], done.result())
                total.add(done.result())
                if total.frames // 100_000 > reported:
                    reported = total.frames // 100_000
                    sys.stdout.write(
                        f"equal so far: {total.frames} of {frames} frames, {time.perf_counter() - started:.0f} s\n"
                    )
                    sys.stdout.flush()
        except MismatchError:
            pool.shutdown(cancel_futures=True)
            raise
    return total


def main() -> int:
    """Run the comparison of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--stretch", type=int, default=3_000, help="frames on one level before the next")
    parser.add_argument("--picture-every", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="file of finished stretches, from which an interrupted run continues")
    parser.add_argument("--json", type=Path, help="file for the counts")
    arguments = parser.parse_args()
    todo = plays(arguments.frames, arguments.seed, arguments.stretch, arguments.picture_every)
    started = time.perf_counter()
    try:
        total = compare(todo, State(arguments.state), arguments.processes)
    except MismatchError as mismatch:
        sys.stdout.write(f"DIFFERENT: {mismatch}\n")
        return 1
    report: dict[str, Any] = dataclasses.asdict(total)
    report["levels"] = len({(play.game, play.world, play.stage) for play in todo if play.game == "level"})
    report["styles"] = sorted({play.style for play in todo})
    report["rom_variants"] = sorted({play.rom for play in todo})
    report["seconds"] = round(time.perf_counter() - started)
    sys.stdout.write("equal: " + ", ".join(f"{name} {value}" for name, value in report.items()) + "\n")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
