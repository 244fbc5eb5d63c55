"""The state of one machine, and the contents of its cartridge, as records of typed arrays.

A machine is one record of about 5 KB, and a snapshot is a copy of it. The picture is not part of it, because each frame that
is drawn draws every pixel (see `ppu`). Names are those of the NESdev wiki.
"""

from typing import Final

import numpy as np

SCREEN_WORDS: Final = 240 * 32  # eight pixels, one byte each, in a word
FRAME_CYCLES: Final = 29_781  # nes-py's frame; a real one alternates between 29 780 and 29 781
FRAME_DOTS: Final = 3 * FRAME_CYCLES

MACHINE: Final = np.dtype(
    [
        # memories
        ("ram", np.uint8, 0x800),
        ("nametables", np.uint8, 0x800),
        ("oam", np.uint8, 0x100),
        ("palette", np.uint8, 0x20),
        # 6502
        ("pc", np.int64),
        ("sp", np.int64),
        ("a", np.int64),
        ("x", np.int64),
        ("y", np.int64),
        ("nz", np.int64),  # Z: the low byte is 0; N: bit 7 or bit 15 is set (BIT sets them apart)
        ("carry", np.int64),
        ("overflow", np.int64),
        ("status", np.int64),  # the other flags, in nes-py's order (see `cpu`)
        ("clock", np.int64),  # the cycle of this frame at which the next instruction acts
        ("cycles", np.int64),  # cycles of all frames before this one; its parity is what a DMA costs
        ("jammed", np.int64),  # an opcode that does not exist + 1, when one was met
        # PPU: time
        ("dots", np.int64),  # dots of this frame that have been emulated
        ("position", np.int64),  # the next dot, counted from the start of the pre-render line
        ("odd_frame", np.int64),
        ("nmi", np.int64),  # an NMI is waiting
        # PPU: registers
        ("ppuctrl", np.int64),
        ("ppumask", np.int64),
        ("vblank", np.int64),
        ("sprite0_hit", np.int64),
        ("oamaddr", np.int64),
        ("v", np.int64),  # current VRAM address
        ("t", np.int64),  # temporary VRAM address
        ("fine_x", np.int64),
        ("w", np.int64),  # write toggle: 1 before the second write
        ("read_buffer", np.int64),
        # PPU: a sprite list made before the OAM changed, for the one line that is still drawn with it
        ("frozen_line", np.int64),  # -1: none
        ("frozen_count", np.int64),
        ("frozen", np.uint8, 8),
        # controllers
        ("buttons", np.int64),
        ("strobe", np.int64),
        ("shift1", np.int64),
        ("shift2", np.int64),
        # drawing: whether this frame is drawn, and scratch space
        ("drawing", np.int64),
        ("line_counts", np.uint8, 240),
        ("line_sprites", np.uint8, 240 * 8),
        ("owned", np.uint8, 264),
        ("mixed", np.uint64, 16),
        ("row_of_tiles", np.uint64, 33 * 8),
    ],
    align=True,
)

CARTRIDGE: Final = np.dtype(
    [
        ("code", np.uint32, 0x10000),  # decoded instructions by address (see `decode`)
        ("prg", np.uint8, 0x8000),
        ("chr", np.uint8, 0x2000),
        ("plane0", np.uint64, 0x1000),  # for each row of a tile: 0xFF in each byte whose pixel has bit 0 set
        ("plane1", np.uint64, 0x1000),
        ("reversed", np.uint8, 0x100),  # bytes with their bits in reverse order
        ("wraps", np.bool_),  # the PPU's addresses wrap at 0x4000, its palette has mirrors: nes-py 9, not 8
        ("mirror_shift", np.int64),  # the bit of an address that selects the nametable: 10 or 11
        ("handlers", np.uint8, (0x100, 3)),
        ("kinds", np.uint8, 0x100),
    ],
    align=True,
)
