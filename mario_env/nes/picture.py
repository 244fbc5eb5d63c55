"""Draws the PPU's picture: one byte a pixel, an index into the 64 colours.

The screen lies in memory as the background is drawn: in blocks of 8 by 8 pixels, row by row of blocks. Each block is eight
words of eight pixels, the leftmost in the lowest byte. Pixel (x, y) is byte (y // 8 * 32 + x // 8) * 64 + y % 8 * 8 + x % 8.
`unfold` makes a picture of it. A row of a tile is coloured eight pixels at a time, with masks that say in which of its bytes
bit 0 and bit 1 of the pixel are set.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import int64, uint64

from mario_env.nes.compiling import inlined, leaf
from mario_env.nes.vram import after_lines, nametable_index, next_row, read_vram, start_of_line

EVERY_BYTE: Final = np.uint64(0x0101010101010101)
ALL_BITS: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
ONE: Final = np.uint64(1)

# nes-py's palette, as RGB
PALETTE: Final = np.array(
    [
        0x7C7C7C, 0x0000FC, 0x0000BC, 0x4428BC, 0x940084, 0xA80020, 0xA81000, 0x881400,
        0x503000, 0x007800, 0x006800, 0x005800, 0x004058, 0x000000, 0x000000, 0x000000,
        0xBCBCBC, 0x0078F8, 0x0058F8, 0x6844FC, 0xD800CC, 0xE40058, 0xF83800, 0xE45C10,
        0xAC7C00, 0x00B800, 0x00A800, 0x00A844, 0x008888, 0x000000, 0x000000, 0x000000,
        0xF8F8F8, 0x3CBCFC, 0x6888FC, 0x9878F8, 0xF878F8, 0xF85898, 0xF87858, 0xFCA044,
        0xF8B800, 0xB8F818, 0x58D854, 0x58F898, 0x00E8D8, 0x787878, 0x000000, 0x000000,
        0xFCFCFC, 0xA4E4FC, 0xB8B8F8, 0xD8B8F8, 0xF8B8F8, 0xF8A4C0, 0xF0D0B0, 0xFCE0A8,
        0xF8D878, 0xD8F878, 0xB8F8B8, 0xB8F8D8, 0x00FCFC, 0xF8D8F8, 0x000000, 0x000000,
    ],
    dtype=np.uint32,
)  # fmt: skip
PALETTE_RGB: Final = np.stack([PALETTE >> 16 & 0xFF, PALETTE >> 8 & 0xFF, PALETTE & 0xFF], axis=1).astype(np.uint8)


def unfold(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Colour indices of a screen's words. Shape (7680,) to (240, 256)."""
    blocks = words.view(np.uint8).reshape(30, 32, 8, 8)
    return blocks.transpose(0, 2, 1, 3).reshape(240, 256)


@inlined
def _colour(m: Any, index: int) -> int:
    return int64(m.palette[index]) & 0x3F


@leaf
def choose_sprites(m: Any, line: int) -> int:
    """Put the first eight sprites of a line into `frozen`, as the end of the line before would; returns their number."""
    above = line - 1 if line else 239
    height = 16 if m.ppuctrl & 0x20 else 8
    count = 0
    for i in range(m.oamaddr >> 2, 64):
        row = above - int64(m.oam[4 * i])
        if 0 <= row < height:
            m.frozen[count] = i
            count += 1
            if count == 8:
                break
    return count


@leaf
def has_sprite0(m: Any, line: int) -> bool:
    """Whether sprite 0 is in the list of a line. It would be the first there."""
    if line == m.frozen_line:
        return m.frozen_count > 0 and m.frozen[0] == 0
    row = (line - 1 if line else 239) - int64(m.oam[0])
    return m.oamaddr < 4 and 0 <= row < (16 if m.ppuctrl & 0x20 else 8)


@inlined
def _character(m: Any, c: Any, address: int) -> int:
    """A row of a tile's plane. The row before tile 0 is at the end of the address space (see :func:`sprite_row`)."""
    address &= 0xFFFF
    return int64(c.chr[address & 0x1FFF]) if address < 0x2000 else read_vram(m, c, address)


