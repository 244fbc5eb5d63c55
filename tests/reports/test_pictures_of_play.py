"""Montages and panoramas of episodes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports.montage import FrameSampler, MontageError, make_montage
from reports.panorama import LevelPanorama
from reports.video import Frame

Scrolling = Callable[..., list[Frame]]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 9, 100, 1001])
def test_sampled_frames_are_spread_over_the_episode(length: int) -> None:
    sampler = FrameSampler(4)
    for index in range(length):
        sampler.add(np.full((240, 256, 3), index % 251, dtype=np.uint8))
        assert len(sampler._kept) <= 8
    numbers = [int(frame[0, 0, 0]) for frame in sampler.frames()]
    assert len(numbers) == min(4, length)
    assert numbers[0] == 0
    if length <= 251:
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == length - 1


def test_a_single_sampled_frame_is_from_the_middle() -> None:
    sampler = FrameSampler(1)
    for index in range(9):
        sampler.add(np.full((240, 256, 3), index, dtype=np.uint8))
    assert len(sampler.frames()) == 1


def test_a_montage_in_rows(tmp_path: Path, scrolling: Scrolling) -> None:
    path = make_montage(scrolling(50), tmp_path / "new" / "mario.png", 6, columns=3, scale=2, gap=4)
    with Image.open(path) as picture:
        assert picture.size == (3 * 516 - 4, 2 * 484 - 4)


def test_a_montage_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MontageError, match="the episode is empty"):
        make_montage([], tmp_path / "mario.png")
    with pytest.raises(MontageError, match="at least one frame"):
        make_montage([], tmp_path / "mario.png", 0)


@pytest.mark.parametrize("speed", [1, 2, 3, 5, 8])
def test_a_panorama_shows_the_landscape(scrolling: Scrolling, speed: int) -> None:
    panorama = LevelPanorama()
    frames = scrolling(90, speed=speed)
    for frame in frames:
        panorama.add(frame)
    whole = scrolling(1, width=1200)[0][32:]
    seen = panorama.picture()
    assert seen is not None
    assert seen.shape == (208, min(89 * speed, 1200 - 256) + 256, 3)
    assert np.array_equal(seen[:, :256], whole)
    assert np.array_equal(seen[:, -256:], frames[-1][32:])


def test_a_panorama_ends_at_a_change_of_scene(scrolling: Scrolling) -> None:
    panorama = LevelPanorama()
    for frame in [*scrolling(20, speed=2), np.zeros((240, 256, 3), np.uint8), *scrolling(20, speed=2)]:
        panorama.add(frame)
    picture = panorama.picture()
    assert picture is not None
    assert picture.shape == (208, 19 * 2 + 256, 3)


def test_without_frames_there_is_no_panorama() -> None:
    assert LevelPanorama().picture() is None
