"""Stretches of play in which the emulator once differed from nes-py: found by `benchmarks.parity`, kept for good."""

import pytest

from benchmarks.parity import Play, lockstep

FOUND = {
    # The list of line 0 is line 239's. When the OAM changes in between, tile 0 is drawn from the rows before its first, at the
    # end of the PPU's address space: there nes-py 9 finds the palette and nes-py 8 nothing.
    "tile 0 on line 0": Play("level", 3, 3, "vanilla", "tampered", 11, 240),
}


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_once_differed_is_equal_now(name: str) -> None:
    assert lockstep(FOUND[name]).pictures == FOUND[name].frames + 1
