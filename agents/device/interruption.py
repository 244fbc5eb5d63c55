"""Handling of SIGINT and SIGTERM: the training stops after the current step."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopLearning(Exception):  # noqa: N818 (not an error: it ends the loop in stable-baselines3)
    """Raised to end `learn` between an update and the next rollout, where the state of the algorithm is complete."""


class StopRequest:
    """A context manager in which the first signal only sets `requested`. A second signal is handled as outside the block.

    Signal handlers can be set only in the main thread. In other threads this does nothing.

    Attributes:
        requested: whether a signal has arrived.
    """

    def __init__(self) -> None:
        # Not a threading.Event: its lock is not reentrant, and a handler may run while its own thread holds the lock.
        self.requested = False
        self._previous: dict[int, Any] = {}

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for a signal to arrive; returns `requested`."""
        end = time.monotonic() + seconds
        while not self.requested and time.monotonic() < end:
            time.sleep(0.02)
        return self.requested

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _handle(self, number: int, _: FrameType | None) -> None:
        # Nothing is logged here: the signal may have interrupted a write to the same stream.
        if self.requested:
            self._restore()
            signal.raise_signal(number)
        self.requested = True

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            # None: the handler was not set by Python and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
