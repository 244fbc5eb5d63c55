"""Reads an iNES file into what a mapper-0 (NROM) cartridge holds.

The format: https://www.nesdev.org/wiki/INES
"""

from pathlib import Path
from typing import Final, NamedTuple

MAGIC: Final = b"NES\x1a"
HEADER_SIZE: Final = 16
TRAINER_SIZE: Final = 512
PRG_BANK: Final = 0x4000
CHR_BANK: Final = 0x2000


class RomError(ValueError):
    """The file is not a ROM this emulator can run; the message says what was found."""


class Rom(NamedTuple):
    """Program (0x8000 bytes), characters (0x2000 bytes), and whether the nametables are mirrored vertically."""

    prg: bytes
    chr: bytes
    vertical_mirroring: bool


def read_rom(path: Path) -> Rom:
    """Read an iNES file.

    Raises:
        RomError: no such file, not an iNES file, truncated, not mapper 0, or a kind of mapper 0 that is not supported.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RomError(f"{path}: cannot be read ({error.strerror or error})") from error
    return parse_rom(data, str(path))


def parse_rom(data: bytes, name: str) -> Rom:
    """Like :func:`read_rom`, from bytes. Errors call them `name`."""
    if len(data) < HEADER_SIZE:
        raise RomError(f"{name}: {len(data)} bytes; an NES ROM begins with a header of {HEADER_SIZE} bytes")
    if data[:4] != MAGIC:
        raise RomError(f"{name}: begins with {data[:4]!r}, an NES ROM with {MAGIC!r}")
    mapper = data[6] >> 4 | data[7] & 0xF0
    if mapper != 0:
        raise RomError(f"{name}: uses mapper {mapper}; this emulator runs mapper 0 (NROM) only. Use emulator: nes-py")
    prg_banks, chr_banks = data[4], data[5]
    if prg_banks not in (1, 2):
        raise RomError(f"{name}: {prg_banks} program banks of 16 KiB; mapper 0 has 1 or 2")
    if chr_banks != 1:
        raise RomError(f"{name}: {chr_banks} character banks of 8 KiB; the emulator supports 1 (and no character RAM)")
    if data[6] & 0x08:
        raise RomError(f"{name}: four-screen nametables are not supported")
    start = HEADER_SIZE + (TRAINER_SIZE if data[6] & 0x04 else 0)
    expected = start + prg_banks * PRG_BANK + CHR_BANK
    if len(data) < expected:
        raise RomError(f"{name}: truncated: {len(data)} bytes, its header announces {expected}")
    prg = data[start : start + prg_banks * PRG_BANK]
    characters = data[start + len(prg) : expected]
    return Rom(prg * (2 // prg_banks), characters, bool(data[6] & 0x01))
