"""The observation `tiles`, compiled: see :mod:`mario_env.observations.tiles`, which defines it."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import int64

from mario_env.nes.compiling import leaf
from mario_env.observations.tiles import (
    BLOCK_BUFFERS,
    BLOCK_ROWS,
    BOTTOM,
    COLUMNS,
    ENEMIES,
    ENEMY_FLAG,
    ENEMY_ID,
    FIRST_LIFT,
    HAMMER,
    HEIGHT,
    KIND_ROW,
    LAST_LIFT,
    LIFT_WIDTH,
    MARIO,
    NOT_DRAWN,
    NUMBERS,
    OBJECT_STATE,
    PAGE,
    PIRANHA,
    PIRANHA_DOWN,
    POWER_UP,
    POWER_UP_TYPE,
    POWER_UPS,
    RIGHT_EDGE,
    SCREEN_LEFT,
    SCREEN_LEFT_PAGE,
    SLOTS,
    SPEED_ROW,
    STATE_ROW,
    STATUS,
    STATUS_ROW,
    THEN_ROW,
    WIDTH,
    X_POSITION,
    X_ROW,
    X_SPEED,
    Y_HIGH,
    Y_POSITION,
    Y_ROW,
    Y_SPEED,
    Tiles,
    block_classes,
)

TABLES: Final = np.dtype(
    [
        ("classes", np.uint8, 256),
        ("drawn", np.uint8, 256),  # of each Enemy_ID: whether it is an object that the screen shows
        ("slots", np.int64, COLUMNS),
        ("status", np.int64, len(STATUS)),
        ("status_limits", np.int64, len(STATUS)),
    ],
    align=True,
)

SCRATCH: Final = np.dtype([("nothing", np.uint8)])  # none is needed


def make_tables(observation: Tiles) -> npt.NDArray[np.void]:
    """One TABLES record."""
    tables = np.zeros(1, TABLES)
    table: Any = tables[0]
    table["classes"] = block_classes()
    table["drawn"][:NUMBERS] = 1
    table["drawn"][list(NOT_DRAWN)] = 0
    table["slots"] = SLOTS
    table["status"], table["status_limits"] = zip(*STATUS, strict=True)
    return tables


@leaf
def write_first(machine: Any, screens: Any, tables: Any, scratch: Any, output: Any) -> None:
    """Write the first observation of an episode."""
    _write(machine.ram, tables, output)
    _write_then(output, output)


@leaf
def write_next(machine: Any, screens: Any, last: int, tables: Any, scratch: Any, before: Any, output: Any) -> None:
    """Write the observation after a decision."""
    _write(machine.ram, tables, output)
    _write_then(before, output)


@leaf
def _write_then(before: Any, output: Any) -> None:
    for column in range(COLUMNS):
        for row in range(3):
            output[THEN_ROW + row, column] = before[KIND_ROW + row, column]


@leaf
def _write(ram: Any, t: Any, output: Any) -> None:
    """Write everything but what is of the observation before."""
    left = int64(ram[SCREEN_LEFT_PAGE]) * 256 + int64(ram[SCREEN_LEFT])
    first = (left + 7) >> 4
    for column in range(COLUMNS):
        place = first + column
        address = BLOCK_BUFFERS + (place // COLUMNS & 1) * BLOCK_ROWS * COLUMNS + place % COLUMNS
        for row in range(BLOCK_ROWS):
            output[row, column] = t.classes[ram[address + row * COLUMNS]]
        _write_object(ram, t, column, left, first * 16, output)
        output[STATUS_ROW, column] = 0
    for column in range(len(STATUS)):
        output[STATUS_ROW, column] = min(int64(ram[t.status[column]]), t.status_limits[column])


@leaf
def _write_object(ram: Any, t: Any, column: int, left: int, origin: int, output: Any) -> None:
    slot = t.slots[column]
    kind = _kind(ram, t, column, slot)
    x = int64(ram[PAGE + slot]) * 256 + int64(ram[X_POSITION + slot])
    y = (int64(ram[Y_HIGH + slot]) - 1) * 256 + int64(ram[Y_POSITION + slot])
    if kind != MARIO:
        width = LIFT_WIDTH if FIRST_LIFT < kind <= LAST_LIFT + 1 else WIDTH
        if not (-width < x - left < RIGHT_EDGE and -HEIGHT < y < BOTTOM):
            kind = 0
    if kind == 0:
        for row in range(KIND_ROW, THEN_ROW):
            output[row, column] = 0
        return
    output[KIND_ROW, column] = kind
    output[X_ROW, column] = min(max(x - origin, 0), 255)
    output[Y_ROW, column] = min(max(y, 0), 255)
    output[STATE_ROW, column] = ram[OBJECT_STATE + slot]
    output[SPEED_ROW, column] = ram[X_SPEED + slot] ^ 0x80
    output[SPEED_ROW + 1, column] = ram[Y_SPEED + slot] ^ 0x80


@leaf
def _kind(ram: Any, t: Any, column: int, slot: int) -> int:
    """What is in a slot of objects; 0 if nothing is, or nothing that the screen shows."""
    if column == 0:
        return MARIO
    if column > ENEMIES:
        return HAMMER if ram[OBJECT_STATE + slot] >= 0x80 else 0
    enemy = slot - 1
    flag, number = ram[ENEMY_FLAG + enemy], int64(ram[ENEMY_ID + enemy])
    if flag == 0 or flag >= 0x80 or not t.drawn[number]:
        return 0
    if number == PIRANHA and ram[Y_POSITION + slot] >= ram[PIRANHA_DOWN + enemy]:
        return 0
    if number == POWER_UP:
        return POWER_UPS + min(int64(ram[POWER_UP_TYPE]), 3)
    return number + 1
