"""The observation `tiles`: what the console's RAM says of the blocks and objects on the screen. No picture is drawn for it.

Addresses are those of the annotated disassembly (doppelganger, "SMBDIS.ASM"), whose labels are quoted; see
:mod:`mario_env.memory`.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box

from configs.schema import EnvironmentConfig
from mario_env.console import Console
from mario_env.observations.definition import Environment, Observation

__all__ = ["BLOCKS", "Tiles", "TilesObservation", "block_classes", "read_tiles"]

Bytes = npt.NDArray[np.uint8]

COLUMNS: Final = 16
BLOCK_ROWS: Final = 13
# Rows of the table below the blocks. The column of an object is its place in SLOTS.
KIND_ROW: Final = 13
X_ROW, Y_ROW = 14, 15
STATE_ROW: Final = 16
SPEED_ROW: Final = 17  # and the next: x, y
THEN_ROW: Final = 19  # and the next two: kind, x and y of the observation before
STATUS_ROW: Final = 22
ROWS: Final = 23

# Blocks, by what the screen shows of them: what a block contains, and blocks that are invisible, are not told.
BLOCKS: Final = ("empty", "solid", "brick", "question", "pipe", "coin", "pole", "axe", "vine", "spring", "cannon")
EMPTY, SOLID, BRICK, QUESTION, PIPE, COIN, POLE, AXE, VINE, SPRING, CANNON = range(len(BLOCKS))

# Kinds of objects: 0 for none, Enemy_ID + 1 for enemies, platforms and fire bars, and these.
POWER_UPS: Final = 0x41  # and the next three: mushroom, flower, star, 1-up
HAMMER: Final = 0x45
MARIO: Final = 0x46
KINDS: Final = 0x47
NUMBERS: Final = 0x40  # of enemies

# Mario, five enemies, the power-up, and nine slots that may hold hammers, by their place in the game's arrays (SprObject_…).
SLOTS: Final = (0, *range(1, 7), *range(13, 22))
ENEMIES: Final = 6  # that many slots follow Mario's

SCREEN_LEFT_PAGE, SCREEN_LEFT = 0x071A, 0x071C  # ScreenLeft_PageLoc, ScreenLeft_X_Pos
BLOCK_BUFFERS: Final = 0x0500  # Block_Buffer_1, 13 rows of 16 columns; Block_Buffer_2 follows
ENEMY_FLAG, ENEMY_ID = 0x000F, 0x0016
POWER_UP_TYPE: Final = 0x0039
OBJECT_STATE: Final = 0x001D  # Player_State; Enemy_State and Misc_State are in the same array, and so on
X_SPEED, Y_SPEED = 0x0057, 0x009F
PAGE, X_POSITION = 0x006D, 0x0086
Y_HIGH, Y_POSITION = 0x00B5, 0x00CE
PIRANHA_DOWN: Final = 0x0434  # PiranhaPlantDownYPos: where a plant is hidden in its pipe

PIRANHA, FIRST_LIFT, LAST_LIFT, POWER_UP = 0x0D, 0x24, 0x2C, 0x2E
NOT_DRAWN: Final = (0x17, 0x18, 0x34)  # they make other objects appear, or name a warp zone
WIDTH, LIFT_WIDTH, HEIGHT = 16, 48, 24  # pixels
BOTTOM: Final = 240
RIGHT_EDGE: Final = 256

# What the game knows of Mario besides his place: address, and the greatest number.
STATUS: Final = (
    (0x0756, 2),  # PlayerStatus: 0 small, 1 tall, 2 fireball
    (0x0033, 255),  # PlayerFacingDir: 1 right, 2 left
    (0x0045, 255),  # Player_MovingDir
    (0x000D, 255),  # PreviousA_B_Buttons: 0x80 A, 0x40 B; a jump begins only when A was not held
    (0x0704, 255),  # SwimmingFlag
    (0x0714, 255),  # CrouchingFlag
    (0x079F, 255),  # StarInvincibleTimer
    (0x079E, 255),  # InjuryTimer
    (0x0709, 255),  # VerticalForce: gravity, less while A is held in a jump
    (0x0705, 255),  # Player_X_MoveForce: the fraction of the x speed
    (0x0433, 255),  # Player_Y_MoveForce: the fraction of the y speed
    (0x070E, 255),  # JumpspringAnimCtrl
)


def block_classes() -> Bytes:
    """The class of each metatile, uint8 (256,): a position in `BLOCKS`."""
    classes = np.full(256, SOLID, np.uint8)
    for found, metatiles in {
        EMPTY: (0x00, 0x5F, 0x60),  # the last two are hidden blocks
        BRICK: (0x23, *range(0x51, 0x54), *range(0x55, 0x5F)),  # 0x23: one that is bouncing
        QUESTION: (0xC0, 0xC1),
        PIPE: (*range(0x10, 0x16), *range(0x1C, 0x22), 0x6B, 0x6C),
        COIN: (0xC2, 0xC3),
        POLE: (0x24, 0x25),
        AXE: (0xC5,),
        VINE: (0x26,),
        SPRING: (0x67, 0x68),
        CANNON: (0x64, 0x65, 0x66),
    }.items():
        classes[list(metatiles)] = found
    return classes


_CLASSES: Final = block_classes()


def read_tiles(memory: bytes, before: Bytes | None = None) -> Bytes:
    """The observation of some RAM.

    Args:
        memory: the RAM, 2048 bytes.
        before: the observation before; None: this is the first of an episode.
    """
    table = np.zeros((ROWS, COLUMNS), np.uint8)
    left = memory[SCREEN_LEFT_PAGE] * 256 + memory[SCREEN_LEFT]
    first = (left + 7) // 16  # of 16 columns that have their middles on the screen
    buffers = np.frombuffer(memory, np.uint8, 2 * BLOCK_ROWS * COLUMNS, BLOCK_BUFFERS).reshape(2, BLOCK_ROWS, COLUMNS)
    columns = first + np.arange(COLUMNS)
    table[:BLOCK_ROWS] = _CLASSES[buffers[columns // COLUMNS % 2, :, columns % COLUMNS]].T
    for column, slot in enumerate(SLOTS):
        kind = _kind(memory, column, slot)
        x = memory[PAGE + slot] * 256 + memory[X_POSITION + slot]
        y = (memory[Y_HIGH + slot] - 1) * 256 + memory[Y_POSITION + slot]
        if kind == 0 or not (kind == MARIO or _is_on_screen(kind, x - left, y)):
            continue
        table[KIND_ROW : KIND_ROW + 4, column] = kind, _byte(x - 16 * first), _byte(y), memory[OBJECT_STATE + slot]
        table[SPEED_ROW : SPEED_ROW + 2, column] = memory[X_SPEED + slot] ^ 0x80, memory[Y_SPEED + slot] ^ 0x80
    table[THEN_ROW : THEN_ROW + 3] = (table if before is None else before)[KIND_ROW : KIND_ROW + 3]
    table[STATUS_ROW, : len(STATUS)] = [min(memory[address], greatest) for address, greatest in STATUS]
    return table


def _kind(memory: bytes, column: int, slot: int) -> int:
    """What is in a slot of objects; 0 if nothing is, or nothing that the screen shows."""
    if column == 0:
        return MARIO
    if column > ENEMIES:
        return HAMMER if memory[OBJECT_STATE + slot] >= 0x80 else 0  # else a coin that jumps out of a block
    enemy = slot - 1
    number = memory[ENEMY_ID + enemy]
    if not 0 < memory[ENEMY_FLAG + enemy] < 0x80 or number in NOT_DRAWN or number >= NUMBERS:
        return 0  # from 0x80 on it is the second half of another object
    if number == PIRANHA and memory[Y_POSITION + slot] >= memory[PIRANHA_DOWN + enemy]:
        return 0
    return POWER_UPS + min(memory[POWER_UP_TYPE], 3) if number == POWER_UP else number + 1


def _is_on_screen(kind: int, x: int, y: int) -> bool:
    width = LIFT_WIDTH if FIRST_LIFT < kind <= LAST_LIFT + 1 else WIDTH
    return -width < x < RIGHT_EDGE and -HEIGHT < y < BOTTOM


def _byte(number: int) -> int:
    return min(max(number, 0), 255)


class TilesObservation(gymnasium.Wrapper[Bytes, Any, Any, Any]):
    """Shows `tiles` instead of the screen."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        console = env.unwrapped
        assert isinstance(console, Console)
        self._console = console
        self.observation_space = Box(Tiles.low, Tiles.high, Tiles.shape, Tiles.dtype.type)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Bytes, dict[str, Any]]:
        """The first observation of an episode."""
        _, info = self.env.reset(seed=seed, options=options)
        self._seen = read_tiles(self._console.memory)
        return self._seen, info

    def step(self, action: Any) -> tuple[Bytes, Any, bool, bool, dict[str, Any]]:
        """The observation after a decision."""
        _, reward, terminated, truncated, info = self.env.step(action)
        self._seen = read_tiles(self._console.memory, self._seen)
        return self._seen, reward, terminated, truncated, info


