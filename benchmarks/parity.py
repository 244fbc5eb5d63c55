"""Plays the fast emulator and nes-py in lockstep and compares everything a player or an agent can see.

    python -m benchmarks.parity --frames 5000000 --processes 2

After every frame: all 2 KiB of RAM, at its end and after what is skipped, and whether the game is over; every picture, or one
of so many. Levels, ROM variants and styles of play take turns. A mismatch ends the run with exit code 1 and prints what is
needed to see it again.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from configs.schema import EnvironmentConfig
from mario_env.console import NesPyConsole, check_rom
from mario_env.errors import RomUnavailableError
from mario_env.fast import FastConsole

Rom = Literal["vanilla", "downsample", "pixel", "rectangle"]
ROMS: Final[tuple[Rom, ...]] = ("vanilla", "pixel", "rectangle", "downsample")
STYLES: Final = ("mash", "run", "pipes", "idle", "anything", "tampered")
# What "tampered" play writes into both machines' RAM now and then: growing, fire, the star, coins, a clock that runs out.
TAMPERING: Final = ((0x0756, 1), (0x0756, 2), (0x079F, 35), (0x07EE, 9), (0x07F8, 0), (0x07F9, 0), (0x07FA, 1), (0x0754, 0))
A, B, SELECT, START, UP, DOWN, LEFT, RIGHT = (1 << bit for bit in range(8))


class MismatchError(AssertionError):
    """The two emulators differ."""


@dataclass(frozen=True)
class Play:
    """A stretch of play."""

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
    """What was compared."""

    frames: int = 0
    pictures: int = 0
    games: int = 0


def buttons_of(style: str, generator: np.random.Generator, held: int) -> int:
    """The buttons of the next frame: most are held for a while, as players do."""
    if generator.random() > (0.02 if style == "idle" else 0.1):
        return held
    match style:
        case "run" | "tampered":
            return RIGHT | B | (A if generator.random() < 0.6 else 0)
        case "pipes":
            return int(generator.choice([RIGHT, RIGHT | A, RIGHT | A | B, DOWN, DOWN, DOWN | RIGHT, LEFT, UP, 0]))
        case "idle":
            return int(generator.choice([0, 0, 0, 0, A, LEFT, DOWN]))
        case "anything":
            return int(generator.integers(256)) & ~START
    return int(generator.choice([0, RIGHT, RIGHT | A, RIGHT | B, RIGHT | A | B, A, LEFT, LEFT | A, LEFT | B, DOWN, UP]))


def lockstep(play: Play) -> Count:
    """Play both emulators frame by frame.

    Raises:
        MismatchError: they differ; the message names where, and how to see it again.
    """
    config = EnvironmentConfig(game=play.game, world=play.world, stage=play.stage, rom=play.rom)
    ours, theirs = FastConsole(config), NesPyConsole(config)
    generator, held, count = np.random.default_rng(play.seed), 0, Count()
    screen, expected = ours.reset()[0], theirs.reset()[0]
    over = their_over = False
    try:
        while True:
            _compare("RAM", play, count.frames, ours.memory, theirs.memory)
            _compare("RAM before the skip", play, count.frames, ours.frame_memory, theirs.frame_memory)
            if over != their_over:
                raise MismatchError(f"{play}: frame {count.frames}: over is {over}, nes-py says {their_over}")
            if count.frames % play.picture_every == 0:
                _compare("picture", play, count.frames, screen.tobytes(), expected.tobytes())
                count.pictures += 1
            if count.frames >= play.frames:
                return count
            if over:
                screen, expected = ours.reset()[0], theirs.reset()[0]
                count.games += 1
            held = buttons_of(play.style, generator, held)
            screen, _, over, _, _ = ours.step(held)
            expected, _, their_over, _, _ = theirs.step(held)
            count.frames += 1
            if play.style == "tampered" and not over and generator.random() < 0.02:
                _tamper(ours, theirs, *TAMPERING[int(generator.integers(len(TAMPERING)))])
    finally:
        theirs.close()


def _tamper(ours: FastConsole, theirs: NesPyConsole, address: int, value: int) -> None:
    for console in (ours, theirs):
        console.write_memory(address, value)


def _compare(what: str, play: Play, frame: int, ours: bytes, theirs: bytes) -> None:
    if ours != theirs:
        differing = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        first = differing[0]
        raise MismatchError(
            f"{play}: frame {frame}: {what} differs in {len(differing)} bytes, first at 0x{first:04X}: "
            f"{ours[first]}, nes-py has {theirs[first]}"
        )


def plays(frames: int, seed: int, stretch: int, picture_every: int) -> list[Play]:
    """Stretches of play that sum up to so many frames: every level, then the full game, in every style and variant in turn."""
    available = []
    for rom in ROMS:
        try:
            check_rom(EnvironmentConfig(rom=rom))
        except RomUnavailableError:
            continue
        available.append(rom)
    result: list[Play] = []
    for i in range(-(-frames // stretch)):
        level, style, rom = i % 33, STYLES[i // 2 % len(STYLES)], available[i // 33 % len(available)]
        game: Literal["level", "full"] = "full" if level == 32 else "level"
        world, stage = (1, 1) if level == 32 else (level // 4 + 1, level % 4 + 1)
        result.append(Play(game, world, stage, rom, style, seed + i, min(stretch, frames - i * stretch), picture_every))
    return result


def main() -> int:
    """Compare as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--stretch", type=int, default=3_000, help="frames on one level before the next")
    parser.add_argument("--picture-every", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    todo = plays(arguments.frames, arguments.seed, arguments.stretch, arguments.picture_every)
    total, started = Count(), time.perf_counter()
    with ProcessPoolExecutor(arguments.processes) as pool:
        try:
            for count in pool.map(lockstep, todo):
                total.frames += count.frames
                total.pictures += count.pictures
                total.games += count.games
        except MismatchError as mismatch:
            pool.shutdown(cancel_futures=True)
            sys.stdout.write(f"DIFFERENT: {mismatch}\n")
            return 1
    seconds = time.perf_counter() - started
    sys.stdout.write(
        f"equal: {total.frames} frames, {total.pictures} pictures, {total.games} games ended, "
        f"{len({(p.world, p.stage) for p in todo})} levels, {len({p.rom for p in todo})} ROM variants, {seconds:.0f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
