"""What the person is told about a server that is away."""

import logging
import time
from collections.abc import Callable


class Outage:
    """Tells once that a server is away, now and then how much waits for it, and once that it is back.

    Args:
        logger: where it is told.
        server: the server and its place, without a password.
        things: what waits for it, in the plural.
        place: where these wait.
        remind_seconds: after this long how many wait is told; the time doubles with each reminder, up to sixteen-fold.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        logger: logging.Logger,
        server: str,
        things: str,
        place: str,
        *,
        remind_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._server = server
        self._things = things
        self._place = place
        self._first_reminder = remind_seconds
        self._clock = clock
        self._since: float | None = None
        self._pause = self._next = 0.0

    def failed(self, reason: str, waiting: int) -> None:
        """The server did not answer; `waiting` things wait for it."""
        now = self._clock()
        if self._since is None:
            self._since = now
            self._pause = self._first_reminder
            self._next = now + self._pause
            self._logger.warning(
                "%s cannot be reached; the run goes on and its %s wait in %s: %s",
                self._server,
                self._things,
                self._place,
                reason,
            )
        elif now >= self._next:
            self._pause = min(2 * self._pause, 16 * self._first_reminder)
            self._next = now + self._pause
            self._logger.warning(
                "%d %s wait in %s: %s has been away for %s",
                waiting,
                self._things,
                self._place,
                self._server,
                _duration(now - self._since),
            )

    def over(self, waiting: int) -> None:
        """The server has answered; `waiting` things still waited for it then."""
        if self._since is None:
            return
        away, self._since = self._clock() - self._since, None
        self._logger.warning(
            "%s is back after %s: %d %s that waited are being sent", self._server, _duration(away), waiting, self._things
        )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
