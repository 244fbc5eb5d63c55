"""The MP4 files of episodes."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from reports.video import NES_FRAME_RATE, Frame, VideoError, encoder, render_video

Scrolling = Callable[..., list[Frame]]


def decode(path: Path) -> tuple[str, list[Frame]]:
    """ffmpeg's description of the video stream, and its frames."""
    command = [encoder(), "-hide_banner", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    about = next(line for line in done.stderr.decode().splitlines() if "Video:" in line)
    width, height = (int(side) for side in re.findall(r"(\d{3,4})x(\d{3,4})", about)[0])
    return about, list(np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3))


def test_every_frame_is_in_the_video(tmp_path: Path, scrolling: Scrolling) -> None:
    frames = scrolling(90)
    about, decoded = decode(render_video(iter(frames), tmp_path / "play.mp4", scale=2))
    assert "h264" in about
    assert "yuv420p" in about
    assert decoded[0].shape == (480, 512, 3)
    assert f"{float(NES_FRAME_RATE):.2f} fps" in about
    assert len(decoded) == 90


def test_colours_survive(tmp_path: Path) -> None:
    colours = [(92, 148, 252), (200, 76, 12), (0, 168, 0), (252, 252, 252), (0, 0, 0)]
    frames = [np.full((240, 256, 3), colour, dtype=np.uint8) for colour in colours for _ in range(10)]
    _, decoded = decode(render_video(frames, tmp_path / "colours.mp4", scale=2))
    for index, colour in enumerate(colours):
        assert np.abs(decoded[index * 10 + 5].mean(axis=(0, 1)) - colour).max() < 8


def test_the_index_is_at_the_beginning_of_the_file(tmp_path: Path, scrolling: Scrolling) -> None:
    data = render_video(scrolling(5), tmp_path / "play.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("scale", "television", "size"), [(1, False, (256, 240)), (3, False, (768, 720)), (3, True, (878, 720))]
)
def test_sizes(tmp_path: Path, scrolling: Scrolling, scale: int, television: bool, size: tuple[int, int]) -> None:
    path = render_video(scrolling(3), tmp_path / "play.mp4", scale=scale, television_shape=television)
    assert decode(path)[1][0].shape == (size[1], size[0], 3)


def test_the_folder_is_created_and_an_older_video_replaced(tmp_path: Path, scrolling: Scrolling) -> None:
    path = tmp_path / "new" / "folder" / "play.mp4"
    render_video(scrolling(3), path)
    render_video(scrolling(6), path)
    assert len(decode(path)[1]) == 6
    assert os.listdir(path.parent) == ["play.mp4"]


def test_an_empty_episode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="the episode is empty"):
        render_video([], tmp_path / "play.mp4")


@pytest.mark.parametrize("frame", [np.zeros((120, 128, 3), np.uint8), np.zeros((240, 256, 3), np.float32)])
def test_a_frame_of_the_wrong_type_is_refused_and_leaves_no_file(tmp_path: Path, scrolling: Scrolling, frame: Frame) -> None:
    with pytest.raises(VideoError, match=r"frame 2 is .* expected uint8 RGB of shape \(240, 256, 3\)"):
        render_video([*scrolling(2), frame], tmp_path / "play.mp4")
    assert os.listdir(tmp_path) == []


def test_an_interrupted_episode_leaves_no_file(tmp_path: Path, scrolling: Scrolling) -> None:
    def interrupted() -> Iterator[Frame]:
        yield from scrolling(5)
        raise KeyboardInterrupt

    (tmp_path / "play.mp4").write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt):
        render_video(interrupted(), tmp_path / "play.mp4")
    assert (tmp_path / "play.mp4").read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["play.mp4"]


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path, scrolling: Scrolling) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VideoError, match="cannot create the folder"):
        render_video(scrolling(2), tmp_path / "file" / "play.mp4")


def test_the_error_contains_the_encoders_message(tmp_path: Path, scrolling: Scrolling) -> None:
    with pytest.raises(VideoError, match=r"play\.mp4 could not be written: .*"):
        render_video(scrolling(200), tmp_path / "play.mp4", quality=-1000)
    assert os.listdir(tmp_path) == []


def test_an_invalid_scale_is_refused(tmp_path: Path, scrolling: Scrolling) -> None:
    with pytest.raises(VideoError, match="whole number of at least 1"):
        render_video(scrolling(2), tmp_path / "play.mp4", scale=0)


def test_the_encoder_comes_with_the_package() -> None:
    if "IMAGEIO_FFMPEG_EXE" not in os.environ:
        assert Path(encoder()).is_relative_to(Path(imageio_ffmpeg.__file__).parent)
    assert "libx264" in subprocess.run([encoder(), "-encoders"], capture_output=True, text=True, check=True).stdout