@dataclass(frozen=True)
class Tiles(Observation):
    """A table of 23 rows and 16 columns.

    - Rows 0 to 12: the blocks on the screen, each as its class, a position in `BLOCKS`. The columns are those that have their
      middles on the screen. What a question block contains and where hidden blocks are is not told.
    - Rows 13 to 21: the objects, one a column: Mario, five slots of enemies, platforms and fire bars, the power-up, nine slots
      of hammers. The rows are the kind, x and y (pixels from the left edge of column 0 and from the upper edge of the screen,
      limited to 0 to 255), the game's state of the object, x and y speed (plus 128), and kind, x and y of the observation
      before. A fire bar has its angle in place of the speed, a platform what moves it. An empty slot, or an object that is not
      on the screen, is all 0.
    - Row 22: what the game knows of Mario besides: see `STATUS`.
    """

    name = "tiles"
    shape = (ROWS, COLUMNS)
    dtype = np.dtype(np.uint8)
    low, high = 0, 255
    compiled = "mario_env.nes.tiles"
    draws = False

    @classmethod
    def of(cls, config: EnvironmentConfig) -> Self:
        """See :class:`Observation`."""
        return cls()

    def wrap(self, env: Environment) -> Environment:
        """See :class:`Observation`."""
        return TilesObservation(env)
