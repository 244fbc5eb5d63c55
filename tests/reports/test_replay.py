"""An episode of the real game is replayed from its actions and shown in a report."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mario_env
from configs.schema import EnvironmentConfig
from mario_env import EpisodeSummary
from reports.build import build_report
from reports.data import ExperimentData, ReportData
from reports.panorama import LevelPanorama
from reports.replay import episode_frames

CONFIG = EnvironmentConfig(actions=[["right", "B"], ["right", "A", "B"]], max_steps=60)


@pytest.fixture(scope="module")
def played() -> EpisodeSummary:
    env = mario_env.make(CONFIG, seed=0)
    try:
        env.reset()
        for step in range(1000):
            *_, terminated, truncated, info = env.step(1 if step % 12 > 4 else 0)
            if terminated or truncated:
                summary: EpisodeSummary = info["episode_summary"]
                return summary
    finally:
        env.close()
    raise AssertionError("the episode did not end")


def test_the_panorama_of_a_real_episode(played: EpisodeSummary) -> None:
    panorama = LevelPanorama()
    for frame in episode_frames(CONFIG, played.start, played.actions):
        panorama.add(frame)
    picture = panorama.picture()
    assert picture is not None
    # The camera keeps Mario left of the middle: the panorama extends beyond his x, by less than a screen.
    assert played.distance_traveled < picture.shape[1] < played.distance_traveled + 256 + 40
    # The status bar is cut off, and the ground at the bottom is brown except for pits.
    ground = (picture[-10:, :, 0].astype(int) > picture[-10:, :, 2]).mean()
    assert ground > 0.5


def test_a_report_with_the_episode(
    tmp_path: Path, played: EpisodeSummary, experiment: Callable[..., ExperimentData], rows: Callable[..., pd.DataFrame]
) -> None:
    own = rows(2).assign(distance_traveled=played.distance_traveled, x_pos=played.x_pos, end_reason=played.end_reason)
    replay = lambda _: episode_frames(CONFIG, played.start, played.actions)  # noqa: E731
    paths = build_report(ReportData([experiment(evaluation=own, replay=replay)]), tmp_path)
    assert paths.video_best is not None
    assert paths.video_best == paths.video_typical
    assert 5_000 < paths.video_best.stat().st_size < 1_500_000
    with Image.open(tmp_path / "montage.png") as picture:
        assert picture.size == (4 * 260 - 4, 240)
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 8
