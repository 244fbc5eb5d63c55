"""The screens of an episode that has been played, any of them at once."""

from typing import Final

import numpy as np

from configs.schema import EnvironmentConfig
from mario_env.console import SCREEN_SHAPE, Screen
from mario_env.fast import FastConsole
from mario_env.nes.machine import Snapshot
from mario_env.playback import episode_environment
from mario_env.summary import EpisodeStart
from mario_env.wrappers.actions import button_combinations, pressed_buttons

__all__ = ["Film"]

INTERVAL: Final = 16
"""Frames between two snapshots: a quarter of a second of play, which the emulator plays in about a millisecond."""


class Film:
    """Draws any frame of an episode, in any order, without keeping the screens.

    It plays on the fast emulator, whichever emulator the episode was played on: both draw the same. While it plays it takes a
    snapshot every :data:`INTERVAL` frames (66 KB each), and plays on from the nearest one before the frame that is wanted.
    It is not safe to use from several threads at once.

    Args:
        config: the environment that the episode was played in.
        start: the episode's start.
        buttons: the byte of pressed buttons of each frame: :attr:`mario_env.PlaybackFrame.buttons`.

    Raises:
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
    """

    def __init__(self, config: EnvironmentConfig, start: EpisodeStart, buttons: bytes) -> None:
        self._buttons = buttons
        self._console = FastConsole(episode_environment(config, start))
        self._console.reset()
        for _ in range(start.noop_frames):
            self._console.advance(0)
        pressed = pressed_buttons(button_combinations(config))
        for action in start.demonstration:
            for _ in range(config.frame_skip):
                self._console.advance(pressed[action])
        self._snapshots: list[Snapshot] = [self._console.snapshot()]

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self._buttons)

    def screens(self, first: int, count: int) -> Screen:
        """The screens of the frames `first` to `first + count - 1`, uint8 RGB of shape (count, 240, 256, 3).

        Raises:
            IndexError: the episode has no such frames.
        """
        if not 0 <= first <= first + count <= len(self):
            raise IndexError(f"frames {first} to {first + count - 1} of an episode with {len(self)}")
        self._go_to(first)
        screens = np.empty((count, *SCREEN_SHAPE), np.uint8)
        for index in range(count):
            self._play(first + index)
            screens[index] = self._console.render()
        return screens

    def console_at(self, frame: int) -> FastConsole:
        """The console as it is before `frame` is played, from which another play can go on. It is this film's own.

        Raises:
            IndexError: the episode has no such frame.
        """
        if not 0 <= frame < len(self):
            raise IndexError(f"frame {frame} of an episode with {len(self)}")
        self._go_to(frame)
        return self._console

    def _go_to(self, frame: int) -> None:
        """Put the console where `frame` comes next."""
        known = min(frame // INTERVAL, len(self._snapshots) - 1)
        self._console.restore(self._snapshots[known])
        for each in range(known * INTERVAL, frame):
            self._play(each)

    def _play(self, frame: int) -> None:
        self._console.advance(self._buttons[frame])
        if (frame + 1) % INTERVAL == 0 and (frame + 1) // INTERVAL == len(self._snapshots):
            self._snapshots.append(self._console.snapshot())
