"""What the person is told about a server that is away."""

import logging
import threading
import time
from collections.abc import Callable

_lock = threading.Lock()  # of all outages: two lanes that fail at once must not both be the first


class Outage:
    """Tells the person once that a server is away, now and then how much is pending, and once that the server is back.

    Args:
        logger: where it is told.
        server: the server and its address, without a password.
        items: what is pending for the server, in the plural.
        place: where the items are kept.
        lanes: the outages of one server's lanes; this one adds itself. When several fail together, as they do when the server
            is away, the first one tells it and the others keep silent. None: there are no others.
        remind_seconds: how long until the first reminder; the time doubles with each reminder, up to sixteen-fold.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        logger: logging.Logger,
        server: str,
        items: str,
        place: str,
        *,
        lanes: "list[Outage] | None" = None,
        remind_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._server = server
        self._items = items
        self._place = place
        self._first_reminder = remind_seconds
        self._clock = clock
        self._since: float | None = None
        self._told_at: float | None = None
        self._lanes = [] if lanes is None else lanes
        self._lanes.append(self)
        self._pause = self._next = 0.0

    def failed(self, reason: str, pending: int) -> None:
        """The server did not answer; so many items are `pending`."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        if self._told_at is None:
            if self._is_first(now):
                self._pause = self._first_reminder
                self._next = now + self._pause
                self._logger.warning(
                    "%s cannot be reached; the run goes on and its %s wait in %s: %s",
                    self._server,
                    self._items,
                    self._place,
                    reason,
                )
        elif now >= self._next:
            self._pause = min(2 * self._pause, 16 * self._first_reminder)
            self._next = now + self._pause
            self._logger.warning(
                "%d %s wait in %s: %s has been away for %s",
                pending,
                self._items,
                self._place,
                self._server,
                _duration(now - self._since),
            )

    def ended(self, pending: int) -> None:
        """The server has answered; so many items were still `pending` then."""
        with _lock:
            since, told_at = self._since, self._told_at
            self._since = self._told_at = None
        if since is None or told_at is None:
            return
        self._logger.warning(
            "%s is back after %s: %d %s that waited are being sent",
            self._server,
            _duration(self._clock() - since),
            pending,
            self._items,
        )

    def _is_first(self, now: float) -> bool:
        """Whether no other lane has told of this outage: then this one does, from now on."""
        with _lock:
            told = [each._told_at for each in self._lanes if each is not self and each._told_at is not None]
            # A lane that failed long before has another trouble and does not speak for this one.
            if any(now - moment < self._first_reminder for moment in told):
                return False
            self._told_at = now
            return True


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
