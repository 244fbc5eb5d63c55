"""What the ROM reader accepts, and what it says of the rest."""

from pathlib import Path

import pytest

from mario_env.nes.rom import RomError, parse_rom, read_rom


def _image(*, mapper: int = 0, prg: int = 2, chr_banks: int = 1, flags: int = 1, trainer: bytes = b"") -> bytes:
    header = b"NES\x1a" + bytes([prg, chr_banks, (mapper & 15) << 4 | flags, mapper & 0xF0]) + bytes(8)
    return header + trainer + bytes([0xAA]) * (0x4000 * prg) + bytes([0xBB]) * (0x2000 * chr_banks)


def test_program_and_characters_are_separated() -> None:
    rom = parse_rom(_image(), "image")
    assert rom.prg == bytes([0xAA]) * 0x8000
    assert rom.chr == bytes([0xBB]) * 0x2000
    assert rom.vertical_mirroring


def test_one_program_bank_appears_twice() -> None:
    assert len(parse_rom(_image(prg=1, flags=0), "image").prg) == 0x8000
    assert not parse_rom(_image(prg=1, flags=0), "image").vertical_mirroring


def test_a_trainer_is_skipped() -> None:
    assert parse_rom(_image(flags=5, trainer=bytes(512)), "image").prg == bytes([0xAA]) * 0x8000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"NES\x1a", "image: 4 bytes; an NES ROM begins with a header of 16 bytes"),
        (b"PK\x03\x04" + bytes(20), r"image: begins with b'PK\\x03\\x04', an NES ROM with b'NES\\x1a'"),
        (_image(mapper=1), "image: uses mapper 1; this emulator runs mapper 0"),
        (_image(mapper=66), "image: uses mapper 66;"),
        (_image(prg=4), "image: 4 program banks of 16 KiB; mapper 0 has 1 or 2"),
        (_image(chr_banks=0), "image: 0 character banks of 8 KiB"),
        (_image(flags=9), "four-screen"),
        (_image()[:-1], "image: truncated: 40975 bytes, its header announces 40976"),
    ],
)
def test_what_is_not_such_a_rom_is_named(data: bytes, message: str) -> None:
    with pytest.raises(RomError, match=message):
        parse_rom(data, "image")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RomError, match=r"nothing\.nes: cannot be read"):
        read_rom(tmp_path / "nothing.nes")
