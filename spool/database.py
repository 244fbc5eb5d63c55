"""The SQLite database of an outbox: one table, in which each record has its SHA-256.

It has a rollback journal, not a write-ahead log: SQLite ignores the damaged tail of a log without a word, so that committed
records would be lost silently. With a journal they are in the database itself, where their identifiers and SHA-256 tell.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

_TABLE: Final = """
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT, owner BLOB NOT NULL, payload BLOB NOT NULL, digest BLOB NOT NULL
    )
"""
# Errors of the disk or of another program: the database may be intact.
_NO_DAMAGE: Final = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}  # fmt: skip

# The second one comes from messages of SQLite that quote damaged text.
_READING_ERRORS: Final = (sqlite3.DatabaseError, UnicodeDecodeError)


class Record(NamedTuple):
    """A row. Records are delivered in the order of their `id`, which grows by 1."""

    id: int
    owner: str
    payload: bytes


class DamagedError(Exception):
    """The database is damaged; `records` are those that can be read."""

    def __init__(self, reason: str, records: Sequence[Record]) -> None:
        super().__init__(reason)
        self.records = list(records)


def connect(path: Path) -> sqlite3.Connection:
    """Open a database for writing. Each commit waits for the disk."""
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.text_factory = bytes  # damage may turn a BLOB into a TEXT that is no UTF-8
    try:
        connection.execute("PRAGMA synchronous=EXTRA")
    except BaseException:
        connection.close()
        raise
    return connection


def replace(path: Path, records: Iterable[Record], aside: Path | None) -> None:
    """Put a new database with these records at `path`, once it is complete and on the disk.

    Args:
        path: where.
        records: of the new database.
        aside: the new name of the database that is there; None: there is none.

    Raises:
        OSError, sqlite3.Error: the disk is full, or fails.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    Path(f"{new}-journal").unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = connect(new)
    try:
        connection.execute("PRAGMA auto_vacuum=FULL")  # the file shrinks when records are deleted
        connection.execute(_TABLE)
        insert(connection, records)
    finally:
        connection.close()
    # The journal goes first: SQLite would take it for that of the new database.
    for suffix in ("-journal", ""):
        if aside is not None and Path(f"{path}{suffix}").exists():
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def insert(connection: sqlite3.Connection, records: Iterable[Record]) -> None:
    """Add records: all of them, or none if it raises."""
    rows = [(each.id, each.owner.encode(), each.payload, _digest(each)) for each in records]
    with connection:
        connection.executemany("INSERT INTO outbox (id, owner, payload, digest) VALUES (?, ?, ?, ?)", rows)


def select(connection: sqlite3.Connection, limit: int) -> list[Record]:
    """The first `limit` records, in order; -1: all of them.

    Raises:
        DamagedError: some are damaged.
        sqlite3.Error: the database cannot be read for another reason.
    """
    records: list[Record] = []
    damaged = 0
    try:
        for row in connection.execute("SELECT id, owner, payload, digest FROM outbox ORDER BY id LIMIT ?", (limit,)):
            record = _record(row)
            if record is None:
                damaged += 1
            else:
                records.append(record)
    except _READING_ERRORS as error:
        raise DamagedError(_damage(error), records) from None
    if damaged:
        raise DamagedError(f"{damaged} records do not have their SHA-256", records)
    return records


def last_id(connection: sqlite3.Connection) -> int:
    """The identifier of the last record that was ever inserted; 0: there was none.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    return int(connection.execute("SELECT CAST(max(seq) AS INTEGER) FROM sqlite_sequence").fetchone()[0] or 0)


def check(path: Path) -> list[Record]:
    """All records of the database at `path`, after a thorough look at the whole file.

    Raises:
        DamagedError: it is damaged, or records are missing.
        sqlite3.Error: it cannot be read for another reason.
    """
    records: list[Record] = []
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        try:
            connection.execute("BEGIN")  # another process may be writing
            records = select(connection, -1)
            reason = connection.execute("PRAGMA quick_check(1)").fetchone()[0].decode(errors="replace").splitlines()[-1]
            last = last_id(connection)
        except _READING_ERRORS as error:
            raise DamagedError(_damage(error), records) from None
    if reason == "ok" and [record.id for record in records] != list(range(last - len(records) + 1, last + 1)):
        reason = "records are missing"
    if reason != "ok":
        raise DamagedError(reason, records)
    return records


def _damage(error: Exception) -> str:
    """What is damaged.

    Raises:
        sqlite3.DatabaseError: nothing is; it is `error`.
    """
    # The low byte is the kind of the error, the others say more about it.
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _NO_DAMAGE:
        raise error
    return str(error)


def _record(row: Sequence[Any]) -> Record | None:
    """The record in a row; None if it is damaged."""
    number, owner, payload, digest = row
    if not isinstance(owner, bytes) or not isinstance(payload, bytes):
        return None
    record = Record(number, owner.decode(errors="replace"), payload)
    return record if digest == _digest(record) else None


def _digest(record: Record) -> bytes:
    return hashlib.sha256(f"{record.id} {record.owner}\n".encode() + record.payload).digest()
