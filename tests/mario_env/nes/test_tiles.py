"""The observation `tiles`: compiled code writes what `read_tiles` reads, on nes-py too, and draws nothing for it."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.decisions import SideBySide
from configs.schema import EnvironmentConfig
from mario_env.demonstrations import read_plays
from mario_env.games import Games
from mario_env.observations.tiles import HAMMER, KIND_ROW, POWER_UPS, THEN_ROW, Tiles, read_tiles

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

IDLE = 0
SETTINGS = {"observation": "tiles", "actions": "complex", "stall_after": None, "max_steps": None}


def config(play: str) -> EnvironmentConfig:
    level = {"game": "full"} if play == "full" else {"world": int(play[0]), "stage": int(play[2])}
    return EnvironmentConfig.model_validate(SETTINGS | level)


@pytest.mark.parametrize("play", ["1-1 pipe", "1-2", "1-2 pipe", "2-2", "3-1 hit", "4-4", "5-2 pipe", "8-4"])
def test_both_emulators_show_the_same_tiles(play: str, finish: Callable[[str], bytes]) -> None:
    """Over ground, under it, in bonus rooms, in water, in mazes; after the end of a play Mario idles until he dies."""
    both = SideBySide(config(play))
    infos = both.play([*finish(play), *[IDLE] * 20])
    assert len(infos) >= len(finish(play))
    both.close()


@pytest.mark.parametrize("play", [*read_plays()])
def test_compiled_code_writes_what_is_read_from_the_ram(play: str, finish: Callable[[str], bytes]) -> None:
    """Every level and every bonus room that is stored, decision by decision; and the same with buttons pressed at random."""
    games, generator, compared = Games(config(play), 2, threads=1), np.random.default_rng(0), 0
    for index in range(2):
        games.reset(index)
    before = [read_tiles(slot.memory) for slot in games.slots]
    for action in finish(play):
        _, _, terminated, _, _ = games.step([action, generator.integers(0, 12)])
        for index, slot in enumerate(games.slots):
            before[index] = read_tiles(slot.memory, before[index])
            np.testing.assert_array_equal(games.fleet.observations[index], before[index])
            compared += 1
            if terminated[index]:
                games.reset(index)
                before[index] = read_tiles(slot.memory)
                np.testing.assert_array_equal(games.fleet.observations[index], before[index])
    assert compared == 2 * len(finish(play))
    games.close()


def test_the_plays_show_nearly_all_kinds_of_objects(finish: Callable[[str], bytes]) -> None:
    """What the comparison above compares."""
    kinds: set[int] = set()
    for play in read_plays():
        games = Games(config(play), 1, threads=1)
        games.reset(0)
        for action in finish(play):
            games.step([action])
            kinds |= set(games.fleet.observations[0, KIND_ROW].tolist())
    enemies = {number + 1 for number in (0x00, 0x06, 0x07, 0x0A, 0x0C, 0x0D, 0x1B, 0x24, 0x2D, 0x31)}
    assert enemies | {HAMMER, POWER_UPS} <= kinds


def test_numbers_that_no_play_meets_are_compiled_alike() -> None:
    games, generator = Games(EnvironmentConfig(observation="tiles"), 1, threads=1), np.random.default_rng(1)
    for _ in range(300):
        games.reset(0)
        ram = games.fleet.machines["ram"][0]
        ram[:] = generator.integers(0, 256, 0x800)
        ram[0x0B6:0x0CB] = generator.integers(0, 3, 21)  # objects above, on and below the screen
        ram[0x06E:0x086] = ram[0x071A] + generator.integers(0, 2, 24)  # near it
        before = games.fleet.observations[0].copy()
        games.fleet.begin(0)
        first = games.fleet.observations[0].copy()
        np.testing.assert_array_equal(first, read_tiles(ram.tobytes()))
        np.testing.assert_array_equal(read_tiles(ram.tobytes(), before)[THEN_ROW], before[KIND_ROW])
        assert first.shape == Tiles.shape


def test_a_screen_that_is_asked_for_is_drawn() -> None:
    """Of whole decisions, of one that ends early, of starts, and after the RAM was written to."""
    tiles, frames = (
        Games(EnvironmentConfig.model_validate({"observation": name, "noop_frames": 9, "sticky_actions": 0.25}), 2, seed=4)
        for name in ("tiles", "frames")
    )
    generator, ended, actions = np.random.default_rng(0), 0, [3, 3]
    for games in (tiles, frames):
        for index in range(2):
            games.reset(index)
    for step in range(260):
        if generator.random() < 0.2:
            actions = generator.integers(0, 7, 2).tolist()
        _, _, terminated, truncated, infos = tiles.step(actions)
        frames.step(actions)
        for games in (tiles, frames):
            games.fleet.machines["ram"][0, 0x07ED] = step % 10  # the number of coins
        if step % 3 == 0 or any(terminated):
            for ours, theirs in zip(tiles.slots, frames.slots, strict=True):
                np.testing.assert_array_equal(ours.render(), theirs.render())
                assert ours.memory == theirs.memory
        for index in range(2):
            if terminated[index] or truncated[index]:
                ended += infos[index]["frames"] < 4
                tiles.reset(index)
                frames.reset(index)
                np.testing.assert_array_equal(tiles.slots[index].render(), frames.slots[index].render())
    assert ended > 0
    tiles.close()
    frames.close()
