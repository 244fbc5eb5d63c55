"""The contact sheet: the flags of all 32 levels, a column for each world."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from configs.game_facts import STAGES, WORLDS
from reports.levels.picture import read_png
from reports.levels.results import LevelResult
from reports.video import FRAME_SHAPE, Frame

_GAP: Final = 8
_LABEL: Final = 28  # pixels: the height of the strip below a picture
_SCALE: Final = 2  # Pillow's own bitmap font, enlarged: it has the same pixels in every version
_INK, _PAPER, _EMPTY = (35, 33, 43), (255, 255, 255), (228, 223, 211)
_HEIGHT, _WIDTH = FRAME_SHAPE[0] + _LABEL + _GAP, FRAME_SHAPE[1] + _GAP


def contact_sheet(results: Mapping[str, LevelResult]) -> Frame:
    """A picture of all levels: world by column, stage by row.

    A level that no episode completed has the furthest moment in gray. One without a result has an empty place, which says so.

    Args:
        results: by level.

    Returns:
        uint8 RGB of shape (height, width, 3).
    """
    sheet = Image.new("RGB", (len(WORLDS) * _WIDTH + _GAP, len(STAGES) * _HEIGHT + _GAP), _PAPER)
    for world in WORLDS:
        for stage in STAGES:
            level = f"{world}-{stage}"
            place = ((world - 1) * _WIDTH + _GAP, (stage - 1) * _HEIGHT + _GAP)
            _draw(sheet, place, level, results.get(level))
    return np.asarray(sheet)


def place_of(level: str) -> tuple[int, int]:
    """The top and left pixel of a level's picture in the sheet."""
    return (int(level[2]) - 1) * _HEIGHT + _GAP, (int(level[0]) - 1) * _WIDTH + _GAP


def label(level: str, result: LevelResult | None) -> str:
    """What stands below a level's picture."""
    if result is None:
        return f"{level}  no result yet"
    if not result.reached:
        return f"{level}  {result.facts['furthest']} of {result.route.distance} px"
    played = result.evaluation.get("stochastic")
    return level if played is None else f"{level}  {played['completed']} of {played['episodes']}"


def _draw(sheet: Image.Image, place: tuple[int, int], level: str, result: LevelResult | None) -> None:
    picture = None if result is None else result.picture
    if result is None or picture is None:
        shown = Image.new("RGB", (FRAME_SHAPE[1], FRAME_SHAPE[0]), _EMPTY)
        middle = _text("no result yet" if result is None else "no picture")
        shown.paste(middle, ((shown.width - middle.width) // 2, (shown.height - middle.height) // 2))
    else:
        shown = Image.fromarray(read_png(picture) if result.reached else _gray(read_png(picture)))
    sheet.paste(shown, place)
    sheet.paste(_text(label(level, result), _PAPER), (place[0], place[1] + FRAME_SHAPE[0] + 3))


def _text(text: str, paper: tuple[int, int, int] = _EMPTY) -> Image.Image:
    font = ImageFont.load_default_imagefont()
    left, top, right, bottom = font.getbbox(text)
    drawn = Image.new("RGB", (int(right - left), int(bottom - top)), paper)
    ImageDraw.Draw(drawn).text((-left, -top), text, fill=_INK, font=font)
    return drawn.resize((drawn.width * _SCALE, drawn.height * _SCALE), Image.Resampling.NEAREST)


def _gray(picture: Frame) -> Frame:
    """The picture without colours and paler: not a flag."""
    luma = picture.astype(np.uint16) @ np.array([77, 150, 29], np.uint16) >> 8
    return np.repeat((luma // 2 + 96).astype(np.uint8)[..., None], 3, axis=2)
