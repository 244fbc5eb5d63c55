"""Folders of levels with the figures of a real run, and pictures of real play."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs import PROJECT
from configs.schema import EnvironmentConfig
from mario_env import EpisodeStart, play_back
from mario_env.demonstrations import read_plays
from reports.levels.picture import flag_frame, write_png
from reports.video import Frame

RUN = PROJECT / "results" / "ppo"


@pytest.fixture(scope="session")
def flag() -> Frame:
    """The last frame of the demonstration of 1-1."""
    config = EnvironmentConfig(actions="complex", stall_after=None, max_steps=None)
    return flag_frame(play_back(config, EpisodeStart(), read_plays()["1-1"]))


@pytest.fixture
def keep(flag: Frame, tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the folder of a level into `tmp_path/levels`, and returns it."""

    def write(level: str, name: str = "", *, seed: int = 0, completed: bool = True, **facts: Any) -> Path:
        folder = tmp_path / "levels" / (name or level)
        folder.mkdir(parents=True)
        shutil.copy(RUN / "evaluation.json", folder)
        run = json.loads((RUN / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**run, "seed": seed}))
        values = {
            "level": level,
            "frame_skip": 4,
            "mastered_after": 612_345,
            "decisions": {"fewest": 268, "median": 271.5},
            "furthest": 3_121,
            "shown": {"protocol": "stochastic", "decisions": 268, "distance": 3_121, "completed": completed},
            **facts,
        }
        (folder / "level.json").write_text(json.dumps(values))
        (folder / "README.md").write_text(f"# {level}\n")
        write_png(folder / ("flag.png" if completed else "furthest.png"), flag)
        return folder

    return write
