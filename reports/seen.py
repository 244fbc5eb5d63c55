"""Pictures of what an agent sees, to be shown beside the game.

A picture has the size of a screen that is enlarged three times. What `tiles` says is drawn where the screen shows it.
"""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from configs.schema import EnvironmentConfig
from mario_env.observations import tiles
from reports.video import FRAME_SHAPE, Frame

__all__ = ["SHAPE", "beside", "draw_observation", "tile_legend"]

SCALE: Final = 3
HEIGHT, WIDTH = FRAME_SHAPE[0] * SCALE, FRAME_SHAPE[1] * SCALE
SHAPE: Final = (HEIGHT, 2 * WIDTH, 3)
"""Of a screen with what the agent sees beside it."""

_CELL: Final = 16 * SCALE
_TOP: Final = 32 * SCALE  # the status bar's rows
_BACKGROUND, _INK, _FAINT = (24, 26, 32), (236, 236, 236), (58, 62, 72)
_MARIO_COLOUR, _POWER_UP_COLOUR, _LIFT_COLOUR, _ENEMY_COLOUR = (228, 52, 40), (96, 208, 88), (236, 168, 60), (200, 110, 220)
_BLOCK_COLOURS: Final = {
    "solid": (122, 84, 58), "brick": (176, 92, 48), "question": (244, 188, 52), "pipe": (48, 148, 68), "coin": (255, 226, 110),
    "pole": (150, 220, 150), "axe": (220, 220, 220), "vine": (90, 180, 60), "spring": (230, 120, 120), "cannon": (96, 104, 116),
}  # fmt: skip
_NAMES: Final = {
    0x00: "koopa", 0x02: "beetle", 0x03: "koopa", 0x05: "hammer bro", 0x06: "goomba", 0x07: "blooper", 0x08: "bullet",
    0x0A: "cheep", 0x0B: "cheep", 0x0C: "podoboo", 0x0D: "piranha", 0x0E: "paratroopa", 0x0F: "paratroopa", 0x10: "paratroopa",
    0x11: "lakitu", 0x12: "spiny", 0x14: "cheep", 0x15: "flame", 0x16: "firework", 0x2D: "bowser", 0x2F: "vine", 0x30: "flag",
    0x31: "star flag", 0x32: "spring", 0x33: "bullet", 0x35: "princess",
}  # fmt: skip
_FIRE_BARS: Final = range(0x1B, 0x20)
_FIRE_BAR_LENGTH: Final = 44  # pixels; the only long one is in 5-4
_LIFTS: Final = range(tiles.FIRST_LIFT, tiles.LAST_LIFT + 1)
_POWER_UP_NAMES: Final = ("mushroom", "flower", "star", "1-up")
_STATES: Final = ("on the ground", "jumps", "falls", "climbs")
_SIZES: Final = ("small", "tall", "fireball")


def beside(screen: Frame, seen: Frame) -> Frame:
    """A screen, enlarged, with the picture `seen` at its right: uint8 RGB of shape `SHAPE`."""
    return np.concatenate([screen.repeat(SCALE, axis=0).repeat(SCALE, axis=1), seen], axis=1)


