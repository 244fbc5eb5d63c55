"""Writes episodes while training runs, without making it wait and without losing one.

`put` converts the row, which costs some tens of microseconds, and appends it to a queue. From there it goes to an outbox on
disk, and then to Postgres, in order and in batches: 64 rows in one commit are ten times as fast as 64 commits.
While Postgres is away the rows stay in the outbox. The next writer of the same outbox writes those that are left at the end.
"""

import atexit
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import URL, Connection, Engine, Row, cast, exists, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY, insert

from episodes import fencing, pending
from episodes.address import describe, is_retryable, is_transient, masked
from episodes.errors import FencedError, StoreError, StoreUnavailableError
from episodes.fencing import FencingToken
from episodes.pending import PendingEpisode
from episodes.schema import EPISODE_ACTIONS, EPISODE_KEY, EPISODES, EpisodeRow
from spool import Courier, Outage, Outbox, count_pending

_LOG: Final = logging.getLogger(__name__)
_RETRY_SECONDS: Final = (0.1, 5.0)
_CLOSING_SECONDS: Final = 30.0
_FAILING_SECONDS: Final = 5.0  # after an error or a signal
_RETURNED: Final = (EPISODES.c.id, *(EPISODES.c[name] for name in EPISODE_KEY))


def insert_episodes(connection: Connection, episodes: Sequence[PendingEpisode], token: FencingToken | None = None) -> int:
    """Insert the episodes that are not in the table yet, with their actions; returns how many were inserted.

    Args:
        connection: in a transaction.
        episodes: with a token, all are of its experiment.
        token: the right of the attempt to write; None: whatever attempt there is.

    Raises:
        FencedError: a newer attempt has taken over; nothing was inserted.
    """
    statement = insert(EPISODES).on_conflict_do_nothing(index_elements=EPISODE_KEY)
    values = [episode.values for episode in episodes]
    inserted = (
        connection.execute(statement.returning(*_RETURNED), values).all()
        if token is None
        else _insert_fenced(connection, values, token)
    )
    ids = {tuple(row[1:]): row[0] for row in inserted}
    # `pop`: of two equal keys in one batch, only the first was inserted.
    actions = [
        {
            "episode_id": episode_id,
            "start": episode.start,
            "decisions": len(episode.actions),
            "actions": zlib.compress(episode.actions, 6),
            "delays": None if episode.delays is None else zlib.compress(episode.delays, 6),
        }
        for episode in episodes
        if (episode_id := ids.pop(_key(episode), None)) is not None and episode.actions is not None
    ]
    if actions:
        connection.execute(insert(EPISODE_ACTIONS), actions)
    return len(inserted)


def _insert_fenced(connection: Connection, values: Sequence[Mapping[str, Any]], token: FencingToken) -> Sequence[Row[Any]]:
    """Insert rows in the same statement that makes sure that `token` is the newest; returns ids and keys of those inserted."""
    mine = fencing.current(token)
    names = list(values[0])
    # An array for each column: the statement is the same for any number of rows, so SQLAlchemy compiles it once.
    arrays = (cast([row[name] for row in values], ARRAY(EPISODES.c[name].type)) for name in names)
    given = func.unnest(*arrays).table_valued(*names, name="given").render_derived()
    rows = select(*given.c).where(exists(select(mine)))
    statement = insert(EPISODES).from_select(names, rows).on_conflict_do_nothing(index_elements=EPISODE_KEY)
    written = statement.returning(*_RETURNED).cte("written")
    # One row at least if the token is the newest, none if it is not.
    found = connection.execute(select(*written.c).select_from(mine.outerjoin(written, true()))).all()
    if not found:
        raise fencing.superseded(connection, token)
    return [row for row in found if row[0] is not None]


def _key(episode: PendingEpisode) -> tuple[Any, ...]:
    return tuple(episode.values[name] for name in EPISODE_KEY)


def refused_outbox(outbox: Path) -> Path:
    """The outbox beside `outbox` that keeps the rows Postgres refuses."""
    return outbox.with_name(f"{outbox.stem}-refused{outbox.suffix}")


