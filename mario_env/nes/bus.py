"""The CPU's view of everything that is not RAM or ROM: the PPU's registers, the DMA and the controllers.

It follows nes-py: registers that cannot be read give 0, a joypad gives bit 0 with 0x40 set, and there is no sound.
"""

from typing import Any

from mario_env.nes import ppu
from mario_env.nes.compiling import leaf

OAMDMA, JOY1, JOY2 = 0x4014, 0x4016, 0x4017


@leaf
def peek(m: Any, c: Any, address: int) -> int:
    """A byte of RAM or ROM, without side effects; 0 elsewhere."""
    address &= 0xFFFF
    if address < 0x2000:
        return int(m.ram[address & 0x7FF])
    if address >= 0x8000:
        return int(c.prg[address & 0x7FFF])
    return 0


@leaf
def read_register(m: Any, c: Any, words: Any, pixels: Any, address: int, now: int) -> int:
    """Read an address from 0x2000 to 0x7FFF at cycle `now` of the frame."""
    if address < 0x4000:
        ppu.catch_up(m, c, words, pixels, now)
        return ppu.read(m, c, address & 7)
    if address == JOY1:
        value = (m.buttons if m.strobe else m.shift1) & 1
        if not m.strobe:
            m.shift1 >>= 1
        return value | 0x40
    if address == JOY2:
        value = 0 if m.strobe else m.shift2 & 1
        if not m.strobe:
            m.shift2 >>= 1
        return value | 0x40
    return 0


@leaf
def write_register(m: Any, c: Any, words: Any, pixels: Any, address: int, value: int, now: int) -> int:
    """Write to an address from 0x2000 to 0x7FFF at cycle `now`, and return the cycles for which a DMA stops the CPU."""
    if address < 0x4000:
        ppu.catch_up(m, c, words, pixels, now)
        ppu.write(m, c, address & 7, value)
    elif address == OAMDMA:
        ppu.catch_up(m, c, words, pixels, now)
        _copy_sprites(m, c, value << 8)
        return 513 + ((m.cycles + now + 1) & 1)
    elif address == JOY1:
        m.strobe = value & 1
        if not m.strobe:
            m.shift1, m.shift2 = m.buttons, 0
    return 0


@leaf
def _copy_sprites(m: Any, c: Any, page: int) -> None:
    ppu.freeze_sprite_list(m)
    for i in range(256):
        m.oam[(m.oamaddr + i) & 0xFF] = peek(m, c, page + i)