@inlined
def sprite_row(m: Any, c: Any, sprite: int, line: int) -> int:
    """The two planes of a sprite on a line (plane 1 in the high byte), the leftmost pixel in the highest bit."""
    tile, attributes = int64(m.oam[4 * sprite + 1]), int64(m.oam[4 * sprite + 2])
    height = 16 if m.ppuctrl & 0x20 else 8
    row = line - ((int64(m.oam[4 * sprite]) + 1) & 0xFF)
    row = row % height if row >= 0 else -(-row % height)  # C's remainder: negative on line 0 and after a change of the OAM
    if attributes & 0x80:
        row ^= height - 1
    if height == 8:
        address = tile * 16 + row + (0x1000 if m.ppuctrl & 0x08 else 0)
    else:
        address = (tile >> 1) * 32 + ((row & 7) | (row & 8) << 1)
        address |= (tile & 1) << 12
    low, high = _character(m, c, address), _character(m, c, address + 8)
    if attributes & 0x40:
        low, high = int64(c.reversed[low]), int64(c.reversed[high])
    return low | high << 8


@inlined
def _tile(m: Any, c: Any, v: int, column: int) -> int:
    """A tile's index among the pattern table's rows, with the palette it has in bits 16 and 17. `v` is at the left edge."""
    x = ((v >> 10 & 1) << 5 | (v & 0x1F)) + column
    table = (v & 0x800) | (x >> 5 & 1) << 10
    row, x = v >> 5 & 0x1F, x & 0x1F
    tile = int64(m.nametables[nametable_index(c, table | row << 5 | x)])
    attribute = int64(m.nametables[nametable_index(c, table | 0x3C0 | row >> 2 << 3 | x >> 2)])
    palette = attribute >> ((row & 2) << 1 | (x & 2)) & 3
    return (m.ppuctrl >> 4 & 1) << 11 | tile << 3 | palette << 16


@leaf
def background_row(m: Any, c: Any, v: int, x: int) -> int:
    """Which of eight pixels from x on are not transparent, the leftmost in bit 7. `v` is that of the left edge."""
    if not m.ppumask & 0x08:
        return 0
    column, fine_y, bits = (m.fine_x + x) >> 3, v >> 12 & 7, 0
    for i in range(2):
        tile = (_tile(m, c, v, column + i) & 0xFFF) | fine_y
        address = (tile >> 3) << 4 | (tile & 7)
        bits = bits << 8 | int64(c.chr[address]) | int64(c.chr[address + 8])
    opaque = bits >> (8 - ((m.fine_x + x) & 7)) & 0xFF
    if x < 8 and not m.ppumask & 0x02:
        opaque &= 0xFF >> (8 - x)
    return opaque


@leaf
def _mix_palettes(m: Any) -> None:
    """For each palette of the background: the backdrop, and what the masks of a tile's planes switch in it (bit 0, 1, both)."""
    backdrop = _colour(m, 0)
    for palette in range(4):
        one, two, three = _colour(m, 4 * palette + 1), _colour(m, 4 * palette + 2), _colour(m, 4 * palette + 3)
        m.mixed[4 * palette] = uint64(backdrop) * EVERY_BYTE
        m.mixed[4 * palette + 1] = uint64(backdrop ^ one) * EVERY_BYTE
        m.mixed[4 * palette + 2] = uint64(backdrop ^ two) * EVERY_BYTE
        m.mixed[4 * palette + 3] = uint64(backdrop ^ one ^ two ^ three) * EVERY_BYTE


@inlined
def _tile_word(m: Any, c: Any, v: int, column: int) -> Any:
    """Eight pixels of a tile's row."""
    tile = _tile(m, c, v, column)
    row, palette = (tile & 0xFFF) | (v >> 12 & 7), tile >> 16 << 2
    low, high = c.plane0[row], c.plane1[row]
    return m.mixed[palette] ^ (low & m.mixed[palette | 1]) ^ (high & m.mixed[palette | 2]) ^ (low & high & m.mixed[palette | 3])


