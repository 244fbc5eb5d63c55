"""What is counted, and how an episode ends by itself. Events too rare to play are written into the console's RAM."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import gymnasium
import pytest

from configs.levels import FINISH_X
from configs.schema import EnvironmentConfig
from mario_env import make
from mario_env.memory import area

RUN, RUN_JUMP, IDLE = 3, 4, 0

Configure = Callable[..., EnvironmentConfig]


def _poke(env: gymnasium.Env[Any, Any], **values: int) -> None:
    addresses = {"world": [0x75F], "stage": [0x75C], "mode": [0x770], "y_high": [0xB5]}
    addresses |= {"page": [0x6D, 0x71A, 0x71B], "clock": [0x7F8, 0x7F9, 0x7FA]}  # the player's and the screen's; digits
    for name, value in values.items():
        for address in addresses[name]:
            env.unwrapped.write_memory(address, value)  # type: ignore[attr-defined]


def _play(env: gymnasium.Env[Any, Any], actions: Any) -> dict[str, Any]:
    info: dict[str, Any] = {}
    for action in actions:
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            break
    return info


def _full(configure: Configure, **more: Any) -> EnvironmentConfig:
    return configure(game="full", stall_after=None, max_steps=None, **more)


def test_reaching_the_flag_completes_a_level(episode_of_1_1: list[tuple[float, dict[str, Any]]]) -> None:
    infos = [info for _, info in episode_of_1_1]
    assert not any("end_reason" in info or info["flag_get"] for info in infos[:-1])
    _assert_completed(infos[-1], 1, 1)
    # every pixel was walked, none jumped
    assert infos[-1]["progress"] == infos[-1]["distance"] == infos[-1]["x_pos"] - 40


def test_reaching_the_axe_completes_a_castle(finish: Callable[[str], bytes], configure: Configure) -> None:
    env = make(configure(world=1, stage=4))
    env.reset()
    actions = finish("1-4")
    assert "end_reason" not in _play(env, actions[:-1])
    _assert_completed(_play(env, actions[-1:]), 1, 4)


def test_a_change_of_area_is_not_paid_for(finish: Callable[[str], bytes], configure: Configure) -> None:
    env = make(configure(world=1, stage=2))
    env.reset()
    left, entered, before = 0, 0, 40
    for action in finish("1-2"):
        *_, info = env.step(action)
        if abs(info["x_pos"] - before) > 40:
            left, entered = before, info["x_pos"]
            assert info["reward_components"]["progress"] < 3
        before = info["x_pos"]
    assert entered - left > 40, "behind the pipe at the end of 1-2 the position is another"
    _assert_completed(info, 1, 2, pole=3152)
    # what was walked before the pipe, and from behind it on
    assert info["distance"] == pytest.approx(left - 40 + info["x_pos"] - entered, abs=24)
    assert info["progress"] == info["distance"]


def _followed(env: gymnasium.Env[Any, Any], actions: bytes) -> list[tuple[int, dict[str, Any]]]:
    """The area at each decision, and the info."""
    env.reset()
    seen = []
    for action in actions:
        *_, info = env.step(action)
        seen.append((area(env.unwrapped.memory), info))  # type: ignore[attr-defined]
    env.close()
    return seen


BONUS_ROOM, WATER, GROUND_OF_1_1, CASTLE_OF_8_4 = 2 * 32 + 2, 0 * 32 + 2, 1 * 32 + 5, 3 * 32 + 5


def test_a_bonus_room_is_walked_through_once(finish: Callable[[str], bytes], configure: Configure) -> None:
    seen = _followed(make(configure(actions="complex", stall_after=None)), finish("1-1 pipe"))
    assert [place for place, _ in groupby(place for place, _ in seen)] == [GROUND_OF_1_1, BONUS_ROOM, GROUND_OF_1_1]
    outside = [info for place, info in seen if place == GROUND_OF_1_1]
    inside = [info for place, info in seen if place == BONUS_ROOM]
    before = next(info for place, info in reversed(seen[: seen.index((BONUS_ROOM, inside[0]))]) if place == GROUND_OF_1_1)
    assert inside[0]["x_pos"] < 40
    assert 0 <= inside[0]["progress"] - before["progress"] < 4, "the way through the pipe is not paid for"
    assert inside[-1]["progress"] - inside[0]["progress"] == max(info["x_pos"] for info in inside) - inside[0]["x_pos"] > 150
    # Behind the second pipe he is a thousand pixels on: not paid for, but it is how far he has got in the level.
    after = outside[-1]
    assert 0 <= after["progress"] - inside[-1]["progress"] < 4
    assert 2576 + 150 < after["distance"] - (after["x_pos"] - 2616) < 2576 + 200


def test_the_pointer_to_the_next_area_is_not_the_present_one(finish: Callable[[str], bytes], configure: Configure) -> None:
    env = make(configure(world=1, stage=2, stall_after=None))
    env.reset()
    pointers, areas = set(), set()
    for action in finish("1-2")[:290]:
        env.step(action)
        memory = env.unwrapped.memory  # type: ignore[attr-defined]
        pointers.add(memory[0x0750] & 0x7F)
        areas.add(area(memory))
    assert (len(pointers), len(areas)) == (3, 1)


def test_swimming_in_8_4_is_progress(finish: Callable[[str], bytes], configure: Configure) -> None:
    plain = configure(world=8, stage=4, actions="complex", stall_after=100)
    seen = _followed(make(plain), finish("8-4"))
    assert [place for place, _ in groupby(place for place, _ in seen)] == [CASTLE_OF_8_4, WATER, CASTLE_OF_8_4]
    water = [info for place, info in seen if place == WATER]
    assert len(water) > 150
    assert water[-1]["progress"] - water[0]["progress"] > 750
    assert water[-1]["distance"] - water[0]["distance"] == water[-1]["progress"] - water[0]["progress"]
    assert sum(info["reward_components"]["progress"] for info in water) > 70
    assert seen[-1][1]["end_reason"] == "completed", "and not stalled in the water"


def _assert_completed(info: dict[str, Any], world: int, stage: int, pole: int | None = None) -> None:
    assert (info["end_reason"], info["flag_get"], info["levels_completed"], info["deaths"]) == ("completed", True, 1, 0)
    assert (info["world"], info["stage"], info["life"]) == (world, stage, 3)
    pole = pole or FINISH_X[world, stage]
    assert FINISH_X[world, stage] <= pole <= info["x_pos"] <= pole + 32


def test_a_jump_of_position_is_no_progress(configure: Configure) -> None:
    env = make(configure(frame_skip=1))
    env.reset()
    _play(env, [RUN] * 20)
    _poke(env, page=4)
    info = _play(env, [IDLE])
    assert info["x_pos"] > 1024
    assert info["distance"] > 1000
    assert info["progress"] < 40
    assert info["reward_components"]["progress"] == 0


def test_the_furthest_position_outlasts_a_life(configure: Configure) -> None:
    env = make(_full(configure))
    env.reset()
    info = _play(env, [RUN] * 27)
    assert (info["deaths"], info["life"], info["x_pos"] < 100) == (1, 2, True)
    reached = info["progress"]
    assert reached > 200
    info = _play(env, [RUN] * 15)
    assert (info["progress"], info["reward_components"]["progress"]) == (reached, 0)
    assert info["distance"] == reached


def test_the_last_life_ends_the_full_game(configure: Configure) -> None:
    env = make(_full(configure))
    env.reset()
    info = _play(env, [RUN] * 200)
    assert (info["end_reason"], info["deaths"], info["life"], info["levels_completed"]) == ("game_over", 3, 0, 0)
    assert info["x_pos"] == 315, "where the first goomba was met, not where a life begins"


def test_dying_ends_a_level(configure: Configure) -> None:
    env = make(configure())
    env.reset()
    info = _play(env, [RUN] * 200)
    assert (info["end_reason"], info["deaths"], info["time_ups"], info["life"]) == ("died", 1, 0, 2)


def test_falling_below_the_screen_is_dying(configure: Configure) -> None:
    env = make(configure())
    env.reset()
    _poke(env, y_high=2)
    info = _play(env, [IDLE])
    assert (info["end_reason"], info["y_pos"]) == ("died", 0)


@pytest.mark.parametrize(("game", "reason", "life"), [("level", "timed_out", 2), ("full", None, 2)])
def test_the_clock_takes_a_life(game: Any, reason: str | None, life: int, configure: Configure) -> None:
    env = make(configure(game=game))
    env.reset()
    _poke(env, clock=0)
    info: dict[str, Any] = {}
    for _ in range(30):
        info = _play(env, [IDLE])
        if info["deaths"]:
            break
    assert (info["deaths"], info["time_ups"], info.get("end_reason"), info["life"]) == (1, 1, reason, life)
    assert info["time"] == (0 if game == "level" else 400)


def test_a_completed_level_leads_on_in_the_full_game(finish: Callable[[str], bytes], configure: Configure) -> None:
    env = make(_full(configure))
    env.reset()
    info = _play(env, finish("1-1"))
    assert "end_reason" not in info
    assert (info["levels_completed"], info["world"], info["stage"], info["x_pos"]) == (1, 1, 2, 40)
    assert info["reward_components"]["completion"] == 5.0
    assert info["reward_components"]["clock"] == 0
    distance = info["distance"]
    assert distance == 3121
    info = _play(env, [RUN] * 5)
    assert info["distance"] > distance, "the next level's pixels are added"


@pytest.mark.parametrize("game", ["level", "full"])
def test_a_warp_pipe_completes_the_level_once(game: Any, configure: Configure) -> None:
    env = make(configure(game=game))
    env.reset()
    # In a warp zone the game sets the world's number, and the stage's to 0.
    _poke(env, world=3)
    info = _play(env, [IDLE])
    assert info["levels_completed"] == 1
    assert info.get("end_reason") == ("completed" if game == "level" else None)
    info = _play(env, [IDLE]) if game == "full" else info
    assert info["levels_completed"] == 1


def test_the_last_princess_ends_the_full_game(configure: Configure) -> None:
    env = make(_full(configure))
    env.reset()
    _poke(env, world=7, stage=3)
    _play(env, [IDLE])
    _poke(env, mode=2)
    info = _play(env, [IDLE])
    assert info["end_reason"] == "completed"
    assert (info["world"], info["stage"], info["flag_get"]) == (8, 4, True)


def test_deaths_and_lives_agree_over_random_play(configure: Configure) -> None:
    env = make(_full(configure), seed=4)
    env.reset()
    weights = [RUN, RUN, RUN_JUMP, RUN_JUMP, RUN_JUMP, 2, IDLE]
    for step in range(600):
        action = weights[int(env.action_space.sample())] if step % 5 == 0 else action  # noqa: F821
        _, _, terminated, _, info = env.step(action)
        assert info["deaths"] == 3 - info["life"]
        if terminated:
            break
    assert info["deaths"] > 0
