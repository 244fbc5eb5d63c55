"""The search for play that completes a level, on the real game."""

from collections.abc import Callable

import numpy as np
import pytest

from configs.curriculum import SearchConfig
from configs.schema import EnvironmentConfig
from mario_env import SearchError, make
from mario_env.search import Archive, Found, Player, changes, find, refine

# Decisions of eight frames, of which fewer are needed.
LEVEL_1_1 = EnvironmentConfig(observation="tiles", frame_skip=8)
BUDGETS = SearchConfig(decisions=100_000, refine=8_000)


@pytest.fixture(scope="module")
def found() -> Found:
    return find(LEVEL_1_1, "1-1", BUDGETS, seed=3)


def completes(config: EnvironmentConfig, actions: bytes) -> bool:
    """Whether the actions complete the level with the last of them, on the wrappers and the other emulator."""
    env = make(config.model_copy(update={"emulator": "nes-py", "stall_after": None}))
    env.reset()
    infos = []
    for action in actions:
        infos.append(env.step(action)[-1])
        if "end_reason" in infos[-1]:
            break
    env.close()
    return len(infos) == len(actions) and infos[-1].get("end_reason") == "completed"


def test_what_it_finds_completes_the_level_on_the_other_emulator_too(found: Found) -> None:
    assert completes(LEVEL_1_1, found.first)
    assert completes(LEVEL_1_1, found.actions)
    assert found.searched <= 100_000
    assert found.searched + 8_000 <= found.played <= found.searched + 8_000 + 2 * len(found.first)


def test_what_it_finds_is_made_shorter_and_smoother(found: Found) -> None:
    assert len(found.actions) < len(found.first)
    assert changes(found.actions) < 0.9 * changes(found.first)


def test_the_same_seed_finds_the_same_play(found: Found) -> None:
    assert find(LEVEL_1_1, "1-1", BUDGETS, seed=3) == found
    as_found = find(LEVEL_1_1, "1-1", SearchConfig(refine=0), seed=3)
    assert (as_found.actions, as_found.played) == (found.first, found.searched)
    assert find(LEVEL_1_1, "1-1", SearchConfig(refine=0), seed=4).first != found.first


def test_a_search_that_finds_nothing_says_how_far_it_came_and_what_to_do() -> None:
    expected = (
        r"in 300 decisions no play was found that completes 1-3\. The furthest came to x \d+, and the level ends at x 2416\. "
        r"Raise train\.curriculum\.search\.decisions, set environment\.actions to complex, or give a demonstration of the level"
    )
    config = EnvironmentConfig(world=1, stage=3, observation="tiles")
    with pytest.raises(SearchError, match=expected):
        find(config, "1-3", SearchConfig(decisions=300), seed=0)


def test_only_actions_that_demonstrations_can_have_are_drawn() -> None:
    config = EnvironmentConfig(observation="tiles", actions=[["start"], ["right", "B"], ["up", "A"], ["right", "A", "B"]])
    archive = Archive(Player(config, "1-1"), np.random.default_rng(0))
    assert {archive.draw_action() for _ in range(200)} == {1, 3}
    with pytest.raises(SearchError, match=r"no action of environment\.actions is one of the action set complex"):
        find(config.model_copy(update={"actions": [["start"]]}), "1-1", BUDGETS, seed=0)


def test_play_from_elsewhere_can_be_refined(finish: Callable[[str], bytes]) -> None:
    config = EnvironmentConfig(observation="tiles", actions="complex")
    archive = Archive(Player(config, "1-1"), np.random.default_rng(1))
    refined = refine(archive, finish("1-1"), 10_000)
    assert completes(config, refined)
    assert len(refined) < len(finish("1-1"))
    assert changes(refined) < changes(finish("1-1"))