@leaf
def _background_line(m: Any, c: Any, words: Any, line: int, v: int, left: int, right: int) -> None:
    """Draw the background of a line from pixel `left` up to `right`. `v` is that of the left edge."""
    shift = uint64(8 * m.fine_x)
    backdrop = m.mixed[0]
    shown = m.ppumask & 0x08
    first, last = left >> 3, (right - 1) >> 3
    word = _tile_word(m, c, v, first)
    for column in range(first, last + 1):
        following = _tile_word(m, c, v, column + 1)
        drawn = word >> shift | (following << ONE) << (uint64(63) - shift) if m.fine_x else word
        word = following
        if not shown or (column == 0 and not m.ppumask & 0x02):
            drawn = backdrop
        mask: Any = ALL_BITS
        if column == first:
            mask &= ALL_BITS << uint64(8 * (left & 7))
        if column == last and right & 7:
            mask &= ~(ALL_BITS << uint64(8 * (right & 7)))
        at = (line >> 3) << 8 | column << 3 | (line & 7)
        words[at] = (words[at] & ~mask) | (drawn & mask)


@inlined
def _colour_row(low: int, high: int, colours: tuple[int, int, int, int]) -> int:
    """Eight pixels, from the masks of their bits."""
    backdrop, one, two, both = colours
    return backdrop ^ (low & one) ^ (high & two) ^ (low & high & both)


@inlined
def _colour_tile(words: Any, at: int, plane0: Any, plane1: Any, first: int, colours: tuple[int, int, int, int]) -> None:
    """The eight rows of a tile. All are read before any is written, so that LLVM puts them into one vector register."""
    a0, b0, a1, b1 = plane0[first], plane1[first], plane0[first + 1], plane1[first + 1]
    a2, b2, a3, b3 = plane0[first + 2], plane1[first + 2], plane0[first + 3], plane1[first + 3]
    a4, b4, a5, b5 = plane0[first + 4], plane1[first + 4], plane0[first + 5], plane1[first + 5]
    a6, b6, a7, b7 = plane0[first + 6], plane1[first + 6], plane0[first + 7], plane1[first + 7]
    c0, c1, c2, c3 = (
        _colour_row(a0, b0, colours),
        _colour_row(a1, b1, colours),
        _colour_row(a2, b2, colours),
        _colour_row(a3, b3, colours),
    )
    c4, c5, c6, c7 = (
        _colour_row(a4, b4, colours),
        _colour_row(a5, b5, colours),
        _colour_row(a6, b6, colours),
        _colour_row(a7, b7, colours),
    )
    words[at], words[at + 1], words[at + 2], words[at + 3] = c0, c1, c2, c3
    words[at + 4], words[at + 5], words[at + 6], words[at + 7] = c4, c5, c6, c7


@leaf
def _background_block(m: Any, c: Any, words: Any, line: int, v: int) -> None:
    """Draw the background of eight lines, a row of blocks and of tiles."""
    row_of_tiles, mixed, plane0, plane1 = m.row_of_tiles, m.mixed, c.plane0, c.plane1
    page = (m.ppuctrl >> 4 & 1) << 11
    y, nametables = v >> 5 & 0x1F, m.nametables
    near, far = nametable_index(c, v & 0xC00), nametable_index(c, (v & 0xC00) ^ 0x400)
    start = v & 0x1F
    for column in range(33):
        x = start + column
        table = (near if x < 32 else far) & 0x400
        x &= 0x1F
        attribute = int64(nametables[table | 0x3C0 | y >> 2 << 3 | x >> 2])
        palette = (attribute >> ((y & 2) << 1 | (x & 2)) & 3) << 2
        first = page | int64(nametables[table | y << 5 | x]) << 3
        colours = mixed[0], mixed[palette | 1], mixed[palette | 2], mixed[palette | 3]
        _colour_tile(row_of_tiles, 8 * column, plane0, plane1, first, colours)
    shift, rest = uint64(8 * m.fine_x), uint64(63 - 8 * m.fine_x)
    at = (line >> 3 & 0x1F) << 8
    for i in range(256):
        words[at + i] = row_of_tiles[i] >> shift | (row_of_tiles[i + 8] << ONE) << rest


