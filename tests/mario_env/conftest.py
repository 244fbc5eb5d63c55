"""What several tests of the environment need."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from configs.schema import EnvironmentConfig
from mario_env import make

_DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def finish() -> Callable[[str], bytes]:
    """Actions that reach the goal of a level ("1-1", "1-2" or "1-4") at the default settings: SIMPLE_MOVEMENT, frame skip 4, no
    idling. They were found by a random search with snapshots, and are kept as one digit an action."""

    def read(level: str) -> bytes:
        return bytes(int(action) for action in json.loads((_DATA / f"world-{level}-finish.json").read_text())["actions"])

    return read


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
