"""An episode that completes 1-1, and the model that judges it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents import Agent, load_shipped
from benchmarks.finishes import read_plays
from configs import PROJECT
from inspection import Analysis, Episode, Thinker, analyse, played_episode
from mario_env import EpisodeStart, play_back

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def agent() -> Agent:
    return load_shipped(PROJECT / "models" / "world-1-1.json")


@pytest.fixture(scope="session")
def thinker(agent: Agent) -> Thinker:
    return Thinker(agent, f"world-1-1 {HOSTILE}")


@pytest.fixture(scope="session")
def episode(agent: Agent) -> Episode:
    """It reaches the flag, under the environment of the model."""
    *_, last = play_back(agent.config.environment, EpisodeStart(), read_plays()["1-1"])
    assert last.summary is not None
    return played_episode("finish", agent.config, last.summary, {"name": HOSTILE, "protocol": "greedy", "seed": 0})


@pytest.fixture(scope="session")
def analysis(episode: Episode) -> Analysis:
    return analyse(episode)


@pytest.fixture(scope="session")
def altered(episode: Episode) -> Callable[..., Episode]:
    """The episode with other figures in its record."""

    def alter(**figures: Any) -> Episode:
        return replace(episode, figures={**episode.figures, **figures})

    return alter


@pytest.fixture(scope="session")
def exported(episode: Episode, thinker: Thinker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The episode as a file."""
    from inspection import export

    return export(episode, tmp_path_factory.mktemp("exported") / "episode.html", thinker)
