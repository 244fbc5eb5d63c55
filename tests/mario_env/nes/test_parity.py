"""The emulator against nes-py, frame by frame: all RAM after every frame, every fifth picture.

200 000 frames, that is three to five minutes of one core, most of them nes-py's; MARIO_PARITY_FRAMES asks for fewer or more.
"""

import json
import os
from pathlib import Path

import pytest

from benchmarks.parity import (
    GAMES,
    Count,
    MismatchError,
    Play,
    State,
    available_roms,
    compare,
    compare_bytes,
    lockstep,
    plays,
    plays_of_level,
)
from benchmarks.pilot import STYLES

FRAMES = int(os.environ.get("MARIO_PARITY_FRAMES", "200000"))


def _name(number: int) -> str:
    return "full" if number == GAMES - 1 else f"{number // 4 + 1}-{number % 4 + 1}"


@pytest.mark.parametrize("number", range(GAMES), ids=_name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_every_byte_and_every_pixel_are_those_of_nes_py(number: int) -> None:
    total = Count()
    todo = plays_of_level(number, -(-FRAMES // GAMES), 100 * number, picture_every=5)
    for play in todo:
        total.add(lockstep(play))
    assert total.frames == sum(play.frames for play in todo) >= FRAMES // GAMES
    assert {play.rom for play in todo} == set(available_roms())
    assert {play.style for play in todo} == set(STYLES) - {"wait"}
    assert total.flags + total.axes > 0, "the stored play finishes the level"
    assert total.time_ups > 0


def test_every_level_meets_every_style_and_variant() -> None:
    stretches = plays(40 * GAMES * 4_500, 0, 3_000, 1)  # in "wait" and "finish" they are longer
    combinations = {(play.game, play.world, play.stage, play.style, play.rom) for play in stretches}
    assert len(combinations) == GAMES * len(STYLES) * len(available_roms())
    assert len({play.seed for play in stretches}) == len(stretches)


def test_a_mismatch_says_where_it_is() -> None:
    play = Play("level", 3, 2, "vanilla", "mash", 77, 500)
    ours, theirs = bytearray(0x800), bytearray(0x800)
    compare_bytes("RAM", play, 12, bytes(ours), bytes(theirs))
    ours[0x0756], theirs[0x0757] = 2, 1
    with pytest.raises(MismatchError) as error:
        compare_bytes("RAM", play, 12, bytes(ours), bytes(theirs))
    assert str(error.value) == (
        "Play(game='level', world=3, stage=2, rom='vanilla', style='mash', seed=77, frames=500, picture_every=1): "
        "frame 12: RAM differs in 2 bytes, first at 0x0756: 2, nes-py has 0"
    )
    screen = bytearray(240 * 256 * 3)
    screen[(5 * 256 + 7) * 3 + 1] = 9
    with pytest.raises(MismatchError, match="picture differs in 1 bytes, first at row 5, column 7, G: 9, nes-py has 0"):
        compare_bytes("picture", play, 0, bytes(screen), bytes(len(screen)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_run_that_was_ended_goes_on(tmp_path: Path) -> None:
    todo, file = plays(480, 5, 240, 10), tmp_path / "state.jsonl"
    first = compare(todo[:1], State(file), 1)
    assert (first.frames, first.pictures) == (240, 25)
    file.write_text(file.read_text() + '\n{"versions": {"emul')  # ended while it wrote
    assert set(State(file).known) == set(todo[:1])
    total = compare(todo, State(file), 1)
    assert (total.frames, total.pictures) == (480, 50)
    assert State(file).known.keys() == set(todo)
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
    lines[0]["versions"]["emulator"] = "another"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert set(State(file).known) == set(todo[1:]), "what another emulator did proves nothing"
