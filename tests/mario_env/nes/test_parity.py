"""The emulator against nes-py, frame by frame. MARIO_PARITY_FRAMES asks for more than the few frames of an ordinary run."""

import os

import pytest

from benchmarks.parity import Play, lockstep, plays

FRAMES = int(os.environ.get("MARIO_PARITY_FRAMES", "8000"))
STRETCH = max(240, FRAMES // 66)


def _name(play: Play) -> str:
    return f"{play.game}-{play.world}-{play.stage}-{play.rom}-{play.style}"


@pytest.mark.parametrize("play", plays(FRAMES, 1, STRETCH, 1), ids=_name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_every_byte_and_every_pixel_are_those_of_nes_py(play: Play) -> None:
    assert lockstep(play).frames == play.frames
