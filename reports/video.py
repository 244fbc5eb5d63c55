"""Episodes as MP4 files: H.264 in yuv420p, which every browser and phone plays.

The encoder is the ffmpeg binary that the package ``imageio-ffmpeg`` carries, so nothing has to be installed on the system.
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
"""Frames per second of an NTSC console: 60.0988 (master clock 236.25/11 MHz, 4 master cycles a dot, 89 341.5 dots a frame)."""
PIXEL_ASPECT: Final = Fraction(8, 7)
"""Width over height of a pixel on the television the game was drawn for."""
QUALITY: Final = 22
"""x264's constant rate factor. Pixel art has few colours and hard edges: at 22 the enlarged edges are
still sharp, and half a minute at twice the size takes about 0.7 MB."""


class VideoError(RuntimeError):
    """A video could not be written; the message says why and what to do."""


def render_video(
    frames: Iterable[Frame],
    path: Path,
    fps: float | Fraction = NES_FRAME_RATE,
    scale: int = 3,
    *,
    television_shape: bool = False,
    quality: int = QUALITY,
) -> Path:
    """Write `frames` to `path` as MP4 and return `path`.

    `frames` yields RGB pictures, uint8 of shape (240, 256, 3); they are encoded as they come, never held together. Each pixel
    becomes `scale` × `scale` (nearest neighbour); `television_shape` widens pixels to 8:7. `quality` is x264's CRF: lower is
    better and larger. The file appears under its name only once it is complete; its index stands first, so that playing
    starts before it is loaded.

    Raises :class:`VideoError` if a frame has the wrong shape or type, if there is none, or if the encoder or the disk fails.
    """
    if scale < 1:
        raise VideoError(f"scale is {scale}: give a whole number from 1 on")
    first, rest = _first(frames)
    width, height = _even(256 * scale * (PIXEL_ASPECT if television_shape else 1)), _even(240 * scale)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VideoError(f"cannot make the folder {path.parent} for the video: {error.strerror}") from error
    partial = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.part.mp4")
    command = [
        *(encoder(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y"),
        *(
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            "256x240",
            "-r",
            str(Fraction(fps).limit_denominator(1_000_000)),
            "-i",
            "-",
        ),
        *("-an", "-vf", f"scale={width}:{height}:flags=neighbor:out_color_matrix=bt709:out_range=tv"),
        *("-c:v", "libx264", "-preset", "fast", "-tune", "animation", "-crf", str(quality), "-pix_fmt", "yuv420p"),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
        *("-threads", "2", "-movflags", "+faststart", str(partial)),
    ]
    try:
        _encode(command, first, rest, path)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def encoder() -> str:
    """Path of the bundled ffmpeg; raises :class:`VideoError` if the package has none for this system."""
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise VideoError(
            "no ffmpeg for this system in the package imageio-ffmpeg: install it again (pip install --force-reinstall "
            "imageio-ffmpeg), or set IMAGEIO_FFMPEG_EXE to an ffmpeg with libx264"
        ) from error


def _encode(command: list[str], first: Frame, rest: Iterator[Frame], path: Path) -> None:
    # stderr goes to a file: a pipe that nobody reads while frames are written would fill up and stop the encoder.
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
            if process.poll() is None:  # a frame was wrong, or the caller was interrupted
                process.kill()
                process.wait()
            if process.stdin is not None and not process.stdin.closed:
                _close(process.stdin)
        if code != 0 or broken:
            messages.seek(0)
            said = messages.read().decode(errors="replace").strip().splitlines()
            raise VideoError(f"the video {path} could not be written: {said[-1] if said else f'the encoder ended with {code}'}")


def _feed(stdin: IO[bytes], first: Frame, rest: Iterator[Frame]) -> bool:
    """Write all frames; True if the encoder went away before it had them all."""
    try:
        stdin.write(_checked(first, 0).tobytes())
        for number, frame in enumerate(rest, start=1):
            stdin.write(_checked(frame, number).tobytes())
        stdin.close()
    except BrokenPipeError:
        return True
    return False


def _close(stdin: IO[bytes]) -> None:
    try:
        stdin.close()
    except BrokenPipeError:
        return


def _first(frames: Iterable[Frame]) -> tuple[Frame, Iterator[Frame]]:
    rest = iter(frames)
    for first in rest:
        return _checked(first, 0), rest
    raise VideoError("there is no frame to make a video of: the episode is empty")


def _checked(frame: Frame, number: int) -> Frame:
    if frame.shape != FRAME_SHAPE or frame.dtype != np.uint8:
        raise VideoError(f"frame {number} is {frame.dtype} of shape {frame.shape}; expected uint8 RGB of shape {FRAME_SHAPE}")
    return np.ascontiguousarray(frame)


def _even(length: int | Fraction) -> int:
    """yuv420p halves the colour planes: both sides must be even."""
    return 2 * round(Fraction(length) / 2)
