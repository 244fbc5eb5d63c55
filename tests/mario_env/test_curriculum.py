"""Starts along demonstrations: the point of the backward algorithm, its window, the starts elsewhere; starts anywhere."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from configs.curriculum import CurriculumConfig
from configs.schema import EnvironmentConfig
from mario_env.curriculum import Curriculum, curriculum_of
from mario_env.demonstrations import demonstrations_of

LENGTH = 50


def curriculum(**changes: Any) -> Curriculum:
    settings = {"window": 4, "step": 6, "threshold": 0.5, "tries": 4, "elsewhere": 0.25, "from_start": 0.125}
    plays = {"1-1": [bytes(range(LENGTH))], "1-2": [bytes(20)]}
    return curriculum_of(CurriculumConfig(**{**settings, **changes}), plays)


def drawn(chosen: Curriculum, level: str = "1-1") -> Counter[int]:
    generator = np.random.default_rng(0)
    starts = [chosen.choose(level, generator) for _ in range(8000)]
    assert all(start == bytes(range(LENGTH))[: len(start)] for start in starts if level == "1-1")
    return Counter(map(len, starts))


def tell(chosen: Curriculum, *outcomes: bool, skipped: int) -> int:
    """Let episodes end that skipped so many decisions; returns the point."""
    for completed in outcomes:
        chosen.ended("1-1", bytes(range(skipped)), completed=completed)
    return int(chosen.metrics()["curriculum/1-1/point"])


def test_starts_are_in_the_window_behind_it_and_at_the_start() -> None:
    chosen = curriculum()
    found = drawn(chosen)
    window, behind = range(43, 47), range(47, 50)
    assert set(found) == {0, *window, *behind}
    assert found[0] / 8000 == pytest.approx(0.125, abs=0.02)
    assert sum(found[position] for position in behind) / 8000 == pytest.approx(0.25, abs=0.02)
    assert all(found[position] / 8000 == pytest.approx(0.625 / 4, abs=0.02) for position in window)
    assert set(drawn(chosen, "1-2")) == {0, *range(13, 20)}, "each level has a point of its own"


def test_the_point_moves_back_when_enough_tries_complete() -> None:
    chosen = curriculum()
    assert tell(chosen, True, skipped=44) == 46, "one of four is not half of them"
    assert tell(chosen, True, True, True, True, skipped=47) == 46, "behind the window nothing is tried"
    assert tell(chosen, False, True, skipped=43) == 40
    assert tell(chosen, True, False, False, skipped=38) == 40, "tries from before do not count any more"
    assert tell(chosen, False, False, False, True, skipped=38) == 40
    assert chosen.metrics()["curriculum/1-1/success_rate"] == 0.25
    assert tell(chosen, True, skipped=37) == 34, "the latest four count"
    assert chosen.describe() == "starts 1-1 34 of 50, 1-2 16 of 20"

    other = curriculum()
    other.set_json(json.loads(json.dumps(chosen.to_json())))
    assert other.to_json() == chosen.to_json()
    assert drawn(other) == drawn(chosen)


def test_it_ends_at_the_start_of_the_level() -> None:
    chosen = curriculum(tries=1, threshold=1.0, step=30, from_start=0.0)
    assert tell(chosen, True, skipped=46) == 16
    assert tell(chosen, True, skipped=16) == 0
    assert tell(chosen, True, True, skipped=0) == 0
    found = drawn(chosen)
    assert found[0] / 8000 == pytest.approx(0.75, abs=0.02)
    assert set(found) == set(range(LENGTH)), "what lies behind is not forgotten"


def test_each_demonstration_has_a_point_of_its_own() -> None:
    first, second = bytes(range(LENGTH)), bytes(range(30)) + bytes(10)  # they begin with the same 30 decisions
    settings = CurriculumConfig(window=4, step=6, threshold=0.5, tries=4, elsewhere=0.0)
    chosen = curriculum_of(settings, {"1-1": [first, second]})
    generator = np.random.default_rng(0)
    found = Counter(chosen.choose("1-1", generator) for _ in range(8000))
    assert set(found) == {first[:at] for at in range(43, 47)} | {second[:at] for at in range(33, 37)}
    assert all(count / 8000 == pytest.approx(1 / 8, abs=0.02) for count in found.values()), "uniformly"

    def points() -> list[float]:
        return [chosen.metrics()[f"curriculum/1-1/{number}/point"] for number in (1, 2)]

    for _ in range(2):
        chosen.ended("1-1", second[:35], completed=True)
    assert points() == [46, 30]
    assert chosen.describe() == "starts 30 of 40 (first of 2)"
    chosen.ended("1-1", first[:28], completed=False)
    assert chosen.metrics()["curriculum/1-1/2/success_rate"] == 0, "the same actions lead to the same state"
    assert "curriculum/1-1/1/success_rate" not in chosen.metrics(), "it is outside the window of the first"
    other = curriculum_of(settings, {"1-1": [first, second]})
    other.set_json(json.loads(json.dumps(chosen.to_json())))
    assert other.to_json() == chosen.to_json()


def test_it_continues_from_checkpoints_of_versions_that_had_one_demonstration() -> None:
    chosen = curriculum()
    chosen.set_json({"1-1": {"at": 12, "tries": [1, 0]}, "1-2": {"at": 3, "tries": []}})
    assert chosen.metrics() == {
        "curriculum/1-1/point": 12,
        "curriculum/1-1/success_rate": 0.5,
        "curriculum/1-2/point": 3,
    }


def test_the_threshold_can_depend_on_the_position() -> None:
    chosen = curriculum(threshold={"finish": 1.0, "start": 0.25}, tries=4, step=23)
    assert tell(chosen, True, True, True, skipped=46) == 46, "near the end nearly all of four must complete"
    assert tell(chosen, True, skipped=46) == 23
    assert tell(chosen, True, True, skipped=23) == 23, "in the middle 0.595 of four"
    assert tell(chosen, True, skipped=23) == 0
    settings = CurriculumConfig.model_validate({"threshold": {"finish": 0.9, "start": 0.2}})
    assert [settings.threshold_at(position) for position in (0.0, 0.5, 1.0)] == pytest.approx([0.2, 0.55, 0.9])
    assert CurriculumConfig(threshold=1).threshold_at(0.5) == 1


def test_every_level_has_a_demonstration() -> None:
    levels = [f"{world}-{stage}" for world in range(1, 9) for stage in range(1, 5)]
    environment = EnvironmentConfig(levels=levels, actions="complex")
    assert list(demonstrations_of(environment, {})) == levels
    assert demonstrations_of(environment, {"1-1": ["34ab", "0"]})["1-1"] == (bytes([3, 4, 10, 11]), bytes([0]))


def test_uniform_starts_are_anywhere_along_the_demonstrations_and_at_the_levels_start() -> None:
    chosen = curriculum(method="uniform", from_start=0.25)
    found = drawn(chosen)
    assert set(found) == set(range(LENGTH))
    assert found[0] / 8000 == pytest.approx(0.25 + 0.75 / LENGTH, abs=0.02)
    assert all(found[position] / 8000 == pytest.approx(0.75 / LENGTH, abs=0.01) for position in range(1, LENGTH))
    for _ in range(9):
        chosen.ended("1-1", bytes(range(12)), completed=True)
    assert chosen.metrics() == {}, "only tries from the level's start count"
    for completed in (True, True, False, False, False, True):
        chosen.ended("1-1", b"", completed=completed)
    assert chosen.metrics() == {"curriculum/1-1/success_rate": 0.25}, "of the latest four"
    assert chosen.describe() == "from the start 1-1 1 of 4, 1-2 0 of 0"
    assert drawn(chosen) == found, "successes change nothing"
    other = curriculum(method="uniform", from_start=0.25)
    other.set_json(json.loads(json.dumps(chosen.to_json())))
    assert (other.to_json(), other.metrics()) == (chosen.to_json(), chosen.metrics())
    earlier = {"1-1": [{"at": 0, "tries": [0, 0, 0, 1]}] * 3, "1-2": [{"at": 0, "tries": []}]}
    other.set_json(earlier)
    assert other.to_json() == chosen.to_json(), "a checkpoint of a version that had a state of each demonstration"

    several = curriculum_of(CurriculumConfig(method="uniform", from_start=0.2), {"1-3": [bytes(30), bytes(range(20))]})
    several.ended("1-3", b"", completed=True)
    assert several.metrics() == {"curriculum/1-3/success_rate": 1.0}
    assert several.describe() == "from the start 1 of 1"


def test_uniform_starts_need_some_at_the_levels_start() -> None:
    with pytest.raises(ValueError, match="method uniform: from_start must be above 0"):
        CurriculumConfig(method="uniform")
    assert CurriculumConfig(method="uniform", from_start=0.8).elsewhere == 0.4, "a number of the other method"