@leaf
def _list_sprites(m: Any, line: int, lines: int) -> None:
    """Make the lists of a run of lines."""
    end = line + lines
    for y in range(line, end):
        m.line_counts[y] = 0
    height = 16 if m.ppuctrl & 0x20 else 8
    for i in range(m.oamaddr >> 2, 64):
        top = int64(m.oam[4 * i]) + 1
        for y in range(max(top, line, 1), min(top + height, end)):
            count = int64(m.line_counts[y])
            if count < 8:
                m.line_sprites[8 * y + count] = i
                m.line_counts[y] = count + 1
    if line in (0, m.frozen_line):
        if m.frozen_line != line:
            m.frozen_count = choose_sprites(m, line)
            m.frozen_line = line
        m.line_counts[line] = m.frozen_count
        for k in range(m.frozen_count):
            m.line_sprites[8 * line + k] = m.frozen[k]


@leaf
def _sprites_of_line(m: Any, c: Any, pixels: Any, line: int, v: int, left: int, right: int) -> None:
    """Draw the sprites of a line's list between pixels `left` and `right`. A pixel belongs to the first opaque one."""
    for x in range(264):
        m.owned[x] = 0
    if not m.ppumask & 0x04:
        left = max(left, 8)
    base = (line >> 3) << 11 | (line & 7) << 3
    for k in range(m.line_counts[line]):
        sprite = int64(m.line_sprites[8 * line + k])
        planes = sprite_row(m, c, sprite, line)
        if planes == 0:
            continue
        attributes, start = int64(m.oam[4 * sprite + 2]), int64(m.oam[4 * sprite + 3])
        behind = background_row(m, c, v, start) if attributes & 0x20 else 0
        palette = 0x10 | (attributes & 3) << 2
        for i in range(8):
            x = start + i
            pixel = (planes >> (7 - i) & 1) | (planes >> (15 - i) & 1) << 1
            if pixel and left <= x < right and m.owned[x] == 0:
                m.owned[x] = 1
                if not behind >> (7 - i) & 1:
                    pixels[base | (x >> 3) << 6 | (x & 7)] = _colour(m, palette | pixel)


@leaf
def draw_part(m: Any, c: Any, words: Any, pixels: Any, line: int, left: int, right: int) -> None:
    """Draw pixels of one line; `v` is at pixel `left`."""
    v = start_of_line(m.v, m.fine_x, left) if m.ppumask & 0x08 else m.v
    _mix_palettes(m)
    _background_line(m, c, words, line, v, left, right)
    if m.ppumask & 0x10:
        _list_sprites(m, line, 1)
        if m.line_counts[line]:
            _sprites_of_line(m, c, pixels, line, v, left, right)


@leaf
def draw_lines(m: Any, c: Any, words: Any, pixels: Any, line: int, lines: int) -> None:
    """Draw whole lines, with background and sprites both shown or the background not shown."""
    moving = m.ppumask & 0x18 == 0x18
    _mix_palettes(m)
    v, y, end = start_of_line(m.v, m.fine_x, 0), line, line + lines
    while y < end:
        if moving and y & 7 == 0 and v & 0x7000 == 0 and end - y >= 8 and (v ^ m.t) & 0x41F == 0:
            _background_block(m, c, words, y, v)
            v = after_lines(v, m.t, 8)
            y += 8
        else:
            _background_line(m, c, words, y, v, 0, 256)
            if moving:
                v = (next_row(v) & ~0x41F) | (m.t & 0x41F)
            y += 1
    if not m.ppumask & 0x10:
        return
    _list_sprites(m, line, lines)
    v = start_of_line(m.v, m.fine_x, 0)
    for y in range(line, end):
        if m.line_counts[y]:
            _sprites_of_line(m, c, pixels, y, v, 0, 256)
        if moving:
            v = (next_row(v) & ~0x41F) | (m.t & 0x41F)
