"""One machine for Python code: loads a ROM, runs frames, shows RAM and picture."""

from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from mario_env.nes import console
from mario_env.nes.decode import decode_program, decoding_tables
from mario_env.nes.picture import PALETTE_RGB, unfold
from mario_env.nes.rom import Rom, read_rom
from mario_env.nes.state import CARTRIDGE, MACHINE, SCREEN_WORDS


def insert_cartridge(rom: Rom) -> npt.NDArray[np.void]:
    """Decode a ROM for the emulator. An array of one CARTRIDGE record, which any number of machines may share."""
    cartridge = np.zeros(1, CARTRIDGE)
    card: Any = cartridge[0]
    card["code"] = decode_program(rom.prg)
    card["prg"] = np.frombuffer(rom.prg, np.uint8)
    card["chr"] = np.frombuffer(rom.chr, np.uint8)
    bits = np.unpackbits(card["chr"].reshape(-1, 2, 8, 1), axis=3)  # tile, plane, row, pixel
    masks = np.ascontiguousarray(bits * np.uint8(0xFF))
    card["plane0"] = np.ascontiguousarray(masks[:, 0]).view("<u8").reshape(-1)
    card["plane1"] = np.ascontiguousarray(masks[:, 1]).view("<u8").reshape(-1)
    card["reversed"] = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1)[:, 0]
    card["mirror_shift"] = 10 if rom.vertical_mirroring else 11
    card["handlers"], card["modes"], card["base_cycles"] = decoding_tables()
    return cartridge
