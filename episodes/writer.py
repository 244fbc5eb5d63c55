"""Writes episodes while training runs, without making it wait.

`put` converts the row, which costs some tens of microseconds, and appends it to a queue. A thread of its own takes the rows
from there, in order, and writes them in batches: 64 rows a commit are written an order of magnitude faster than one.
"""

import atexit
import logging
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from episodes import boundary, unwritten
from episodes.address import describe, is_transient, masked
from episodes.errors import StoreError
from episodes.schema import EPISODE_ACTIONS, EPISODE_KEY, EPISODES, EpisodeRow
from episodes.unwritten import PendingEpisode

_LOG: Final = logging.getLogger(__name__)
_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 5.0


def convert(row: EpisodeRow, start: Mapping[str, Any] | None, actions: bytes | None) -> PendingEpisode:
    """Convert an episode to Python's own types.

    Raises:
        RowError: a value cannot be stored; the message names column and value.
    """
    values = boundary.row_values(EPISODES, {each.name: getattr(row, each.name) for each in fields(row)})
    if start is None or actions is None:
        return PendingEpisode(values, None, None)
    plain_start = boundary.column_value(EPISODE_ACTIONS.c.start, start)
    return PendingEpisode(values, plain_start, boundary.column_value(EPISODE_ACTIONS.c.actions, actions))


def insert_episodes(connection: Connection, pending: Sequence[PendingEpisode]) -> int:
    """Insert the episodes that are not there yet, with their actions, and return how many these were."""
    statement = insert(EPISODES).on_conflict_do_nothing(index_elements=EPISODE_KEY)
    returning = statement.returning(EPISODES.c.id, *(EPISODES.c[name] for name in EPISODE_KEY))
    inserted = connection.execute(returning, [episode.values for episode in pending]).all()
    ids = {tuple(row[1:]): row[0] for row in inserted}
    # An id is taken once: of two equal keys in one batch, the first is the one that was inserted.
    actions = [
        {
            "episode_id": episode_id,
            "start": episode.start,
            "decisions": len(episode.actions),
            "actions": zlib.compress(episode.actions, 6),
        }
        for episode in pending
        if (episode_id := ids.pop(_key(episode), None)) is not None and episode.actions is not None
    ]
    if actions:
        connection.execute(insert(EPISODE_ACTIONS), actions)
    return len(inserted)


def _key(episode: PendingEpisode) -> tuple[Any, ...]:
    return tuple(episode.values[name] for name in EPISODE_KEY)


