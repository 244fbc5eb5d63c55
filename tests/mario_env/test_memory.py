"""The facts read from RAM are those that gym-super-mario-bros reports."""

import random
from typing import Any

import pytest

from mario_env import memory as ram
from mario_env.console import _game_class

REPORTED = ("x_pos", "score", "coins", "time", "status", "world", "stage", "flag_get")


def _poked(changes: dict[int, int]) -> bytes:
    memory = bytearray(ram.RAM_SIZE)
    for address, value in changes.items():
        memory[address] = value
    return bytes(memory)


def test_facts_agree_with_the_game_package() -> None:
    from gym_super_mario_bros import SuperMarioBrosEnv

    game: Any = SuperMarioBrosEnv()
    game.reset()
    chance = random.Random(0)
    for _ in range(60):
        buttons = chance.choice([0b10000000, 0b10000001, 0b10000010, 0b10000011, 1, 0])
        for _ in range(8):
            game._frame_advance(buttons)
            facts, reported = ram.read_facts(game.ram.tobytes()), game._get_info()
            assert {name: facts[name] for name in REPORTED} == {name: reported[name] for name in REPORTED}
            assert facts["life"] == reported["life"] + 1
            if game.ram[0xB5] == 1:  # on the screen; below it the package counts from the top again
                assert facts["y_pos"] == reported["y_pos"]
    game.close()


def test_facts_are_plain_python_numbers() -> None:
    facts = ram.read_facts(_poked({0x75A: 2}))
    assert facts == {
        "x_pos": 0, "y_pos": 511, "score": 0, "coins": 0, "time": 0, "life": 3, "status": "small",
        "world": 1, "stage": 1, "flag_get": False,
    }  # fmt: skip
    assert tuple(facts) == ram.FACTS
    assert all(type(value) in (int, str, bool) for value in facts.values())


@pytest.mark.parametrize(
    ("high", "low", "height"), [(1, 0, 255), (1, 176, 79), (0, 250, 261), (2, 3, 0), (5, 255, 0), (0, 0, 511)]
)
def test_height_grows_upwards_and_is_never_negative(high: int, low: int, height: int) -> None:
    assert ram.read_facts(_poked({0xB5: high, 0x3B8: low}))["y_pos"] == height


@pytest.mark.parametrize(("value", "status"), [(0, "small"), (1, "tall"), (2, "fireball"), (3, "fireball")])
def test_status(value: int, status: str) -> None:
    assert ram.read_facts(_poked({0x756: value}))["status"] == status


def test_a_vine_is_no_flag() -> None:
    climbing = {0x1D: 3}
    assert not ram.is_flag_reached(_poked(climbing))
    assert ram.is_flag_reached(_poked({**climbing, 0x1A: 0x31}))
    assert not ram.is_flag_reached(_poked({0x1A: 0x31}))


def test_the_axe_of_a_castle_is_the_last_one_only_in_8_4() -> None:
    assert ram.is_flag_reached(_poked({0x770: 2, 0x75C: 3}))
    assert not ram.is_last_princess_saved(_poked({0x770: 2, 0x75C: 3}))
    assert ram.is_last_princess_saved(_poked({0x770: 2, 0x75F: 7, 0x75C: 3}))


def test_no_lives_is_game_over() -> None:
    over = _poked({0x75A: 0xFF})
    assert ram.lives(over) == 0
    assert ram.is_game_over(over)
    assert not ram.is_game_over(_poked({0x75A: 0}))


def test_the_game_is_made_once_only() -> None:
    assert _game_class()[0] is _game_class()[0]
