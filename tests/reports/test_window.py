"""The window that shows episodes."""

import os
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from reports.video import Frame
from reports.window import WindowError, show_in_window

Scrolling = Callable[..., list[Frame]]


@pytest.fixture
def _dummy_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.mark.usefixtures("_dummy_display")
def test_every_frame_is_shown(scrolling: Scrolling) -> None:
    assert show_in_window(scrolling(12), fps=600, scale=1) == 12


@pytest.mark.usefixtures("_dummy_display")
@pytest.mark.parametrize("button", ["escape", "close"])
def test_the_window_closes_on_request(scrolling: Scrolling, button: str) -> None:
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


@pytest.mark.usefixtures("_dummy_display")
def test_frames_are_shown_at_the_given_rate(scrolling: Scrolling) -> None:
    import time

    begin = time.monotonic()
    show_in_window(scrolling(30), fps=60, scale=1)
    assert time.monotonic() - begin > 0.4


@pytest.mark.usefixtures("_dummy_display")
def test_a_frame_of_another_shape_is_refused() -> None:
    with pytest.raises(WindowError, match="frame 0 is uint8 of shape"):
        show_in_window([np.zeros((120, 128, 3), np.uint8)])


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="these systems always have a display")
def test_without_a_display_a_video_is_suggested(monkeypatch: pytest.MonkeyPatch, scrolling: Scrolling) -> None:
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(WindowError, match="--video FILE"):
        show_in_window(scrolling(2))


def test_a_display_that_cannot_be_opened_is_reported(monkeypatch: pytest.MonkeyPatch, scrolling: Scrolling) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "no-such-driver")
    with pytest.raises(WindowError, match="--video FILE"):
        show_in_window(scrolling(2))
