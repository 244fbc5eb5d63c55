"""Leases: which attempt holds an experiment, and from when on another may take it over.

An attempt holds its experiment from :func:`acquire` to :meth:`Lease.release`. A thread puts off the end of the lease all the
time, by the clock of the database. When the process is stopped, its machine is gone, or Postgres is away, nobody does. Once the
lease has expired, another attempt may take over; until one does, the holder goes on and nothing is lost. A lease ends at once
if its process has ended on the machine that asks.

The lease is about who may begin. That an attempt writes nothing after another has begun is up to `episodes.fencing`.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import timedelta
from typing import Any, Final

import psycopg2
from sqlalchemy import Connection, func, insert, select, text, update

from episodes import boundary
from episodes.errors import ExperimentLockedError, FencedError, GuardUnavailableError, StoreError, StoreUnavailableError
from episodes.fencing import FencingToken, require_current, superseded
from episodes.holders import has_ended, this_process
from episodes.schema import ATTEMPTS, EXPERIMENTS, AttemptRecord
from episodes.store import EpisodeStore

_LOG: Final = logging.getLogger(__name__)

# A takeover waits for the transaction of a stopped process, which Postgres ends (`episodes.address`).
_TAKEOVER_SECONDS: Final = 120
# Often enough that Postgres does not take a guarded transaction for that of a stopped process.
_LONGEST_PERIOD: Final = 10.0
# The advisory locks by which versions without leases held an experiment: its class; the second number is the experiment's id.
EARLIER_LOCK: Final = 0x6D6172

_held: set[FencingToken] = set()  # by this process


def acquire(store: EpisodeStore, experiment_id: int, origin: Mapping[str, Any], *, seconds: float) -> "Lease":
    """Begin an attempt at an experiment, which ends the right of all earlier ones to write.

    Args:
        store: the episode store; it must stay open while the lease is held.
        experiment_id: the experiment. Its status becomes `running`.
        origin: other columns of :class:`episodes.schema.AttemptRecord`.
        seconds: how long after the last sign of life another attempt may take over.

    Raises:
        ExperimentLockedError: another process holds it.
        RowError: a value cannot be stored; StoreError: the database fails.
    """
    _require_free(store, experiment_id)
    with store.transaction("beginning an attempt") as connection:
        number = _raise_token(connection, store, experiment_id)
        token = FencingToken(experiment_id, number)
        record = AttemptRecord(experiment_id=experiment_id, attempt=number, holder=this_process(), **origin)
        values = boundary.row_values(ATTEMPTS, {each.name: getattr(record, each.name) for each in fields(record)})
        connection.execute(insert(ATTEMPTS).values(values | {"expires": _from_now(seconds)}))
        begun = {"status": "running", "ended": None, "prefect_flow_run_id": record.prefect_flow_run_id}
        connection.execute(update(EXPERIMENTS).where(EXPERIMENTS.c.id == experiment_id).values(begun))
        _held.add(token)  # before it is committed: the end of this process is noticed by others, not by itself
    return Lease(store, token, seconds, record)


def retire(store: EpisodeStore, experiment_id: int) -> "Claim":
    """End the right of all attempts at an experiment to write, without a new attempt. Returns the right to record that.

    Raises:
        ExperimentLockedError: another process holds it.
        StoreError: the database fails.
    """
    _require_free(store, experiment_id)
    with store.transaction("ending the attempts") as connection:
        return Claim(store, FencingToken(experiment_id, _raise_token(connection, store, experiment_id)))


def held_experiments(connection: Connection) -> set[int]:
    """The experiments that a process holds, except those whose process has ended on this machine."""
    columns = ATTEMPTS.c.experiment_id, ATTEMPTS.c.attempt, ATTEMPTS.c.holder
    query = select(*columns).join(EXPERIMENTS, _newest()).where(ATTEMPTS.c.expires > func.clock_timestamp())
    return {int(row.experiment_id) for row in connection.execute(query) if not _is_gone(row)}


def _require_free(store: EpisodeStore, experiment_id: int) -> None:
    """A look without a lock: a start that is refused must not wait for the holder's transactions."""
    with store.transaction("looking at the lease") as connection:
        if experiment_id in held_experiments(connection):
            raise _locked(connection, store, experiment_id)


