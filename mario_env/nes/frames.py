"""The observation `frames`, compiled: maximum of two screens, luma, crop and area resize to 84 by 84, as OpenCV computes them.

Maximum and luma of two pixels are one look-up in a table of 64 x 64 colours, which is made with OpenCV itself. The resize
is computed in integers, without error: 256 columns become 84 with weights in 21sts, 240 rows (208 without the status bar) with
weights in 7ths (21sts). OpenCV adds floats. Where the result lies halfway between two integers, its rounding decides, and is
repeated here.
"""

from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from numba import int32, int64, uint64

from mario_env.nes.compiling import compiled, inlined, leaf
from mario_env.nes.picture import PALETTE_RGB
from mario_env.observations.frames import Frames
from mario_env.wrappers.observation import STATUS_BAR_ROWS

NEWEST: Final = Frames.shape[0] - 1  # the last place of the stack
SIZE: Final = Frames.shape[1]
WIDTH, HEIGHT = 256, 240
TAPS: Final = 4  # no output pixel is covered by more rows or columns
# 256 columns become 84: four groups, in each of which 64 columns become 21. Output p of a group covers column 3p from p 21sts
# on, the next two, and p + 1 21sts of the fourth.
GROUPS: Final = 4
GROUP_COLUMNS: Final = WIDTH // GROUPS
GROUP_SIZE: Final = SIZE // GROUPS
if Frames.shape[2] != SIZE or GROUP_COLUMNS != 3 * GROUP_SIZE + 1:
    raise ImportError(f"the compiled resize makes 84 columns and rows of {WIDTH} columns, not {Frames.shape[1:]}")
SHIFT: Final = 18  # of the reciprocal
HALF: Final = np.float32(0.5)
BYTE: Final = np.uint64(0xFF)
RING_LINES: Final = 32
RING: Final = RING_LINES - 1

TABLES: Final = np.dtype(
    [
        ("luma", np.uint8, 64 * 64),
        ("first_row", np.int64),
        ("rows", np.int64, SIZE),  # the first of the four rows an output row is made of
        ("row_weights", np.uint16, (SIZE, TAPS)),
        ("row_floats", np.float32, (SIZE, TAPS)),
        ("columns", np.int64, SIZE),
        ("column_floats", np.float32, (SIZE, TAPS)),
        ("parts", np.int64),  # the sum of an output pixel's weights is so many times 256
        ("reciprocal", np.int64),  # 2**SHIFT / parts, rounded up
    ],
    align=True,
)

SCRATCH: Final = np.dtype(
    {
        # `gray_words` and `gray` are the same memory: a ring of 32 lines of 256 bytes, which stays in the fastest cache.
        "names": ["gray_words", "gray", "sums", "values"],
        "formats": [
            (np.uint64, RING_LINES * WIDTH // 8),
            (np.uint8, RING_LINES * WIDTH),
            (np.uint16, 2 * WIDTH),
            (np.int32, SIZE),
        ],
        "offsets": [0, 0, RING_LINES * WIDTH, RING_LINES * WIDTH + 4 * WIDTH],
    },
    align=True,
)


class _Axis(NamedTuple):
    first: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int64]
    floats: npt.NDArray[np.float32]
    total: int


