"""A queue of records in a SQLite database: appended to at its end, removed from at its front, intact after a crash."""

import logging
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from spool import database, legacy
from spool.database import DamagedError, Record
from spool.lock import FileLock, OutboxError

_LOG: Final = logging.getLogger(__name__)


class Outbox:
    """An open outbox; safe to use from several threads.

    A record that was appended survives the end of the process and a power cut, until it is removed. One that was delivered may
    come a second time after a crash, so whoever receives it must accept that. Only the file's user can read it.

    Damage is never fatal and never silent. A warning says what is damaged and how many records can be read, and names the file
    beside it that keeps the damaged database. Records of another owner are set aside in the same way. A file of an earlier
    version (`NAME.spool` beside `NAME.sqlite`) is read first, and deleted.

    Args:
        path: the database, `NAME.sqlite`; it and its folder are made when they are missing.
        owner: whom the records belong to: an experiment may begin again under a name whose folder is still there.

    Attributes:
        path: the database.
        lost: how many records have become unreadable since it was opened.

    Raises:
        OutboxLockedError: another process, or another object of this one, has it open.
        OutboxError: SQLite cannot open it.
        OSError: the folder cannot be written.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self.path = path
        self.lost = 0
        self._owner = owner
        self._mutex = threading.Lock()
        self._closed = False
        self._count = 0
        self._delivered = 0  # records at the front that are removed, though the disk did not take their removal
        self._last_id = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(f"{path.name}.lock"), path)
        opened = None
        try:
            self._connection = opened = self._open()
            self._import_legacy_file()
        except BaseException as error:
            if opened is not None:
                opened.close()
            self._lock.release()
            if isinstance(error, sqlite3.Error):
                raise OutboxError(f"{path} cannot be opened: {error}") from error
            raise

    @property
    def count(self) -> int:
        """How many records are pending."""
        return self._count

    def append(self, payloads: Sequence[bytes]) -> None:
        """Add records at the end. Returns when they are on the disk.

        Raises:
            OutboxError: the disk is full, or fails, or the outbox is closed; no record was added.
        """
        with self._mutex:
            if self._closed:
                raise OutboxError(f"the outbox {self.path} is closed")
            try:
                self._insert(payloads)
            except sqlite3.Error as error:
                raise OutboxError(f"{self.path} cannot be written: {error}") from error

    def peek(self, limit: int | None = None) -> list[bytes]:
        """The first pending records, at most `limit`; they stay. Nothing once the outbox is closed.

        Raises:
            OutboxError: the disk fails.
        """
        with self._mutex:
            if self._closed:
                return []
            try:
                return self._select(limit)
            except sqlite3.Error as error:
                raise OutboxError(f"{self.path} cannot be read: {error}") from error

    def remove(self, number: int) -> None:
        """Remove the first `number` records. Does nothing once the outbox is closed.

        Raises:
            OutboxError: the disk fails; the records are removed as far as this object is concerned, but may come again
                when the file is next opened.
        """
        with self._mutex:
            if self._closed or not number:
                return
            self._count -= number
            self._delivered += number
            last = self._last_id - self._count
            try:
                with self._connection:
                    self._connection.execute("DELETE FROM outbox WHERE id <= ?", (last,))
            except sqlite3.Error as error:
                raise OutboxError(f"{self.path} cannot be written: {error}") from error
            self._delivered = 0

    def close(self) -> None:
        """Release the file; pending records stay in it. Closing twice is no error."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            self._connection.close()
            self._lock.release()

    def _open(self) -> sqlite3.Connection:
        """Check the database, set aside what cannot be used, and open it."""
        damage = ""
        try:
            records = database.check(self.path) if self.path.exists() else []
        except DamagedError as error:
            records, damage = error.records, str(error)
        mine = [record for record in records if record.owner == self._owner]
        aside = None
        if damage:
            aside = _aside(self.path, "damaged")
            message = "%s is damaged (%s): %d of its records can be read. The damaged file is kept as %s"
            _LOG.warning(message, self.path, damage, len(mine), aside)
        elif len(mine) < len(records):
            aside = _aside(self.path, "of-another-run")
            message = "%s holds %d records of another run. They are kept in %s"
            _LOG.warning(message, self.path, len(records) - len(mine), aside)
        if aside or not self.path.exists():
            mine = [record._replace(id=number) for number, record in enumerate(mine, 1)]
            database.replace(self.path, mine, aside)
        connection = database.connect(self.path)
        try:
            self._last_id = database.last_id(connection)
        except BaseException:
            connection.close()
            raise
        self._count = len(mine)
        return connection

    def _import_legacy_file(self) -> None:
        path = _legacy_file(self.path)
        if path is None:
            return
        lock = FileLock(path, path)
        try:
            found = legacy.read(path)
            if found.owner == self._owner and found.records:
                # Inserted before the file goes. After a crash in between, they are inserted and delivered twice.
                self._insert(found.records)
                _LOG.info("%d records of an earlier version were moved from %s to %s", len(found.records), path, self.path)
            if found.damaged_bytes:
                aside = _aside(path, "damaged")
                message = "%s is damaged: its last %d bytes cannot be read, %d records before them can. It is kept as %s"
                _LOG.warning(message, path, found.damaged_bytes, len(found.records), aside)
            elif found.records and found.owner != self._owner:
                aside = _aside(path, "of-another-run")
                _LOG.warning("%s holds %d records of another run. They are kept in %s", path, len(found.records), aside)
            else:
                aside = None
            path.rename(aside) if aside else path.unlink()
        finally:
            lock.release()

    def _insert(self, payloads: Sequence[bytes]) -> None:
        records = [Record(number, self._owner, payload) for number, payload in enumerate(payloads, self._last_id + 1)]
        database.insert(self._connection, records)
        self._count += len(records)
        self._last_id += len(records)

    def _select(self, limit: int | None) -> list[bytes]:
        number = self._count if limit is None else min(limit, self._count)
        records: list[Record] = []
        with suppress(DamagedError):
            records = database.select(self._connection, self._delivered + number)[self._delivered :]
        if len(records) < number:
            before = self._count + self._delivered
            self._connection.close()
            self._connection = self._open()
            self.lost += before - self._count
            self._delivered = 0
            records = database.select(self._connection, min(number, self._count))
        return [record.payload for record in records]