class EpisodeWriter:
    """Takes episodes from one or more threads and writes them in the background; a context manager that closes at its end.

    Args:
        engine: the database.
        url: its URL, for messages.
        home: where rows are kept that could not be written by the end.
        batch: rows a commit at most.
        interval_seconds: how long a row waits for others to share its commit.
        store_actions: whether starts and actions are kept too.
        revive: called after the connection was lost, before the next attempt; it may start an embedded server again.
    """

    def __init__(
        self,
        engine: Engine,
        url: URL,
        home: Path,
        *,
        batch: int = 64,
        interval_seconds: float = 1.0,
        store_actions: bool = True,
        revive: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._url = url
        self._home = home
        self._batch = batch
        self._interval = interval_seconds
        self._store_actions = store_actions
        self._revive = revive
        self._pending: deque[PendingEpisode] = deque()
        self._refused: list[tuple[PendingEpisode, str]] = []
        self._trouble: str | None = None
        self._changed = threading.Condition()
        self._hurry = False
        self._closing = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="episode-writer", daemon=True)
        self._thread.start()
        # The thread ends with the interpreter; a writer that nobody closed must not take its rows along.
        atexit.register(self._close_at_exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except StoreError as failure:  # the error that is on its way matters more
            _LOG.error("%s", failure)

    def put(self, row: EpisodeRow, start: Mapping[str, Any] | None = None, actions: bytes | None = None) -> None:
        """Hand an episode over; never waits for the database.

        Args:
            row: the episode; NumPy scalars are welcome.
            start: where the episode started, as JSON.
            actions: one byte a decision.

        Raises:
            RowError: a value cannot be stored; nothing was handed over.
            StoreError: the writer is closed.
        """
        pending = convert(row, start, actions) if self._store_actions else convert(row, None, None)
        with self._changed:
            if self._closing:
                raise StoreError("the episode writer is closed; open another with EpisodeStore.writer()")
            self._pending.append(pending)
            if len(self._pending) in (1, self._batch):
                self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many episodes are not in the database yet."""
        return len(self._pending) + len(self._refused)

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until every episode handed over so far is in the database.

        Raises:
            StoreError: some are not within `timeout` seconds, or the database refuses them. They stay in memory.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            while self._pending and self._thread.is_alive() and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            self._hurry = False
            failure = self._failure()
        if failure is not None:
            raise StoreError(f"{failure} They are kept in memory.")

    def close(self, timeout: float = 30.0) -> None:
        """Write what is left and end the thread. Closing twice is no error.

        Raises:
            StoreError: some episodes could not be written within `timeout` seconds. They are in a file that the message names.
        """
        if self._closed:
            return
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        atexit.unregister(self._close_at_exit)
        with self._changed:
            self._closed = True
            failure = self._failure()
            # The thread may still be waiting for a dead server. What it is writing is among the pending: it takes a row off
            # only after the commit, and a row written twice is one row.
            left = [episode for episode, _ in self._refused] + list(self._pending)
        if failure is not None:
            try:
                path = unwritten.keep(left, self._home)
            except OSError as error:
                raise StoreError(f"{failure} They could not be kept in {self._home} either ({error}) and are lost.") from None
            raise StoreError(f"{failure} They are kept in {path}; EpisodeStore.restore writes them when the cause is gone.")

    def _close_at_exit(self) -> None:
        try:
            self.close(timeout=10.0)
        except StoreError as failure:
            _LOG.error("%s", failure)

    def _failure(self) -> str | None:
        """What remains unwritten and why; None if nothing does. Called with the lock held."""
        number = self.waiting
        if number == 0:
            return None
        reason = self._refused[0][1] if self._refused else self._trouble or "the database has not taken them in time"
        return f"{number} episode{'s' * (number > 1)} could not be written to {masked(self._url)}: {reason}."

    def _run(self) -> None:
        delay = _FIRST_DELAY_SECONDS
        while (batch := self._next_batch()) is not None:
            try:
                self._write(batch)
            except Exception as error:
                if not is_transient(error):
                    self._write_singly(batch)
                    continue
                self._report(error)
                with self._changed:
                    if self._closed:
                        return
                    self._changed.wait(delay)
                delay = min(2 * delay, _LONGEST_DELAY_SECONDS)
                self._try_to_revive()
            else:
                delay = _FIRST_DELAY_SECONDS
                self._take_off(len(batch))

    def _next_batch(self) -> list[PendingEpisode] | None:
        """The next rows to write: at once when a batch is full or someone waits, else after the interval. None: the end."""
        with self._changed:
            while not self._pending:
                if self._closing:
                    return None
                self._changed.wait()
            deadline = time.monotonic() + self._interval
            while len(self._pending) < self._batch and not (self._hurry or self._closing):
                if (left := deadline - time.monotonic()) <= 0:
                    break
                self._changed.wait(left)
            if self._closed:
                return None
            return list(islice(self._pending, self._batch))

    def _write(self, batch: Sequence[PendingEpisode]) -> None:
        with self._engine.begin() as connection:
            insert_episodes(connection, batch)

    def _write_singly(self, batch: Sequence[PendingEpisode]) -> None:
        """The database refused the batch for what is in it: find the rows it refuses, write the others."""
        for episode in batch:
            try:
                self._write([episode])
            except SQLAlchemyError as error:
                if is_transient(error):
                    return  # the rest is still pending
                self._set_aside(episode, describe(error, self._url))
            except Exception as error:
                self._set_aside(episode, f"{type(error).__name__}: {error}")
            self._take_off(1)

    def _set_aside(self, episode: PendingEpisode, reason: str) -> None:
        _LOG.error("the database refuses an episode: %s", reason)
        with self._changed:
            self._refused.append((episode, reason))

    def _take_off(self, number: int) -> None:
        with self._changed:
            for _ in range(number):
                self._pending.popleft()
            self._trouble = None
            self._changed.notify_all()

    def _report(self, error: BaseException) -> None:
        trouble = describe(error, self._url)
        if self._trouble is None:
            _LOG.warning("episodes wait in memory, the database is away: %s", trouble)
        self._trouble = trouble

    def _try_to_revive(self) -> None:
        try:
            self._revive()
        except StoreError as error:
            self._trouble = str(error)
