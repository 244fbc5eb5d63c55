import os
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from reports.video import Frame
from reports.window import WindowError, show_in_window

Scrolling = Callable[..., list[Frame]]


@pytest.fixture
def _no_screen_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.mark.usefixtures("_no_screen_needed")
def test_shows_every_frame(scrolling: Scrolling) -> None:
    assert show_in_window(scrolling(12), fps=600, scale=1) == 12


@pytest.mark.usefixtures("_no_screen_needed")
@pytest.mark.parametrize("button", ["escape", "close"])
def test_closes_when_asked(scrolling: Scrolling, button: str) -> None:
    import pygame

    def frames() -> Iterator[Frame]:
        for index, frame in enumerate(scrolling(30)):
            if index == 5:
                event = (
                    pygame.event.Event(pygame.QUIT)
                    if button == "close"
                    else pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE)
                )
                pygame.event.post(event)
            yield frame

    assert show_in_window(frames(), fps=600, scale=1) == 5
    assert not pygame.display.get_init()


@pytest.mark.usefixtures("_no_screen_needed")
def test_keeps_the_console_s_speed(scrolling: Scrolling) -> None:
    import time

    begin = time.monotonic()
    show_in_window(scrolling(30), fps=60, scale=1)
    assert time.monotonic() - begin > 0.4


@pytest.mark.usefixtures("_no_screen_needed")
def test_a_frame_of_another_shape() -> None:
    with pytest.raises(WindowError, match="frame 0 is uint8 of shape"):
        show_in_window([np.zeros((120, 128, 3), np.uint8)])


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="these systems always have a screen")
def test_without_a_screen_a_video_is_suggested(monkeypatch: pytest.MonkeyPatch, scrolling: Scrolling) -> None:
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(WindowError, match="--video FILE"):
        show_in_window(scrolling(2))


def test_a_screen_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch, scrolling: Scrolling) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "no-such-driver")
    with pytest.raises(WindowError, match="--video FILE"):
        show_in_window(scrolling(2))
