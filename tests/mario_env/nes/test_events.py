"""What random play hardly ever does, decision by decision: observations, rewards and infos are those of `make` on nes-py.

`SideBySide` compares them at every step. What is asserted here is that the event did happen. The plays are stored (see
`benchmarks.finishes`); what is left is written into the RAM of both.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from benchmarks.decisions import SideBySide
from configs.schema import EnvironmentConfig, RewardConfig
from mario_env.wrappers import REWARD_COMPONENTS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

IDLE, RUN, RUN_JUMP = 0, 3, 4
CLOCK_RUNS_OUT = {0x07F8: 0, 0x07F9: 0, 0x07FA: 1}  # its three digits
BELOW_THE_SCREEN = {0x00B5: 2}
LAST_LIFE = {0x075A: 0}
REWARD = RewardConfig(**dict.fromkeys(REWARD_COMPONENTS, 0.3))  # each component is compared

Start = Callable[..., SideBySide]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a game in both environments, which nothing but the game ends."""
    started = []

    def start(level: str = "", **settings: Any) -> SideBySide:
        place = {"game": "level", "world": int(level[0]), "stage": int(level[2])} if level else {"game": "full"}
        settings = {"stall_after": None, "max_steps": None, "reward": REWARD, "actions": "complex"} | place | settings
        started.append(SideBySide(EnvironmentConfig(**settings)))
        return started[-1]

    yield start
    for both in started:
        both.close()


@pytest.mark.parametrize("level", ["1-1", "1-2", "2-2", "4-4", "5-3", "8-4"])
def test_a_level_is_finished(level: str, start: Start, finish: Callable[[str], bytes]) -> None:
    """Over ground, through a change of area, swimming, in a maze, on trees, and to the last axe through pipes."""
    infos = start(level).play(finish(level))
    assert not any("end_reason" in info for info in infos[:-1])
    last = infos[-1]
    assert (last["end_reason"], last["flag_get"], last["levels_completed"], last["deaths"]) == ("completed", True, 1, 0)
    assert last["episode_summary"].level_completed


@pytest.mark.parametrize("level", ["2-1 pipe", "5-2 pipe", "8-1 pipe", "8-4 pipe"])
def test_progress_and_stall_are_counted_by_area(level: str, start: Start, finish: Callable[[str], bytes]) -> None:
    both = start(level, stall_after=60)
    infos = both.play([*finish(level), *[IDLE] * 80])
    assert infos[-1]["end_reason"] in ("stalled", "died")
    assert infos[-1]["distance"] >= infos[-1]["progress"] > 400


@pytest.mark.parametrize("level", ["1-1 pipe", "1-2 pipe", "3-1 hit"])
def test_pipes_and_hits(level: str, start: Start, finish: Callable[[str], bytes]) -> None:
    infos = start(level).play([*finish(level), *[IDLE] * 20])
    jumps = [abs(after["x_pos"] - before["x_pos"]) > 40 for before, after in pairwise(infos)]
    statuses = [info["status"] for info in infos]
    assert sum(jumps) >= 2 if "pipe" in level else ("tall" in statuses and statuses[-1] == "small")


def test_the_full_game_goes_on_over_flags_and_an_axe(start: Start, finish: Callable[[str], bytes]) -> None:
    both = start()
    infos = both.play(finish("full"))
    levels = [(info["world"], info["stage"]) for info in infos]
    assert sorted(set(levels)) == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2)]
    assert (infos[-1]["levels_completed"], infos[-1]["deaths"]) == (5, 0)
    both.write_memory(LAST_LIFE)
    both.write_memory(BELOW_THE_SCREEN)
    infos = both.play([RUN] * 3)
    assert (infos[-1]["end_reason"], infos[-1]["levels_completed"], infos[-1]["life"]) == ("game_over", 5, 0)


