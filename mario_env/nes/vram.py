"""The PPU's memory, and its address register `v`: yyy NN YYYYY XXXXX (fine y, nametable, coarse y, coarse x)."""

from typing import Any

from mario_env.nes.compiling import inlined, leaf


@inlined
def nametable_index(c: Any, address: int) -> int:
    """Where an address from 0x2000 to 0x2FFF lies in the 2 KiB of nametables."""
    return (address >> c.mirror_shift & 1) << 10 | (address & 0x3FF)


@leaf
def _mirrored(c: Any, address: int) -> int:
    """Where an address of the nametables lies in their 2 KiB. In nes-py 8, all from 0x3000 on is the fourth nametable."""
    if c.wraps:
        return nametable_index(c, address & 0xFFF)
    return nametable_index(c, address if address < 0x3000 else 0x2C00 | (address & 0x3FF))


@leaf
def _palette_start(c: Any) -> int:
    return 0x3F00 if c.wraps else 0x3EFF


@leaf
def _palette_index(c: Any, address: int) -> int:
    """Where an address lies in the palette. The sprites' backdrops mirror the background's, except in nes-py 8."""
    index = address & 0x1F
    return index & 0x0F if c.wraps and index & 0x13 == 0x10 else index


@leaf
def read_vram(m: Any, c: Any, address: int) -> int:
    """Read a byte of the PPU's address space."""
    if c.wraps:
        address &= 0x3FFF
    if address < 0x2000:
        return int(c.chr[address])
    if address < _palette_start(c):
        return int(m.nametables[_mirrored(c, address)])
    if address < 0x3FFF or c.wraps:
        return int(m.palette[_palette_index(c, address)])
    return 0


@leaf
def write_vram(m: Any, c: Any, address: int, value: int) -> None:
    """Write a byte of the PPU's address space. Characters are ROM and stay as they are."""
    if c.wraps:
        address &= 0x3FFF
    if 0x2000 <= address < _palette_start(c):
        m.nametables[_mirrored(c, address)] = value
    elif 0x3EFF <= address < 0x3FFF or (c.wraps and address == 0x3FFF):
        m.palette[0 if address == 0x3F10 else _palette_index(c, address)] = value


@inlined
def step_columns(v: int, columns: int) -> int:
    """Move `v` by tiles to the right (to the left if negative), through the horizontal nametables."""
    x = ((v >> 10 & 1) << 5 | (v & 0x1F)) + columns
    return (v & ~0x41F) | (x >> 5 & 1) << 10 | (x & 0x1F)


@inlined
def start_of_line(v: int, fine_x: int, x: int) -> int:
    """What `v` was at the left edge of the line, if it is `v` at pixel `x`."""
    return step_columns(v, -((fine_x + x) >> 3))


@inlined
def next_row(v: int) -> int:
    """Move `v` one line down. Row 29 is the last one of a nametable, and row 31 wraps within it."""
    if v & 0x7000 != 0x7000:
        return v + 0x1000
    v &= 0xFFFF & ~0x7000
    row = v >> 5 & 0x1F
    if row == 29:
        row = 0
        v ^= 0x800
    elif row == 31:
        row = 0
    else:
        row += 1
    return (v & ~0x3E0) | row << 5


@inlined
def after_lines(v: int, t: int, lines: int) -> int:
    """`v` after `lines` whole lines with background and sprites shown. Each line copies the horizontal bits of `t`."""
    if lines == 0:
        return v
    row = (v >> 5 & 0x1F) << 3 | (v >> 12 & 7)
    if row + lines < 240:
        row += lines
        v = (v & 0x8C1F) | (row & 7) << 12 | row >> 3 << 5
    else:
        for _ in range(lines):
            v = next_row(v)
    return (v & ~0x41F) | (t & 0x41F)
