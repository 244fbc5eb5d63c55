"""What the numbers of the observation `tiles` mean."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from configs.schema import EnvironmentConfig
from mario_env import make
from mario_env.games import Games
from mario_env.observations.tiles import (
    BLOCK_ROWS,
    BLOCKS,
    COLUMNS,
    KIND_ROW,
    MARIO,
    POWER_UPS,
    SPEED_ROW,
    STATE_ROW,
    STATUS_ROW,
    THEN_ROW,
    X_ROW,
    Y_ROW,
    read_tiles,
)

SOLID, BRICK, QUESTION, PIPE, COIN = (BLOCKS.index(name) for name in ("solid", "brick", "question", "pipe", "coin"))
RUN = 3
GOOMBA, PIRANHA, LIFT, WARP_ZONE = 0x06, 0x0D, 0x26, 0x34


@pytest.fixture
def ram() -> Iterator[bytearray]:
    """The RAM at the start of 1-1."""
    env = make(EnvironmentConfig())
    env.reset()
    yield bytearray(env.unwrapped.memory)  # type: ignore[attr-defined]
    env.close()


def with_enemy(ram: bytearray, number: int, x: int, y: int) -> Any:
    """The column of an enemy in the first slot; `x` and `y` are pixels from the upper left corner of the screen."""
    ram[0x000F], ram[0x0016] = 1, number
    ram[0x071A], ram[0x071C] = 1, 0  # the screen begins at 256
    ram[0x006E], ram[0x0087] = divmod(256 + x, 256)
    ram[0x00B6], ram[0x00CF] = 1 + y // 256, y % 256
    return read_tiles(bytes(ram))[:, 1]


def test_the_start_of_the_first_level(ram: bytearray) -> None:
    table = read_tiles(bytes(ram))
    assert table.shape == (23, 16)
    assert (table[11:BLOCK_ROWS] == SOLID).all(), "two rows of ground"
    assert not table[:11].any()
    assert table[KIND_ROW : STATE_ROW + 1, 0].tolist() == [MARIO, 40, 176, 0]
    assert table[SPEED_ROW : SPEED_ROW + 2, 0].tolist() == [128, 128], "he stands"
    assert not table[KIND_ROW:STATUS_ROW, 1:].any(), "there is nobody else"
    np.testing.assert_array_equal(table[THEN_ROW:STATUS_ROW], table[KIND_ROW : KIND_ROW + 3])


def test_blocks_are_where_the_screen_shows_them(finish: Callable[[str], bytes]) -> None:
    """All cells of ground look alike, and a pit shows the sky."""
    games, cells = Games(EnvironmentConfig(observation="tiles", actions="complex"), 1, threads=1), {"ground": 0, "pit": 0}
    games.reset(0)
    ground = games.slots[0].render()[224:, :16]
    for number, action in enumerate(finish("1-1")[:-30]):
        games.step([action])
        if number % 10:
            continue
        table, ram, screen = games.fleet.observations[0], games.slots[0].memory, games.slots[0].render()
        left = ram[0x071A] * 256 + ram[0x071C]
        first = (left + 7) // COLUMNS * COLUMNS - left + 16
        for column, x in enumerate(range(first, first + 16 * (COLUMNS - 2), 16), start=1):
            # The screen scrolls a frame after the RAM, by up to three pixels.
            if table[BLOCK_ROWS - 1, column] == SOLID:
                assert any(np.array_equal(screen[224:, x + shift : x + shift + 16], ground) for shift in range(4))
                cells["ground"] += 1
            else:
                assert len(np.unique(screen[224:, x + 4 : x + 14].reshape(-1, 3), axis=0)) == 1
                cells["pit"] += 1
    assert cells["ground"] > 200
    assert cells["pit"] > 5
    games.close()


def test_what_a_block_contains_is_not_told(ram: bytearray) -> None:
    place = 0x0500 + 7 * COLUMNS + 3
    shown = {}
    for metatile in (0x51, 0x55, 0x58, 0x5E, 0xC0, 0xC1, 0x5F, 0x60, 0x10, 0x14, 0xC2, 0x54):
        ram[place] = metatile
        shown[metatile] = int(read_tiles(bytes(ram))[7, 3])
    assert {shown[metatile] for metatile in (0x51, 0x55, 0x58, 0x5E)} == {BRICK}
    assert shown[0xC0] == shown[0xC1] == QUESTION
    assert shown[0x5F] == shown[0x60] == 0, "hidden blocks"
    assert shown[0x10] == shown[0x14] == PIPE
    assert (shown[0xC2], shown[0x54]) == (COIN, SOLID)


def test_an_enemy_has_its_place_speed_and_state(ram: bytearray) -> None:
    ram[0x0058], ram[0x00A0], ram[0x001E] = 0xF8, 3, 0x20
    column = with_enemy(ram, GOOMBA, 100, 184)
    assert column[KIND_ROW:THEN_ROW].tolist() == [GOOMBA + 1, 100, 184, 0x20, 120, 131]


@pytest.mark.parametrize(("x", "y", "shown"), [(-15, 184, 1), (-16, 184, 0), (255, 184, 1), (256, 184, 0), (100, 240, 0)])
def test_only_what_is_on_the_screen_is_told(ram: bytearray, x: int, y: int, shown: int) -> None:
    assert bool(with_enemy(ram, GOOMBA, x, y)[KIND_ROW]) == bool(shown)


def test_a_lift_is_wider(ram: bytearray) -> None:
    assert with_enemy(ram, LIFT, -47, 100)[KIND_ROW] == LIFT + 1
    assert with_enemy(ram, LIFT, -48, 100)[KIND_ROW] == 0


def test_what_is_not_drawn_is_not_told(ram: bytearray) -> None:
    assert with_enemy(ram, WARP_ZONE, 100, 100)[KIND_ROW] == 0
    ram[0x0434] = 180
    assert with_enemy(ram, PIRANHA, 100, 180)[KIND_ROW] == 0, "it is in its pipe"
    assert with_enemy(ram, PIRANHA, 100, 179)[KIND_ROW] == PIRANHA + 1
    assert with_enemy(ram, GOOMBA, 100, 100)[KIND_ROW] == GOOMBA + 1
    ram[0x000F] = 0x80
    assert read_tiles(bytes(ram))[KIND_ROW, 1] == 0, "the second half of another object"


@pytest.mark.parametrize("number", range(4))
def test_power_ups_are_told_apart(ram: bytearray, number: int) -> None:
    ram[0x0039] = number
    assert with_enemy(ram, 0x2E, 100, 100)[KIND_ROW] == POWER_UPS + number


def test_where_objects_were_is_told() -> None:
    env = make(EnvironmentConfig(observation="tiles"))
    before, _ = env.reset()
    for step in range(30):
        table, *_ = env.step(RUN)
        np.testing.assert_array_equal(table[THEN_ROW:STATUS_ROW], before[KIND_ROW : KIND_ROW + 3])
        if step == 5:
            assert table[X_ROW, 0] > table[THEN_ROW + 1, 0] > 40, "he runs to the right, and the screen does not move yet"
            assert table[SPEED_ROW, 0] > 128
        before = table
    assert (table[Y_ROW, 1], table[KIND_ROW, 1]) == (184, GOOMBA + 1)
    env.close()