def _raise_token(connection: Connection, store: EpisodeStore, experiment_id: int) -> int:
    """Raise the fencing token; returns it. The row stays locked FOR UPDATE until the transaction ends.

    Raises:
        ExperimentLockedError: another process holds the experiment.
    """
    connection.execute(text(f"SET LOCAL lock_timeout = '{_TAKEOVER_SECONDS}s'"))
    row = select(EXPERIMENTS.c.attempt).where(EXPERIMENTS.c.id == experiment_id).with_for_update()
    number = connection.execute(row).scalar_one()
    # The embedded database is upgraded while a process of an earlier version may be running.
    earlier = not connection.execute(select(func.pg_try_advisory_xact_lock(EARLIER_LOCK, experiment_id))).scalar_one()
    # Locked, so that its holder cannot put off its end after this look.
    connection.execute(
        select(ATTEMPTS.c.id).where(ATTEMPTS.c.experiment_id == experiment_id, ATTEMPTS.c.attempt == number).with_for_update()
    )
    if earlier or experiment_id in held_experiments(connection):
        raise _locked(connection, store, experiment_id)
    raised = update(EXPERIMENTS).where(EXPERIMENTS.c.id == experiment_id).values(attempt=EXPERIMENTS.c.attempt + 1)
    return int(connection.execute(raised.returning(EXPERIMENTS.c.attempt)).scalar_one())


def _locked(connection: Connection, store: EpisodeStore, experiment_id: int) -> ExperimentLockedError:
    holder = connection.execute(
        select(ATTEMPTS.c.host, ATTEMPTS.c.attempt, ATTEMPTS.c.expires - func.clock_timestamp())
        .join(EXPERIMENTS, _newest())
        .where(EXPERIMENTS.c.id == experiment_id)
    ).first()
    where, wait = "", ""
    if holder is not None and holder[2] is not None:
        where = f" (attempt {holder.attempt} on {holder.host})"
        wait = f". If it gives no sign of life, another can take over in {max(1, round(holder[2].total_seconds()))} s"
    return ExperimentLockedError(
        f"experiment {experiment_id} is being run by another process{where} on {store.masked_url}: "
        f"wait until it ends, or stop it{wait}"
    )


def _is_gone(row: Any) -> bool:
    if row.holder is None:
        return False
    if row.holder == this_process():
        # An earlier attempt of this process, whose end Postgres did not hear of.
        return FencingToken(row.experiment_id, row.attempt) not in _held
    return has_ended(row.holder)


def _newest() -> Any:
    return (EXPERIMENTS.c.id == ATTEMPTS.c.experiment_id) & (EXPERIMENTS.c.attempt == ATTEMPTS.c.attempt)


def _from_now(seconds: float) -> Any:
    return func.clock_timestamp() + timedelta(seconds=seconds)


