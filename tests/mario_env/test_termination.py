"""Ends that the experiment chooses."""

from collections.abc import Callable
from typing import Any

import pytest

from configs.schema import EnvironmentConfig
from mario_env import make

RUN, IDLE = 3, 0

Configure = Callable[..., EnvironmentConfig]


def _ends(config: EnvironmentConfig, actions: Any) -> tuple[int, bool, bool, dict[str, Any]]:
    env = make(config)
    env.reset()
    for count, action in enumerate(actions, start=1):
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return count, terminated, truncated, info
    raise AssertionError("the episode did not end")


def test_a_lost_life_ends_the_full_game_if_asked_for(configure: Configure) -> None:
    config = configure(game="full", life_loss_ends_episode=True)
    count, terminated, truncated, info = _ends(config, [RUN] * 100)
    assert (count, terminated, truncated, info["end_reason"]) == (27, True, False, "life_lost")
    assert (info["x_pos"], info["life"], info["frames"]) == (315, 2, 2), "where it happened; nothing is played behind it"


def test_a_life_lost_to_the_clock_is_named_so(configure: Configure) -> None:
    env = make(configure(game="full", life_loss_ends_episode=True))
    env.reset()
    for address in (0x7F8, 0x7F9, 0x7FA):
        env.unwrapped.write_memory(address, 0)  # type: ignore[attr-defined]
    terminated = False
    for _ in range(30):
        _, _, terminated, _, info = env.step(IDLE)
        if terminated:
            break
    assert (terminated, info["end_reason"], info["time"]) == (True, "timed_out", 0)


def test_standing_still_is_truncated(configure: Configure) -> None:
    count, terminated, truncated, info = _ends(configure(stall_after=12), [RUN] * 5 + [IDLE] * 40)
    assert (terminated, truncated, info["end_reason"]) == (False, True, "stalled")
    summary = info["episode_summary"]
    assert summary.steps == count
    assert 12 + 5 <= count < 12 + 5 + 6, "he slides on for some decisions"


def test_progress_starts_the_count_again(configure: Configure) -> None:
    pause = [IDLE] * 14
    count, *_, info = _ends(configure(stall_after=20), [RUN] * 3 + pause + [RUN] * 3 + pause + [IDLE] * 20)
    assert info["end_reason"] == "stalled"
    assert count > 3 + 14 + 3 + 14


def test_the_step_limit_truncates(configure: Configure) -> None:
    count, terminated, truncated, info = _ends(configure(max_steps=9), [IDLE] * 20)
    assert (count, terminated, truncated, info["end_reason"]) == (9, False, True, "step_limit")


def test_a_death_on_the_last_step_is_a_death(configure: Configure) -> None:
    count, terminated, _, info = _ends(configure(max_steps=27, stall_after=1000), [RUN] * 30)
    assert (count, terminated, info["end_reason"]) == (27, True, "died")


def test_nothing_is_truncated_without_being_asked_for(configure: Configure) -> None:
    env = make(configure(stall_after=None, max_steps=None, frame_skip=2))
    env.reset()
    assert not any(any(env.step(IDLE)[2:4]) for _ in range(320))


@pytest.mark.parametrize("skip", [1, 3])
def test_a_new_episode_starts_counting_from_0(skip: int, configure: Configure) -> None:
    env = make(configure(stall_after=5, max_steps=8, frame_skip=skip))
    lengths = []
    for _ in range(3):
        env.reset()
        done, length = False, 0
        while not done:
            _, _, terminated, truncated, _ = env.step(IDLE)
            done, length = terminated or truncated, length + 1
        lengths.append(length)
    assert lengths == [5, 5, 5]
