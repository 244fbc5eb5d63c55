"""Observations of arbitrary screens, against OpenCV."""

from typing import Any

import cv2
import numba
import numpy as np
import pytest

from mario_env.nes import observation
from mario_env.nes.picture import PALETTE_RGB, unfold


@numba.njit
def _observe(previous: Any, last: Any, tables: Any, gray_words: Any, gray: Any, sums: Any, values: Any, output: Any) -> None:
    observation.observe(previous, last, tables[0], gray_words, gray, sums, values, output)


@pytest.mark.parametrize("crop", [False, True])
def test_observations_are_those_of_opencv(crop: bool) -> None:
    tables, generator = observation.resize_tables(crop), np.random.default_rng(0)
    gray_words, sums, values = np.zeros(1024, np.uint64), np.zeros(512, np.uint16), np.zeros(84, np.int32)
    output = np.zeros((84, 84), np.uint8)
    for i in range(80):
        colours = generator.integers(0, 64, int(generator.choice([2, 4, 64])))  # few: many results lie between two integers
        last = colours[generator.integers(0, len(colours), 240 * 256)].astype(np.uint8)
        if i % 4 == 0:
            last[: 120 * 256] = np.tile(last[:2048], 15)  # the same in every row of blocks
        previous = last if i % 2 else generator.permutation(last)
        a, b = last.view(np.uint64), previous.view(np.uint64)
        _observe(b, a, tables, gray_words, gray_words.view(np.uint8), sums, values, output)
        seen = np.maximum(PALETTE_RGB[unfold(a)], PALETTE_RGB[unfold(b)])
        gray = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)[32 if crop else 0 :]
        np.testing.assert_array_equal(output, cv2.resize(gray, (84, 84), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("crop", [False, True])
def test_the_division_by_multiplication_is_exact(crop: bool) -> None:
    table: Any = observation.resize_tables(crop)[0]
    parts, total = int(table["parts"]), (52 if crop else 20) * 64
    assert parts * 256 == total
    values = np.arange(255 * total + total // 2 + 1, dtype=np.int64)
    assert int((values[-1] >> 8) * table["reciprocal"]) < 2**31, "the compiled code has 32 bits"
    np.testing.assert_array_equal((values >> 8) * table["reciprocal"] >> observation.SHIFT, values // total)
