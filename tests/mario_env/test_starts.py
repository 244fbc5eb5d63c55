"""Which level an episode plays."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from configs.schema import EnvironmentConfig
from mario_env import EpisodeStart
from mario_env.games import Games
from mario_env.starts import Starts

LEVELS = ["1-1", "1-2", "1-3"]
SEVERAL = EnvironmentConfig(levels=LEVELS)


def counted(starts: Starts, draws: int = 3000) -> list[float]:
    """The share of each level among the starts that are drawn."""
    generator = np.random.default_rng(0)
    found = Counter(starts.choose(generator).level for _ in range(draws))
    return [found[level] / draws for level in LEVELS]


@pytest.mark.parametrize(
    ("sampling", "shares"),
    [("uniform", [1 / 3, 1 / 3, 1 / 3]), ({"1-3": 1.0, "1-1": 3.0, "1-2": 6.0}, [0.3, 0.6, 0.1])],
)
def test_levels_are_played_by_their_weights(sampling: Any, shares: list[float]) -> None:
    assert counted(Starts(SEVERAL, sampling)) == pytest.approx(shares, abs=0.03)


def test_a_level_that_fails_more_is_played_more() -> None:
    starts = Starts(SEVERAL, "failure")
    assert set(starts.weights().values()) == {1.0}
    for level, completed in (("1-1", 150), ("1-2", 30)):
        for number in range(150):
            # Of 1-2 only the latest 100 count, of which the last 30 were completed.
            starts.ended(EpisodeStart(level=level), completed=number >= 150 - completed)
    assert starts.weights() == pytest.approx({"1-1": 0.1, "1-2": 0.7, "1-3": 1.0})
    assert counted(starts) == pytest.approx([0.1 / 1.8, 0.7 / 1.8, 1 / 1.8], abs=0.03)

    other = Starts(SEVERAL, "failure")
    other.set_json(json.loads(json.dumps(starts.to_json())))
    assert other.weights() == starts.weights()


def test_a_reset_can_name_the_level() -> None:
    games = Games(SEVERAL, 1, seed=0)
    info = games.reset(0, options={"level": "1-3"})
    assert (info["level"], info["world"], info["stage"]) == ("1-3", 1, 3)
    with pytest.raises(ValueError, match=r"there is no level '2-1': the levels are 1-1, 1-2, 1-3"):
        games.reset(0, options={"level": "2-1"})