def draw_observation(config: EnvironmentConfig, observation: npt.NDArray[Any]) -> Frame:
    """What an agent sees in the environment of `config`, as a picture: uint8 RGB of shape (720, 768, 3)."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), _BACKGROUND)
    canvas = ImageDraw.Draw(picture)
    if config.observation == "tiles":
        _draw_tiles(canvas, observation)
    else:
        _draw_frames(picture, canvas, observation)
    return np.asarray(picture)


def tile_legend() -> dict[str, Any]:
    """How tiles are drawn, as JSON types: for pages that draw them themselves.

    Returns:
        `blocks`: the colour of each class of blocks, null for an empty one. `kinds`: of each kind of objects, from 1, its name,
        its colour, its width in pixels, and whether it is a fire bar. The other keys are rows of the table of
        :class:`mario_env.observations.Tiles`.
    """
    kinds = []
    for kind in range(1, tiles.KINDS):
        name, colour = _appearance(kind)
        width = tiles.LIFT_WIDTH if kind - 1 in _LIFTS else tiles.WIDTH
        kinds.append([name, _css(colour), width, kind - 1 in _FIRE_BARS])
    blocks = [_css(_BLOCK_COLOURS[name]) if name in _BLOCK_COLOURS else None for name in tiles.BLOCKS]
    rows = {
        "block_rows": tiles.BLOCK_ROWS, "kind_row": tiles.KIND_ROW, "x_row": tiles.X_ROW, "y_row": tiles.Y_ROW,
        "angle_row": tiles.SPEED_ROW + 1, "status_row": tiles.STATUS_ROW,
    }  # fmt: skip
    return {"blocks": blocks, "kinds": kinds, "mario": tiles.MARIO, "bar_length": _FIRE_BAR_LENGTH, **rows}


def _css(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _draw_frames(picture: Image.Image, canvas: ImageDraw.ImageDraw, frames: npt.NDArray[np.uint8]) -> None:
    """The frames of a stack, two by two, the newest at the lower right."""
    size = (WIDTH // 2 - 16, HEIGHT // 2 - 36)
    for number, frame in enumerate(frames):
        ago = len(frames) - 1 - number
        left, top = number % 2 * (WIDTH // 2) + 8, number // 2 * (HEIGHT // 2) + 28
        picture.paste(Image.fromarray(frame).resize(size, Image.Resampling.NEAREST), (left, top))
        label = "newest frame" if ago == 0 else f"{ago} decision{'s' * (ago != 1)} before"
        canvas.text((left, top - 22), label, _INK, _font(16))


def _draw_tiles(canvas: ImageDraw.ImageDraw, table: npt.NDArray[np.uint8]) -> None:
    for row, column in np.ndindex(tiles.BLOCK_ROWS, tiles.COLUMNS):
        left, top = column * _CELL, _TOP + row * _CELL
        name = tiles.BLOCKS[table[row, column]]
        canvas.rectangle((left, top, left + _CELL - 2, top + _CELL - 2), _BLOCK_COLOURS.get(name), _FAINT)
    for column in range(tiles.COLUMNS - 1, -1, -1):  # Mario is drawn last
        if table[tiles.KIND_ROW, column]:
            _draw_object(canvas, table, column)
    canvas.text((10, 8), _about_mario(table), _INK, _font(20))
    edge = 10.0
    for name, colour in _BLOCK_COLOURS.items():
        canvas.rectangle((edge, 56, edge + 14, 70), colour)
        canvas.text((edge + 19, 54), name, _INK, _font(14))
        edge += 32 + _font(14).getlength(name)


def _about_mario(table: npt.NDArray[np.uint8]) -> str:
    speed = int(table[tiles.SPEED_ROW, 0]) - 128
    size, state = _SIZES[table[tiles.STATUS_ROW, 0]], _STATES[table[tiles.STATE_ROW, 0] % len(_STATES)]
    held = ", A held" if table[tiles.STATUS_ROW, 3] >= 0x80 else ""
    return f"Mario: {size}, {state}, speed {speed:+d}{held}"


def _draw_object(canvas: ImageDraw.ImageDraw, table: npt.NDArray[np.uint8], column: int) -> None:
    kind, x, y = (int(table[row, column]) for row in (tiles.KIND_ROW, tiles.X_ROW, tiles.Y_ROW))
    name, colour = _appearance(kind)
    small = kind == tiles.MARIO and table[tiles.STATUS_ROW, 0] == 0
    above, height = (16, 16) if small else (0, 32) if kind == tiles.MARIO else (8, 16)  # enemies are drawn from 8 pixels down
    width = tiles.LIFT_WIDTH if kind - 1 in _LIFTS else tiles.WIDTH
    left, top = x * SCALE, (y + above) * SCALE
    box = (left, top, left + width * SCALE - 1, top + (8 if kind - 1 in _LIFTS else height) * SCALE - 1)
    if kind - 1 in _FIRE_BARS:
        top = y * SCALE
        _draw_fire_bar(canvas, (left + 8 * SCALE, top + 8 * SCALE), int(table[tiles.SPEED_ROW + 1, column]) ^ 0x80)
    else:
        canvas.rectangle(box, colour, _INK)
    canvas.text((left, top - 18), name, _INK, _font(15), stroke_width=2, stroke_fill=_BACKGROUND)


def _draw_fire_bar(canvas: ImageDraw.ImageDraw, middle: tuple[int, int], angle: int) -> None:
    """A bar from its middle, at one of the game's 32 angles: 0 is up, and they count clockwise."""
    turn, length = 2 * math.pi * angle / 32, _FIRE_BAR_LENGTH * SCALE
    canvas.line((*middle, middle[0] + length * math.sin(turn), middle[1] - length * math.cos(turn)), _ENEMY_COLOUR, 8 * SCALE)


def _appearance(kind: int) -> tuple[str, tuple[int, int, int]]:
    """The name and the colour of a kind of object."""
    number = kind - 1
    if kind == tiles.MARIO:
        return "Mario", _MARIO_COLOUR
    if kind == tiles.HAMMER:
        return "hammer", _ENEMY_COLOUR
    if kind >= tiles.POWER_UPS:
        return _POWER_UP_NAMES[kind - tiles.POWER_UPS], _POWER_UP_COLOUR
    if number in _LIFTS:
        return "lift", _LIFT_COLOUR
    return ("fire bar" if number in _FIRE_BARS else _NAMES.get(number, f"object {number}")), _ENEMY_COLOUR
