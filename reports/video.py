"""Rendering of episodes as MP4 files (H.264 in yuv420p), which every browser and phone can play.

The encoder is the ffmpeg binary of the package ``imageio-ffmpeg``, so no system package is needed.
"""

import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

FRAME_SHAPE: Final = (240, 256, 3)
NES_FRAME_RATE: Final = Fraction(39_375_000, 655_171)
"""Frames per second of an NTSC console, 60.0988: master clock 236.25/11 MHz, 4 cycles per dot, 89 341.5 dots per frame."""
PIXEL_ASPECT: Final = Fraction(8, 7)
"""Width divided by height of a pixel on an NTSC television."""
QUALITY: Final = 22
"""x264's constant rate factor. At 22, enlarged edges are still sharp, and half a minute at scale 2 has about 0.7 MB."""


class VideoError(RuntimeError):
    """A video could not be written; the message says why and what to do."""


def render_video(
    frames: Iterable[Frame],
    path: Path,
    fps: float | Fraction = NES_FRAME_RATE,
    scale: int = 3,
    *,
    shape: tuple[int, int, int] = FRAME_SHAPE,
    television_shape: bool = False,
    quality: int = QUALITY,
) -> Path:
    """Write `frames` to `path` as MP4, and return `path`.

    Frames are encoded one by one. The file appears when it is complete. Its index is at its beginning, so that players can
    start before it is fully loaded.

    Args:
        frames: the frames, uint8 RGB of shape `shape`.
        path: the MP4 file.
        fps: frames per second.
        scale: factor by which frames are enlarged (nearest neighbour).
        shape: of each frame: height, width and 3.
        television_shape: widen pixels to 8:7.
        quality: x264's constant rate factor; lower is better and larger.

    Raises:
        VideoError: a frame has the wrong shape or type, there is none, or the encoder or the disk fails.
    """
    if scale < 1:
        raise VideoError(f"scale is {scale}: give a whole number of at least 1")
    first, rest = _first(frames, shape)
    width, height = _even(shape[1] * scale * (PIXEL_ASPECT if television_shape else 1)), _even(shape[0] * scale)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VideoError(f"cannot create the folder {path.parent} for the video: {error.strerror}") from error
    partial = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.part.mp4")
    command = _encoder_command(partial, shape, width, height, fps, quality)
    try:
        _encode(command, first, rest, path)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _encoder_command(
    output: Path, shape: tuple[int, int, int], width: int, height: int, fps: float | Fraction, quality: int
) -> list[str]:
    """The command that encodes raw frames from standard input."""
    rate = str(Fraction(fps).limit_denominator(1_000_000))
    return [
        *(encoder(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{shape[1]}x{shape[0]}", "-r", rate, "-i", "-"),
        *("-an", "-vf", f"scale={width}:{height}:flags=neighbor:out_color_matrix=bt709:out_range=tv"),
        *("-c:v", "libx264", "-preset", "fast", "-tune", "animation", "-crf", str(quality), "-pix_fmt", "yuv420p"),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
        *("-threads", "2", "-movflags", "+faststart", str(output)),
    ]


def encoder() -> str:
    """The path of the bundled ffmpeg.

    Raises:
        VideoError: the package has none for this system.
    """
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise VideoError(
            "the package imageio-ffmpeg has no ffmpeg for this system: reinstall it (pip install --force-reinstall "
            "imageio-ffmpeg), or set IMAGEIO_FFMPEG_EXE to an ffmpeg with libx264"
        ) from error


def _encode(command: list[str], first: Frame, rest: Iterator[Frame], path: Path) -> None:
    # stderr goes to a file. A pipe would fill up while frames are written, and block the encoder.
    with tempfile.TemporaryFile() as messages:
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages)
        except OSError as error:
            raise VideoError(f"cannot start the video encoder {command[0]}: {error.strerror or error}") from error
        try:
            stdin = process.stdin
            if stdin is None:
                raise VideoError("the video encoder has no input")
            broken = _feed(stdin, first, rest)
            code = process.wait()
        finally:
            if process.poll() is None:  # a frame was invalid, or the caller was interrupted
                process.kill()
                process.wait()
            if process.stdin is not None and not process.stdin.closed:
                _close(process.stdin)
        if code != 0 or broken:
            messages.seek(0)
            output = messages.read().decode(errors="replace").strip().splitlines()
            raise VideoError(
                f"the video {path} could not be written: {output[-1] if output else f'the encoder ended with {code}'}"
            )


def _feed(stdin: IO[bytes], first: Frame, rest: Iterator[Frame]) -> bool:
    """Write all frames. Returns True if the encoder ended before it had all of them."""
    try:
        stdin.write(first.tobytes())
        for number, frame in enumerate(rest, start=1):
            stdin.write(_checked(frame, number, first.shape).tobytes())
        stdin.close()
    except BrokenPipeError:
        return True
    return False


def _close(stdin: IO[bytes]) -> None:
    try:
        stdin.close()
    except BrokenPipeError:
        return


def _first(frames: Iterable[Frame], shape: tuple[int, ...]) -> tuple[Frame, Iterator[Frame]]:
    rest = iter(frames)
    for first in rest:
        return _checked(first, 0, shape), rest
    raise VideoError("there is no frame for a video: the episode is empty")


def _checked(frame: Frame, number: int, shape: tuple[int, ...]) -> Frame:
    if frame.shape != shape or frame.dtype != np.uint8:
        raise VideoError(f"frame {number} is {frame.dtype} of shape {frame.shape}; expected uint8 RGB of shape {shape}")
    return np.ascontiguousarray(frame)


def _even(length: int | Fraction) -> int:
    """The nearest even length. yuv420p halves the colour planes, so both sides must be even."""
    return 2 * round(Fraction(length) / 2)