class EpisodeWriter:
    """Writes episodes in the background; safe to use from several threads. A context manager that closes it.

    Rows that an earlier process left in the outbox are written first, and after them those that Postgres refused then: the
    cause may be gone.

    Args:
        engine: the database.
        url: its URL, for messages.
        outbox: the file where rows are stored first; one writer has it open at a time.
        owner: whom the rows belong to; see :class:`spool.Outbox`.
        token: the right of the attempt to write. When another attempt has taken over, nothing more is written, and rows stay
            in the outbox. None: rows are written whatever attempt there is.
        batch: the most rows for one commit.
        interval_seconds: how long rows gather before they are committed together.
        store_actions: whether starts and actions are kept too.
        restart_server: called before the next attempt after a lost connection; it may restart an embedded server.
        remedy: a sentence that says what the person can do about rows that are left.

    Raises:
        OutboxLockedError: another process writes from this outbox.
        OutboxError, OSError: the outbox cannot be opened.
    """

    def __init__(
        self,
        engine: Engine,
        url: URL,
        outbox: Path,
        owner: str,
        *,
        token: FencingToken | None = None,
        batch: int = 64,
        interval_seconds: float = 1.0,
        store_actions: bool = True,
        restart_server: Callable[[], None] = lambda: None,
        remedy: str = "The next writer of this outbox writes them.",
    ) -> None:
        self._engine = engine
        self._url = url
        self._store_actions = store_actions
        self._restart_server = restart_server
        self._remedy = remedy
        self._owner = owner
        self._token = token
        self._away = False
        self._failure: type[StoreError] = StoreUnavailableError
        self._refused: Outbox | None = None
        self._refused_number = 0
        self._refused_reason = ""
        self._closed = False
        self.outbox = outbox
        self._courier: Courier[PendingEpisode] = Courier(
            "episode-writer",
            pending.encode,
            self._deliver,
            Outage(_LOG, f"Postgres at {masked(url)}", "episodes", str(outbox)),
            outbox=self._open_outbox(),
            batch=batch,
            interval_seconds=interval_seconds,
            retry_seconds=_RETRY_SECONDS,
        )
        # The threads end with the interpreter: a writer that was not closed still writes for up to 10 s.
        atexit.register(self._close_at_exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close(_FAILING_SECONDS)
        except FencedError:  # whoever holds the lease says it
            pass
        except StoreError as failure:  # the error that is being raised matters more
            _LOG.error("%s", failure)

    def put(
        self,
        row: EpisodeRow,
        start: Mapping[str, Any] | None = None,
        actions: bytes | None = None,
        delays: bytes | None = None,
    ) -> None:
        """Hand over an episode. Waits neither for the database nor for the disk.

        Args:
            row: the episode; NumPy scalars are accepted.
            start: where the episode started, as JSON; None: start and actions are not kept.
            actions: one byte for each decision.
            delays: frames before each action took effect, one byte for each decision; None or empty: none.

        Raises:
            RowError: a value cannot be stored; nothing was handed over.
            FencedError: another attempt has taken over; nothing was handed over.
            StoreError: the writer is closed.
        """
        self._require_current()
        if not self._store_actions:
            start = actions = delays = None
        episode = pending.convert(row, start, actions, delays)
        if not self._courier.put(episode):
            raise StoreError("the episode writer is closed; open another with EpisodeStore.writer()")

    @property
    def pending(self) -> int:
        """How many episodes are not in the database."""
        return self._courier.pending + self._refused_number

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until every episode handed over so far, or found in the outbox, is in the database.

        Raises:
            StoreUnavailableError: some are not within `timeout` seconds; they wait in the outbox.
            FencedError: another attempt has taken over; those that are not written stay in the outbox.
            StoreError: the database refuses some.
        """
        self._courier.flush(timeout, patient=True)
        self._raise_for_the_rest()

    def sync(self, timeout: float = 5.0) -> None:
        """Wait until every episode handed over so far is on the disk or in the database. Does not wait for Postgres.

        Raises:
            StoreError: some are not within `timeout` seconds.
        """
        if not self._courier.sync(timeout):
            raise StoreError(f"{_episodes(self._courier.unstored)} could not be written to {self.outbox}")

    def close(self, timeout: float | None = None) -> None:
        """Write the rows that are left and end the threads. Closing twice is allowed.

        Args:
            timeout: seconds to wait for an unavailable database; None: 30.

        Raises:
            StoreUnavailableError: some episodes could not be written within `timeout` seconds. They wait in the outbox; the
                message names its file.
            FencedError: another attempt has taken over; those that are not written stay in the outbox.
            StoreError: the database refuses some; the message names the file that keeps them.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._close_at_exit)
        self._courier.close(_CLOSING_SECONDS if timeout is None else timeout, patient=True)
        if self._refused is not None:
            self._refused.close()
        self._raise_for_the_rest()

    def _close_at_exit(self) -> None:
        try:
            self.close(timeout=10.0)
        except StoreError as failure:
            _LOG.error("%s", failure)

    def _require_current(self) -> None:
        if self._courier.stopped is not None:
            raise FencedError(str(self._courier.stopped))

    def _raise_for_the_rest(self) -> None:
        self._require_current()
        left, refused = self._courier.pending, self._refused_number
        lost = self._courier.unstored if self._closed else 0
        said = []
        if refused:
            kept = refused_outbox(self.outbox)
            said.append(f"{masked(self._url)} refuses {_episodes(refused)}: {self._refused_reason}. Kept in {kept}.")
        if left:
            reason = self._courier.reason or "the database did not take them in time"
            wait = "waits" if left == 1 else "wait"
            said.append(f"{_episodes(left)} {wait} in {self.outbox}, because {masked(self._url)} has not taken them: {reason}")
        if lost:
            said.append(f"{_episodes(lost)} of these could not be written to the disk either, and are lost")
        if said:
            kind = StoreError if refused else self._failure
            raise kind(". ".join(part.rstrip(".") for part in [*said, self._remedy]) + ".")

    # In the courier's thread

    def _deliver(self, payloads: Sequence[bytes]) -> int:
        """Write the first pending episodes; returns how many are settled: written, or refused and set aside.

        Raises:
            FencedError: another attempt has taken over.
            StoreError: the database is unavailable.
        """
        if self._away:
            self._restart_server()
        try:
            self._write([pending.decode(payload) for payload in payloads])
        except FencedError:
            raise
        except Exception as error:
            if is_transient(error):
                raise self._unavailable(error) from None
            return self._write_singly(payloads)
        self._away = False
        return len(payloads)

    def _write(self, episodes: Sequence[PendingEpisode]) -> None:
        with self._engine.begin() as connection:
            insert_episodes(connection, episodes, self._token)

    def _write_singly(self, payloads: Sequence[bytes]) -> int:
        """The database refused rows of the batch: set those aside and write the others."""
        for number, payload in enumerate(payloads):
            try:
                self._write([pending.decode(payload)])
            except FencedError:
                raise
            except Exception as error:
                if is_transient(error):
                    if number:
                        return number
                    raise self._unavailable(error) from None
                self._set_aside(payload, describe(error, self._url))
        return len(payloads)

    def _unavailable(self, error: BaseException) -> StoreError:
        words = describe(error, self._url)
        self._away = True
        self._failure = StoreUnavailableError if is_retryable(error, words) else StoreError
        return self._failure(words)

    def _set_aside(self, payload: bytes, reason: str) -> None:
        self._refused = self._refused or Outbox(refused_outbox(self.outbox), self._owner)
        self._refused.append([payload])
        self._refused_number += 1
        self._refused_reason = reason
        _LOG.error("the database refuses an episode; it is kept in %s: %s", self._refused.path, reason)

    def _open_outbox(self) -> Outbox:
        """The outbox, with the rows that were refused before at its end."""
        outbox = Outbox(self.outbox, self._owner)
        kept = refused_outbox(self.outbox)
        if count_pending(kept):
            refused = Outbox(kept, self._owner)
            # Copied before they are removed: a crash in between leaves them twice, and the second time nothing is added.
            outbox.append(refused.peek())
            refused.remove(refused.count)
            refused.close()
        if outbox.count:
            _LOG.info("%d episodes wait in %s and are written now", outbox.count, self.outbox)
        return outbox


def _episodes(number: int) -> str:
    return f"{number} episode{'s' * (number != 1)}"
