"""Observations of arbitrary screens, against OpenCV."""

from typing import Any

import cv2
import numba
import numpy as np
import pytest

from mario_env.nes import frames
from mario_env.nes.picture import PALETTE_RGB, unfold
from mario_env.observations import Frames


@numba.njit
def _draw(previous: Any, last: Any, tables: Any, scratch: Any, output: Any) -> None:
    frames.draw(previous, last, tables[0], scratch[0], output)


@pytest.mark.parametrize("crop", [False, True])
def test_observations_are_those_of_opencv(crop: bool) -> None:
    tables, scratch, generator = frames.make_tables(Frames(crop)), np.zeros(1, frames.SCRATCH), np.random.default_rng(0)
    output = np.zeros(Frames.shape[1:], np.uint8)
    for i in range(80):
        colours = generator.integers(0, 64, int(generator.choice([2, 4, 64])))  # few: many results lie between two integers
        last = colours[generator.integers(0, len(colours), 240 * 256)].astype(np.uint8)
        if i % 4 == 0:
            last[: 120 * 256] = np.tile(last[:2048], 15)  # the same in every row of blocks
        previous = last if i % 2 else generator.permutation(last)
        a, b = last.view(np.uint64), previous.view(np.uint64)
        _draw(b, a, tables, scratch, output)
        seen = np.maximum(PALETTE_RGB[unfold(a)], PALETTE_RGB[unfold(b)])
        gray = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)[32 if crop else 0 :]
        np.testing.assert_array_equal(output, cv2.resize(gray, output.shape[::-1], interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("crop", [False, True])
def test_the_division_by_multiplication_is_exact(crop: bool) -> None:
    table: Any = frames.make_tables(Frames(crop))[0]
    parts, total = int(table["parts"]), (52 if crop else 20) * 64
    assert parts * 256 == total
    values = np.arange(255 * total + total // 2 + 1, dtype=np.int64)
    assert int((values[-1] >> 8) * table["reciprocal"]) < 2**31, "the compiled code has 32 bits"
    np.testing.assert_array_equal((values >> 8) * table["reciprocal"] >> frames.SHIFT, values // total)