class Claim:
    """The right of one attempt to write. It lasts until another attempt takes over.

    Attributes:
        store: the episode store.
        token: the fencing token.
    """

    def __init__(self, store: EpisodeStore, token: FencingToken) -> None:
        self.store = store
        self.token = token
        self._fenced: FencedError | None = None

    @property
    def fenced(self) -> FencedError | None:
        """Who is known to have taken over; None: nobody."""
        return self._fenced

    def require_current(self) -> None:
        """Do nothing while no other attempt is known to have taken over. Costs nothing; asks nobody.

        Raises:
            FencedError: another attempt has taken over.
        """
        if self._fenced is not None:
            raise FencedError(str(self._fenced))

    def confirm(self, timeout: float = 5.0) -> None:
        """Ask Postgres whether this attempt is the newest; wait at most `timeout` seconds. No answer counts as yes.

        Raises:
            FencedError: another attempt has taken over.
        """
        self._ask(timeout)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Do something outside Postgres in the block while no other attempt can take over.

        A takeover waits until the block ends: it waits for the lock of this transaction. A process that is stopped or gone
        does not keep it waiting, since Postgres ends the transaction after `episodes.address.IDLE_SECONDS`.

        Raises:
            FencedError: another attempt has taken over.
            GuardUnavailableError: Postgres cannot be asked, or the transaction was lost in the block.
        """
        self.require_current()
        begun = False
        try:
            with self.store.transaction("making sure that no other attempt has taken over") as connection:
                require_current(connection, self.token)
                with self._kept(connection):
                    begun = True
                    yield
        except StoreUnavailableError as error:
            try:
                self._ask()
            except FencedError as fenced:  # the transaction was ended because this process was stopped
                late = ". What it was sending to MLflow when it was stopped may have arrived after that" if begun else ""
                raise FencedError(f"{fenced}{late}") from None
            raise GuardUnavailableError(str(error)) from None

    def _ask(self, timeout: float = 5.0) -> None:
        """Raise :class:`FencedError` if Postgres says that another attempt has taken over."""
        with suppress(StoreUnavailableError), self.store.transaction("asking who took over") as connection:
            require_current(connection, self.token)

    @contextmanager
    def _kept(self, connection: Connection) -> Iterator[None]:
        yield


class Lease(Claim):
    """An attempt's hold on its experiment. A thread keeps it, and notices when another attempt has taken over.

    Attributes:
        record: the row of the attempt.
    """

    def __init__(self, store: EpisodeStore, token: FencingToken, seconds: float, record: AttemptRecord) -> None:
        super().__init__(store, token)
        self.record = record
        self._seconds = seconds
        self._period = min(_LONGEST_PERIOD, seconds / 6)
        self._guards: dict[int, tuple[Any, threading.Lock]] = {}
        self._changed = threading.Condition()
        self._begun = self._answered = 0  # numbers of signs of life
        self._asked = self._ended = False
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def _ask(self, timeout: float = 5.0) -> None:
        with self._changed:
            # One that is under way may be answered already.
            next_sign, self._asked = self._begun + 1, True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= next_sign or self._ended, timeout)
        self.require_current()

    def record_run(self, run_id: str) -> None:
        """Record the MLflow run of the attempt.

        Raises:
            FencedError: another attempt has taken over.
            StoreError: the database fails.
        """
        noted = update(ATTEMPTS).where(*self._mine(), _newest()).values(mlflow_run_id=run_id)
        with self.store.transaction("recording the run of an attempt") as connection:
            require_current(connection, self.token)
            connection.execute(noted)

    def release(self) -> None:
        """Let others begin at once. If Postgres is away they wait until the lease expires, or this process has ended."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(_LONGEST_PERIOD)
        try:
            with self.store.transaction("releasing the experiment") as connection:
                connection.execute(update(ATTEMPTS).where(*self._mine()).values(expires=None))
        except StoreError as error:
            _LOG.debug("the lease was not released: %s", error)
        finally:
            _held.discard(self.token)

    # In the thread

    def _keep(self) -> None:
        while not self._ended:
            with self._changed:
                self._asked = False
                self._begun += 1
            if self._fenced is None:
                self._give_sign()
            self._keep_guards()
            with self._changed:
                self._answered = self._begun
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._asked or self._ended, self._period)

    def _give_sign(self) -> None:
        sign = (
            update(ATTEMPTS).where(*self._mine(), _newest()).values(expires=_from_now(self._seconds)).returning(ATTEMPTS.c.id)
        )
        try:
            with self.store.transaction("keeping the lease") as connection:
                if connection.execute(sign).first() is not None:
                    return
                error = superseded(connection, self.token)
        except StoreError as failure:
            _LOG.debug("%s", failure)  # Postgres is away: whoever writes rows tells the person
            return
        if isinstance(error, FencedError):
            self._fenced = error

    def _mine(self) -> tuple[Any, ...]:
        return (ATTEMPTS.c.experiment_id == self.token.experiment_id, ATTEMPTS.c.attempt == self.token.attempt)

    @contextmanager
    def _kept(self, connection: Connection) -> Iterator[None]:
        """Let the thread show Postgres that the process of this transaction is not stopped."""
        # The driver's own connection: SQLAlchemy's must not be used by two threads.
        driver, lock = connection.connection.driver_connection, threading.Lock()
        self._guards[id(connection)] = (driver, lock)
        try:
            yield
        finally:
            with lock:
                del self._guards[id(connection)]

    def _keep_guards(self) -> None:
        for key, (driver, lock) in list(self._guards.items()):
            with lock:
                if key not in self._guards:
                    continue
                with suppress(psycopg2.Error), driver.cursor() as cursor:  # whoever holds it is told when it commits
                    cursor.execute("SELECT 1")