def _axis(source: int) -> _Axis:
    """What each of 84 output pixels takes from `source` pixels: the first, integer weights, and OpenCV's (resize.cpp)."""
    divisor = int(np.gcd(source, SIZE))
    unit, total = SIZE // divisor, source // divisor  # an output pixel is `total` units wide, an input pixel `unit`
    first, weights = np.zeros(SIZE, np.int64), np.zeros((SIZE, TAPS), np.int64)
    floats = np.zeros((SIZE, TAPS), np.float32)
    scale = source / SIZE
    for i in range(SIZE):
        start, end = i * total, (i + 1) * total
        first[i] = min(start // unit, source - TAPS)
        for tap in range(TAPS):
            left = (int(first[i]) + tap) * unit
            weights[i, tap] = max(0, min(end, left + unit) - max(start, left))
            low, high = max(i * scale, int(first[i]) + tap), min((i + 1) * scale, int(first[i]) + tap + 1)
            if weights[i, tap]:
                floats[i, tap] = 1.0 / scale if weights[i, tap] == unit else (high - low) / scale
    return _Axis(first, weights, floats, total)


def make_tables(observation: Frames) -> npt.NDArray[np.void]:
    """One TABLES record."""
    tables = np.zeros(1, TABLES)
    table: Any = tables[0]
    pairs = np.maximum(PALETTE_RGB[:, None], PALETTE_RGB[None, :])
    table["luma"] = cv2.cvtColor(np.ascontiguousarray(pairs), cv2.COLOR_RGB2GRAY).reshape(-1)
    table["first_row"] = STATUS_BAR_ROWS if observation.crop_status_bar else 0
    rows, columns = _axis(HEIGHT - int(table["first_row"])), _axis(WIDTH)
    table["rows"] = rows.first + table["first_row"]
    table["row_weights"], table["row_floats"] = rows.weights, rows.floats
    table["columns"], table["column_floats"] = columns.first, columns.floats
    table["parts"] = rows.total * columns.total >> 8
    table["reciprocal"] = -(-(1 << SHIFT) // int(table["parts"]))
    return tables


@compiled
def write_first(machine: Any, screens: Any, tables: Any, scratch: Any, output: Any) -> None:
    """Write the first observation of an episode: its only screen fills the stack."""
    newest = output[NEWEST]
    draw(screens[0], screens[0], tables, scratch, newest)
    for i in range(NEWEST):
        output[i] = newest


@compiled
def write_next(machine: Any, screens: Any, last: int, tables: Any, scratch: Any, before: Any, output: Any) -> None:
    """Write the observation after a decision, from its last two frames; one that had a single frame shows only that."""
    previous = last & 1 if last == 0 else (last - 1) & 1
    output[:NEWEST] = before[1:]
    draw(screens[previous], screens[last & 1], tables, scratch, output[NEWEST])


@leaf
def draw(previous: Any, last: Any, r: Any, s: Any, output: Any) -> None:
    """Draw the small gray picture of two screens' words.

    Args:
        previous, last: the words of the screens.
        r: a TABLES record.
        s: a SCRATCH record.
        output: uint8 (SIZE, SIZE).
    """
    gray, sums, values = s.gray, s.sums, s.values
    y, halves = 0, 1
    for band in range(r.first_row >> 3, HEIGHT >> 3):
        _pool(previous, last, r, band, s.gray_words)
        while y < SIZE and r.rows[y] + TAPS <= 8 * band + 8:
            row = (y & 1) * WIDTH
            _weigh_rows(gray, r.rows[y], r.row_weights[y], sums, row)
            if halves == 0 and _is_repeated(sums):  # a third of the rows, typically; halves may be rounded differently
                for x in range(SIZE):
                    output[y, x] = output[y - 1, x]
            else:
                halves = _weigh_columns(gray, r, y, sums, row, values, output)
            y += 1


@leaf
def _is_repeated(sums: Any) -> bool:
    """Whether both rows of sums are the same."""
    different = 0
    for x in range(WIDTH):
        different |= sums[x] ^ sums[WIDTH + x]
    return different == 0


@leaf
def _weigh_rows(gray: Any, top: int, weights: Any, sums: Any, row: int) -> None:
    """Four rows with their weights, as one row of sums."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    first, second = (top & RING) * WIDTH, (top + 1 & RING) * WIDTH
    third, fourth = (top + 2 & RING) * WIDTH, (top + 3 & RING) * WIDTH
    for x in range(WIDTH):
        upper = gray[first + x] * w0 + gray[second + x] * w1
        sums[(row & WIDTH) + x] = upper + gray[third + x] * w2 + gray[fourth + x] * w3


@leaf
def _weigh_columns(gray: Any, r: Any, y: int, sums: Any, row: int, values: Any, output: Any) -> int:
    """A row of the observation; returns how many of its pixels lie halfway between two integers.

    Without a branch and in 32 bits, so that the loops become vector instructions; the halves, rare, get a loop of their own.
    """
    parts, reciprocal = int32(r.parts), int32(r.reciprocal)
    half = parts << int32(7)
    for group in range(GROUPS):
        first = (row & WIDTH) + GROUP_COLUMNS * group
        for p in range(GROUP_SIZE):
            x = first + 3 * p
            outer = int32(sums[x]) * int32(GROUP_SIZE - p) + int32(sums[x + 3]) * int32(p + 1)
            inner = (int32(sums[x + 1]) + int32(sums[x + 2])) * int32(GROUP_SIZE)
            values[group * GROUP_SIZE + p] = outer + inner + half
    halves = int32(0)
    for x in range(SIZE):
        high = values[x] >> int32(8)
        rounded = high * reciprocal >> int32(SHIFT)
        halves += int32(values[x] & int32(0xFF) == 0) & int32(rounded * parts == high)
        output[y, x] = rounded
    if halves:
        for x in range(SIZE):
            high = values[x] >> int32(8)
            if values[x] & int32(0xFF) == 0 and (high * reciprocal >> int32(SHIFT)) * parts == high:
                output[y, x] = _as_opencv_rounds(r, gray, y, x)
    return int(halves)


@leaf
def _pool(previous: Any, last: Any, r: Any, band: int, gray_words: Any) -> None:
    """The luma of the pixelwise maximum in eight lines, a row of blocks."""
    luma = r.luma
    first = band * 256 & 0x1F00
    seen_a, seen_b, seen = ~last[first], uint64(0), uint64(0)
    for column in range(32):
        at, out = first | column << 3, (band * 8 & RING) << 5 | column
        different = uint64(0)
        for row in range(8):
            different |= (last[at + row] ^ seen_a) | (previous[at + row] ^ seen_b)
        if different == 0:  # an even area is looked up once
            for row in range(8):
                gray_words[out + row * 32] = seen
            continue
        for row in range(8):
            a, b = last[at + row], previous[at + row]
            if a != seen_a or b != seen_b:
                seen_a, seen_b, seen = a, b, _look_up(luma, a, b)
            gray_words[out + row * 32] = seen


@inlined
def _look_up(luma: Any, a: Any, b: Any) -> Any:
    """Eight pairs of colours."""
    gray = uint64(0)
    for i in range(8):
        shift = uint64(8 * i)
        pair = int64((a >> shift) & BYTE) << 6 | int64((b >> shift) & BYTE)
        gray |= uint64(luma[pair & 0xFFF]) << shift
    return gray


@inlined
def _weigh_line(gray: Any, at: int, w: Any) -> Any:
    """Four pixels of a line with their weights, in single precision."""
    left = np.float32(gray[at]) * w[0] + np.float32(gray[at + 1]) * w[1]
    return left + np.float32(gray[at + 2]) * w[2] + np.float32(gray[at + 3]) * w[3]


@leaf
def _as_opencv_rounds(r: Any, gray: Any, y: int, x: int) -> int:
    """An output pixel as OpenCV adds it up, in single precision and in its order; half of an integer goes to the even one.

    OpenCV leaves out what has no weight; adding it makes no difference, since a product with 0 is 0.
    """
    top, column = r.rows[y], r.columns[x] & 0xFF
    a, b = r.column_floats[x], r.row_floats[y]
    first, second = (top & RING) * WIDTH + column, (top + 1 & RING) * WIDTH + column
    third, fourth = (top + 2 & RING) * WIDTH + column, (top + 3 & RING) * WIDTH + column
    total = _weigh_line(gray, first, a) * b[0] + _weigh_line(gray, second, a) * b[1]
    total = total + _weigh_line(gray, third, a) * b[2] + _weigh_line(gray, fourth, a) * b[3]
    low = int(total)
    rest = total - np.float32(low)
    if rest > HALF or (rest == HALF and low & 1):
        low += 1
    return low
