"""What several tests of the environment need."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from configs.schema import EnvironmentConfig
from mario_env import make
from mario_env.demonstrations import read_plays


@pytest.fixture(scope="session")
def finish() -> Callable[[str], bytes]:
    """Actions that reach the goal of a level ("1-1" to "8-4") at the default settings: SIMPLE_MOVEMENT (8-4: COMPLEX_MOVEMENT),
    frame skip 4, no idling. See `benchmarks.finishes`, which found them."""
    return read_plays().__getitem__


@pytest.fixture(params=["fast", "nes-py"])
def configure(request: pytest.FixtureRequest) -> Callable[..., EnvironmentConfig]:
    """Makes configurations of an environment; what asks for it is tested on both emulators."""
    return partial(EnvironmentConfig, emulator=request.param)


@pytest.fixture(scope="session")
def episode_of_1_1(finish: Callable[[str], bytes]) -> list[tuple[float, dict[str, Any]]]:
    """Reward and info of every step of an episode that completes 1-1."""
    env = make(EnvironmentConfig())
    env.reset()
    steps = []
    for action in finish("1-1"):
        _, reward, _, _, info = env.step(action)
        steps.append((float(reward), info))
    env.close()
    return steps