@pytest.mark.parametrize("skip", [1, 4])
@pytest.mark.parametrize("level", ["1-3", ""])
def test_the_clock_runs_out(level: str, skip: int, start: Start) -> None:
    both = start(level, frame_skip=skip)
    both.play([RUN_JUMP] * 5)
    both.write_memory(CLOCK_RUNS_OUT)
    infos = both.play([IDLE] * (160 // skip))
    assert (infos[-1]["time_ups"], infos[-1]["deaths"]) == (1, 1)
    assert infos[-1].get("end_reason") == ("timed_out" if level else None)


@pytest.mark.parametrize("game", ["level", "full", "one life"])
def test_the_clock_is_walked_out(game: str, start: Start) -> None:
    """With three seconds left: the music changes, the clock is played to its end."""
    both = start("1-1" if game == "level" else "", life_loss_ends_episode=game == "one life")
    both.write_memory({0x07F8: 0, 0x07F9: 0, 0x07FA: 9})
    infos = both.play([IDLE] * 80)
    assert [info["time"] for info in infos[:3]] == [9, 9, 9]
    assert (infos[-1]["time_ups"], infos[-1].get("end_reason")) == (1, None if game == "full" else "timed_out")


@pytest.mark.parametrize("game", ["level", "full", "one life"])
@pytest.mark.parametrize("skip", [2, 4, 5])
def test_falling_into_a_pit(game: str, skip: int, start: Start) -> None:
    """The first pit of 1-3 is six blocks from the start; in the full game he is put below the screen."""
    level = "1-3" if game == "level" else ""
    both = start(level, frame_skip=skip, life_loss_ends_episode=game == "one life")
    if not level:
        both.play([RUN_JUMP] * 6)
        both.write_memory(BELOW_THE_SCREEN)
    infos = both.play([RUN] * 120)
    fallen = next(info for info in infos if info["deaths"])
    assert fallen["time_ups"] == 0
    assert fallen.get("end_reason") == {"level": "died", "full": None, "one life": "life_lost"}[game]
    if level:
        assert fallen["y_pos"] < 32


@pytest.mark.parametrize("level", ["1-1", "1-4"])
def test_a_level_is_finished_on_the_last_life(level: str, start: Start, finish: Callable[[str], bytes]) -> None:
    both = start(level)
    both.write_memory(LAST_LIFE)
    last = both.play(finish(level))[-1]
    assert (last["end_reason"], last["life"]) == ("completed", 1)


def test_the_last_life_is_lost_where_one_life_ends_an_episode(start: Start) -> None:
    both = start(life_loss_ends_episode=True)
    both.write_memory(LAST_LIFE)
    last = both.play([RUN] * 60)[-1]
    assert (last["end_reason"], last["life"], last["deaths"]) == ("game_over", 0, 1)


def test_the_last_princess_ends_the_full_game(start: Start) -> None:
    both = start()
    both.write_memory({0x075F: 7, 0x075C: 3})
    both.play([IDLE])
    both.write_memory({0x0770: 2})
    last = both.play([IDLE])[-1]
    assert (last["end_reason"], last["world"], last["stage"]) == ("completed", 8, 4)


@pytest.mark.parametrize("game", ["level", "full"])
def test_a_warp(game: str, start: Start) -> None:
    both = start("1-2" if game == "level" else "")
    both.play([RUN_JUMP] * 4)
    both.write_memory({0x075F: 3})
    infos = both.play([IDLE] * 3)
    assert infos[-1]["levels_completed"] == 1
    assert infos[-1].get("end_reason") == ("completed" if game == "level" else None)


@pytest.mark.parametrize("limit", ["stalled", "step_limit"])
def test_the_experiment_ends_the_episode(limit: str, start: Start, finish: Callable[[str], bytes]) -> None:
    """In the midst of a finish, and where the last permitted step finishes the level."""
    actions = finish("1-4")
    if limit == "stalled":
        last = start("1-4", stall_after=12).play([*actions[:20], *[IDLE] * 40])[-1]
        assert (last["end_reason"], last["frame_count"]) == ("stalled", last["episode_summary"].frames)
        return
    last = start("1-4", max_steps=len(actions)).play(actions)[-1]
    assert last["end_reason"] == "completed"
    assert not last["TimeLimit.truncated"]
    last = start("1-4", max_steps=len(actions) - 1).play(actions)[-1]
    assert (last["end_reason"], last["TimeLimit.truncated"]) == ("step_limit", True)
