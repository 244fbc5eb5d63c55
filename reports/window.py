"""Display of episodes in a window."""

import os
import sys
import warnings
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from reports.video import FRAME_SHAPE, NES_FRAME_RATE, Frame

if TYPE_CHECKING:
    import types


class WindowError(RuntimeError):
    """A window could not be opened; the message says why, and what to do instead."""


def show_in_window(
    frames: Iterable[Frame],
    fps: float | Fraction = NES_FRAME_RATE,
    scale: int = 3,
    *,
    shape: tuple[int, int, int] = FRAME_SHAPE,
    title: str = "train-mario",
) -> int:
    """Show `frames` in a window, and return how many were shown.

    The window closes after the last frame, on Escape or Q, or by its close button. On a slow machine frames are late, but none
    is skipped.

    Args:
        frames: the frames, uint8 RGB of shape `shape`.
        fps: frames per second.
        scale: factor by which frames are enlarged.
        shape: of each frame: height, width and 3.
        title: title of the window.

    Raises:
        WindowError: there is no display, or a frame has another shape or type.
    """
    if scale < 1:
        raise WindowError(f"scale is {scale}: give a whole number of at least 1")
    pygame = _pygame()
    height, width, _ = shape
    size = (width * scale, height * scale)
    try:
        try:
            # pygame.init() would also open the sound device, which servers and containers do not have.
            pygame.display.init()
            screen = pygame.display.set_mode(size)
        except pygame.error as error:
            raise WindowError(
                f"no window can be opened ({error}): is there a display? Write a video instead with --video FILE"
            ) from error
        pygame.display.set_caption(title)
        clock = pygame.time.Clock()
        shown = 0
        for frame in frames:
            if _closed(pygame):
                break
            if frame.shape != shape or frame.dtype != np.uint8:
                raise WindowError(f"frame {shown} is {frame.dtype} of shape {frame.shape}; expected uint8 RGB of {shape}")
            picture = pygame.image.frombuffer(np.ascontiguousarray(frame).tobytes(), (width, height), "RGB")
            screen.blit(pygame.transform.scale(picture, size), (0, 0))
            pygame.display.flip()
            shown += 1
            clock.tick(float(fps))
        return shown
    finally:
        pygame.display.quit()


def _pygame() -> "types.ModuleType":
    # pygame's greeting on standard output would spoil `--json` and pipes.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if os.name == "posix" and not os.environ.get("SDL_VIDEODRIVER") and not _has_display():
        raise WindowError(
            "this machine has no display (neither DISPLAY nor WAYLAND_DISPLAY is set): write a video instead with --video FILE"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pygame itself uses deprecated functions
        import pygame
    return pygame


def _has_display() -> bool:
    # Without a display server, SDL falls back to drivers that show nothing, which would look like a hang.
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _closed(pygame: "types.ModuleType") -> bool:
    for event in pygame.event.get():
        if event.type == pygame.QUIT:
            return True
        if event.type == pygame.KEYDOWN and event.key in (pygame.K_ESCAPE, pygame.K_q):
            return True
    return False
