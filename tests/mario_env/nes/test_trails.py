"""An episode that begins along a demonstration goes on as if everything before had been played."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from configs.curriculum import CurriculumConfig
from configs.schema import Config, EnvironmentConfig, RewardConfig
from mario_env import DemonstrationError, EpisodeStart, EpisodeSummary, SnapshotError, play_back, training_starts
from mario_env.demonstrations import demonstrations_of, encode
from mario_env.games import Games
from mario_env.nes.play import INFO
from mario_env.wrappers.facts import COUNTS

# Those of `simple` and another one, in another order.
OTHERS: Any = [["left"], ["B", "right"], ["right"], ["A", "right"], ["down"], ["B", "A", "right"], ["A"], ["NOOP"]]
ENVIRONMENTS = {
    "frames": EnvironmentConfig(reward=RewardConfig(clock=0.3, score=0.01)),
    "tiles": EnvironmentConfig(observation="tiles", actions=OTHERS, stall_after=20),
    "sticky, another level": EnvironmentConfig(levels=["1-1", "1-3"], sticky_actions=0.25, crop_status_bar=True, noop_frames=9),
    "sticky decisions": EnvironmentConfig(sticky_decisions=0.25, actions="complex"),
}


def starting_at(environment: EnvironmentConfig, position: int, **curriculum: Any) -> Games:
    """A game whose episodes begin after `position` decisions of the demonstration of the last level."""
    settings = CurriculumConfig(**{"window": 1, "elsewhere": 0.0, **curriculum})
    values = {"name": "t", "agent": {"algorithm": "ppo"}, "train": {"curriculum": settings}, "environment": environment}
    starts = training_starts(Config.model_validate(values))
    assert starts is not None
    assert starts.curriculum is not None
    level = environment.level_names[-1]
    count = len(starts.curriculum.demonstrations[level])
    starts.curriculum.set_json({level: [{"at": position, "tries": []}] * count})
    starts._levels = [level]
    return Games(environment, 1, seed=3, starts=starts)


def played(environment: EnvironmentConfig, position: int) -> Games:
    """The same game, in which so many decisions of the demonstration have been played."""
    plain = environment.model_copy(update={"sticky_actions": 0.0, "sticky_decisions": 0.0, "noop_frames": 0})
    games = Games(plain, 1, seed=3)
    level = environment.level_names[-1]
    games.reset(0, options={"level": level})
    (demonstration,) = demonstrations_of(environment, {})[level]
    for action in demonstration[:position]:
        games.step([action])
    # From here on both games play by the same rules, with the same random numbers.
    games._config = environment
    games._last = [demonstration[position - 1]]
    return games


@pytest.mark.parametrize("position", [1, 3, 120, -1])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_it_equals_play_from_the_beginning(name: str, position: int) -> None:
    environment = ENVIRONMENTS[name]
    (demonstration,) = demonstrations_of(environment, {})[environment.level_names[-1]]
    position %= len(demonstration)
    begun, reference = starting_at(environment, position), played(environment, position)
    info = begun.reset(0)
    generator = np.random.default_rng(1)
    for games in (begun, reference):
        games.slots[0].np_random = np.random.default_rng(8)

    assert {name: info[name] for name in COUNTS} == dict.fromkeys(COUNTS, 0)
    present = dict(zip(INFO, reference.fleet.facts[0].tolist(), strict=False))
    assert all(info[name] == present[name] for name in ("x_pos", "y_pos", "score", "coins", "time", "world", "stage"))
    np.testing.assert_array_equal(begun.fleet.observations, reference.fleet.observations)
    np.testing.assert_array_equal(begun.slots[0].render(), reference.slots[0].render())
    assert begun.slots[0].memory == reference.slots[0].memory
    before = reference.fleet.facts[0].tolist()
    for action in [*demonstration[position : position + 40], *generator.integers(0, begun.actions, 60).tolist()]:
        (first, *outcome, (info,)), (second, *expected, (told,)) = begun.step([action]), reference.step([action])
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(begun.slots[0].render(), reference.slots[0].render())
        told |= {name: told[name] - before[INFO.index(name)] for name in COUNTS}
        assert {name: info[name] for name in INFO} == {name: told[name] for name in INFO}
        assert info["reward_components"] == told["reward_components"]
        if info.get("end_reason") == "stalled" or told.get("end_reason") == "stalled":
            break  # the other has counted decisions without progress before
        assert outcome == expected
        if outcome[1][0]:
            break


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_its_row_is_enough_to_play_it_again(name: str) -> None:
    environment = ENVIRONMENTS[name].model_copy(update={"max_steps": 60})
    games, elsewhere = starting_at(environment, 100), starting_at(environment, 30)
    games.reset(0)
    elsewhere.reset(0)
    elsewhere.restore(games.snapshot())
    np.testing.assert_array_equal(elsewhere.slots[0].render(), games.slots[0].render())
    generator, summary = np.random.default_rng(5), None
    while summary is None:
        summary = games.step(generator.integers(0, games.actions, 1))[-1][0].get("episode_summary")
    assert isinstance(summary, EpisodeSummary)
    start = EpisodeStart.from_json(summary.start.to_json())
    assert len(start.demonstration) == 100
    assert start.level == (environment.levels[-1] if environment.levels else None)
    *_, last = play_back(environment, start, summary.actions, summary.delays)
    assert last.summary is not None
    assert dataclasses.replace(last.summary, duration_seconds=summary.duration_seconds) == summary


def test_each_of_several_demonstrations_is_begun_along(finish: Callable[[str], bytes]) -> None:
    """The second waits for a decision before it goes on as the first, whose enemies are elsewhere then."""
    environment = EnvironmentConfig(observation="tiles")
    first, second = finish("1-1"), _waiting(environment, finish("1-1"))
    given = [encode(environment, actions) for actions in (first, second)]
    games = starting_at(environment, 100, demonstrations={"1-1": given})
    reference = Games(environment, 1, seed=3)
    begun = set()
    for _ in range(20):
        games.reset(0)
        record = games._records[0]
        assert record is not None
        skipped = record.start.demonstration
        begun.add(skipped)
        reference.reset(0)
        for action in skipped:
            reference.step([action])
        np.testing.assert_array_equal(games.fleet.observations, reference.fleet.observations)
        assert games.slots[0].memory == reference.slots[0].memory
    assert begun == {first[:100], second[:100]}
    snapshot = games.snapshot()
    other = starting_at(environment, 100, demonstrations={"1-1": given[::-1]})
    with pytest.raises(SnapshotError, match="demonstrations"):
        other.restore(snapshot)


def _waiting(environment: EnvironmentConfig, actions: bytes) -> bytes:
    """The same play with an idle decision somewhere in its first half, so that it still completes the level."""
    for at in range(len(actions) // 2):
        waiting = actions[:at] + b"\0" + actions[at:]
        games = Games(environment, 1, seed=3)
        games.reset(0)
        infos = []
        for action in waiting:
            infos.append(games.step([action])[-1][0])
            if "end_reason" in infos[-1]:
                break
        if infos[-1].get("end_reason") == "completed":
            return waiting[: len(infos)]
    raise AssertionError("an idle decision is fatal everywhere")


def test_a_demonstration_must_complete_its_level(finish: Callable[[str], bytes]) -> None:
    environment = EnvironmentConfig()
    given = encode(environment, finish("1-1")[:-1])
    with pytest.raises(DemonstrationError, match=r"the demonstration of 1-1 does not complete the level with the last of its"):
        starting_at(environment, 4, demonstrations={"1-1": given})
    several = [encode(environment, finish("1-1")), given]
    with pytest.raises(DemonstrationError, match="demonstration 2 of 1-1 does not complete the level"):
        starting_at(environment, 4, demonstrations={"1-1": several})
    with pytest.raises(DemonstrationError, match=r"8-4 presses A\+left, which no action of .* \(simple\) does"):
        demonstrations_of(EnvironmentConfig(world=8, stage=4), {})
    assert encode(environment, finish("1-1")) == "".join(map(str, finish("1-1")))