def count_pending(path: Path) -> int:
    """How many records are pending in the outbox at `path`, whoever has it open; 0 if there is none.

    Raises:
        OutboxError: it is damaged; the next :class:`Outbox` sets the damage aside. Or SQLite cannot read it.
        OSError: a file of an earlier version cannot be read.
    """
    older = _legacy_file(path)
    count = len(legacy.read(older).records) if older else 0
    if path.exists():
        try:
            count += len(database.check(path))
        except (DamagedError, sqlite3.Error) as error:
            raise OutboxError(f"{path} cannot be read: {error}") from error
    return count


def copy_pending(path: Path, target: Path) -> int:
    """Copy the outbox at `path`, whoever has it open, to `target`, which does not exist. Returns how many records it has.

    Raises:
        OutboxError: it is damaged, or SQLite cannot read it.
        OSError: it cannot be copied.
    """
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        return len(database.check(target))
    except (DamagedError, sqlite3.Error) as error:
        raise OutboxError(f"{path} cannot be copied: {error}") from error


def read_pending(path: Path, owner: str) -> list[bytes]:
    """The pending records of `owner` in an outbox that a stopped process has open.

    A copy is read: the process may have been stopped while it held SQLite's lock, and it finds the outbox as it left it. What
    it was about to write is rolled back in the copy, as after a kill.

    Raises:
        OutboxError: it is damaged, or the process is not stopped and is writing. Or SQLite cannot read it.
        OSError: it cannot be copied.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".copy-") as folder:
        copy = Path(folder) / path.name
        for suffix in ("", "-journal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        try:
            return [record.payload for record in database.check(copy) if record.owner == owner] if copy.exists() else []
        except (DamagedError, sqlite3.Error) as error:
            raise OutboxError(f"{path}, which another process has open, cannot be read: {error}") from error


def _legacy_file(path: Path) -> Path | None:
    """What an earlier version left for the outbox at `path`; None if there is nothing."""
    file = path.with_suffix(".spool")
    return file if file != path and file.exists() else None


def _aside(path: Path, why: str) -> Path:
    """A new name for a file that cannot be used."""
    return path.with_name(f"{path.name}.{why}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
