"""The console plays as gym-super-mario-bros does, and alike on both stacks."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from configs.schema import EnvironmentConfig
from mario_env import RomUnavailableError, make
from mario_env import memory as ram
from mario_env.console import NesPyConsole, check_rom

OLD_STACK = importlib.util.find_spec("gym") is not None and sys.version_info < (3, 13)
RIGHT, RIGHT_JUMP, RUN, RUN_JUMP = 0b10000000, 0b10000001, 0b10000010, 0b10000011
FULL = EnvironmentConfig(game="full")


@pytest.fixture
def console() -> Iterator[NesPyConsole]:
    console = NesPyConsole(EnvironmentConfig())
    yield console
    console.close()


def _buttons(count: int, seed: int) -> list[int]:
    chance = np.random.default_rng(seed)
    return [int(chance.choice([RIGHT, RIGHT_JUMP, RUN, RUN_JUMP, 1, 0])) for _ in range(count)]


def _digest(console: NesPyConsole, buttons: list[int]) -> str:
    screen, _ = console.reset()
    digest = hashlib.sha256(screen.tobytes() + console.memory)
    for pressed in buttons:
        screen, _, terminated, _, _ = console.step(pressed)
        digest.update(screen.tobytes() + console.memory)
        if terminated:
            break
    return digest.hexdigest()


def test_the_first_game_and_the_later_ones_are_the_same(console: NesPyConsole) -> None:
    buttons = _buttons(150, seed=1)
    first = _digest(console, buttons)
    assert _digest(console, _buttons(60, seed=2)) != first
    assert _digest(console, buttons) == first
    another = NesPyConsole(EnvironmentConfig())
    assert _digest(another, buttons) == first
    another.close()


def test_both_stacks_play_the_same_game(console: NesPyConsole) -> None:
    # Written down once, checked on whichever stack runs this.
    assert _digest(console, [RUN, RUN_JUMP, RUN, 0] * 40).startswith("89f32e30272062176d0e9d67")


def test_the_screen_is_rgb_and_an_array_of_its_own(console: NesPyConsole) -> None:
    screen, _ = console.reset()
    assert (screen.shape, screen.dtype, screen.flags.c_contiguous) == ((240, 256, 3), np.uint8, True)
    assert np.array_equal(screen, console._game.screen)
    before = screen.copy()
    for _ in range(30):
        console.step(RUN)
    assert np.array_equal(screen, before)
    assert not np.array_equal(console.render(), before)
    assert console.observation_space.contains(screen)


@pytest.mark.parametrize("config", [EnvironmentConfig(), FULL])
def test_what_is_executed_is_the_packages_own_game(config: EnvironmentConfig) -> None:
    from gym_super_mario_bros import SuperMarioBrosEnv

    original: Any = SuperMarioBrosEnv(target=None if config.game == "full" else (1, 1))
    original.reset()
    console = NesPyConsole(config)
    console.reset()
    assert console.memory == original.ram.tobytes()
    done = False
    for _ in range(400):
        _, _, terminated, _, _ = console.step(RUN)
        done = original.step(RUN)[2]
        assert console.memory == original.ram.tobytes()
        assert terminated == done
        if done:
            break
    assert done, "running to the right ends the game at the first goomba"
    console.close()
    original.close()


def test_the_last_axe_ends_the_full_game_instead_of_hanging() -> None:
    console = NesPyConsole(FULL)
    console.reset()
    for address, value in ((0x75F, 7), (0x75C, 3), (0x770, 2)):
        console.write_memory(address, value)
    _, _, terminated, _, _ = console.step(0)
    assert terminated
    assert ram.is_last_princess_saved(console.frame_memory)
    console.close()


def test_the_seed_is_for_the_wrappers_only(console: NesPyConsole) -> None:
    console.reset(seed=5)
    drawn = console.np_random.integers(1_000_000)
    memory = console.memory
    console.reset(seed=6)
    assert console.memory == memory
    console.reset(seed=5)
    assert console.np_random.integers(1_000_000) == drawn


def test_closing_twice_is_no_error() -> None:
    console = NesPyConsole(EnvironmentConfig())
    console.close()
    console.close()


@pytest.mark.parametrize("world", range(1, 9))
def test_every_level_starts(world: int) -> None:
    for stage in (1, 2, 3, 4):
        console = NesPyConsole(EnvironmentConfig(world=world, stage=stage))
        console.reset()
        facts = ram.read_facts(console.memory)
        assert (facts["world"], facts["stage"], facts["life"]) == (world, stage, 3)
        assert facts["time"] in (300, 400)
        console.close()


@pytest.mark.skipif(OLD_STACK, reason="this stack carries the other ROMs")
@pytest.mark.parametrize("rom", ["downsample", "pixel", "rectangle"])
def test_a_missing_rom_is_refused_before_a_game_is_made(rom: Any) -> None:
    config = EnvironmentConfig(rom=rom)
    message = (
        f"environment.rom: '{rom}' is not in the installed gym-super-mario-bros, which has only vanilla; "
        "the other variants exist in release 7.4.0, that is on Python 3.11 and 3.12"
    )
    for build in (lambda: check_rom(config), lambda: make(config)):
        with pytest.raises(RomUnavailableError) as caught:
            build()
        assert str(caught.value) == message


@pytest.mark.skipif(not OLD_STACK, reason="only the older stack carries the other ROMs")
@pytest.mark.parametrize("rom", ["downsample", "pixel", "rectangle"])
def test_every_rom_plays_every_kind_of_game_and_looks_different(rom: Any) -> None:
    for game, world, stage in (("level", 3, 2), ("full", 1, 1)):
        screens = []
        for variant in ("vanilla", rom):
            console = NesPyConsole(EnvironmentConfig(game=game, world=world, stage=stage, rom=variant))
            console.reset()
            for _ in range(60):
                screen, _, _, _, _ = console.step(RIGHT)
            facts = ram.read_facts(console.memory)
            assert (facts["world"], facts["stage"]) == (world, stage)
            assert facts["x_pos"] > 80
            screens.append(screen)
            console.close()
        assert not np.array_equal(*screens)


@pytest.mark.parametrize("driver", [None, "dummy"])
def test_nothing_is_printed_and_nothing_left_in_the_environment(driver: str | None) -> None:
    code = (
        "import mario_env, os, sys\n"
        "from configs.schema import EnvironmentConfig\n"
        "env = mario_env.make(EnvironmentConfig(emulator='nes-py')); env.reset(); env.step(1); env.close()\n"
        "print(os.environ.get('SDL_AUDIODRIVER'), 'torch' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "SDL_AUDIODRIVER"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)} | ({} if driver is None else {"SDL_AUDIODRIVER": driver})
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    # torch comes with stable-baselines3, for the process that learns; a worker must do without
    assert (ended.stdout.strip(), ended.stderr) == (f"{driver} False", "")
