"""The SQLite database of an outbox: one table, in which each record has its SHA-256."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

_TABLE: Final = "CREATE TABLE outbox (id INTEGER PRIMARY KEY, owner BLOB NOT NULL, payload BLOB NOT NULL, digest BLOB NOT NULL)"
# Errors of the disk or of another program: the database may be intact.
_NO_DAMAGE: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
}


class Record(NamedTuple):
    """A row: records are delivered in the order of their `id`."""

    id: int
    owner: str
    payload: bytes


class DamagedError(Exception):
    """The database is damaged.

    Attributes:
        records: those that can be read.
    """

    def __init__(self, reason: str, records: Sequence[Record] = ()) -> None:
        super().__init__(reason)
        self.records = list(records)


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
    for suffix in ("", "-wal", "-shm"):
        Path(f"{new}{suffix}").unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = connect(new)
    try:
        connection.execute(_TABLE)
        insert(connection, records)
    finally:
        connection.close()
    # The log goes first: SQLite would take what is left of it for that of the new database.
    for suffix in ("-wal", ""):
        if aside is not None and Path(f"{path}{suffix}").exists():
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    Path(f"{path}-shm").unlink(missing_ok=True)
    new.replace(path)
    _sync_folder(path.parent)


def connect(path: Path) -> sqlite3.Connection:
    """Open the database for writing. Each commit waits for the disk (`synchronous=FULL`)."""
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.text_factory = bytes
    connection.execute("PRAGMA auto_vacuum=FULL")  # the file shrinks when records are deleted
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def insert(connection: sqlite3.Connection, records: Iterable[Record]) -> None:
    """Add records: all of them, or none if it raises."""
    rows = [(each.id, each.owner.encode(), each.payload, _digest(each)) for each in records]
    with connection:
        connection.executemany("INSERT INTO outbox (id, owner, payload, digest) VALUES (?, ?, ?, ?)", rows)


def select(connection: sqlite3.Connection, behind: int, limit: int = -1) -> list[Record]:
    """The first `limit` records behind the id `behind`, in order; -1: all of them.

    Raises:
        DamagedError: a record is damaged.
        sqlite3.Error: the database cannot be read, perhaps because of damage: see :func:`damage`.
    """
    records: list[Record] = []
    damaged = 0
    reason = ""
    try:
        query = "SELECT id, owner, payload, digest FROM outbox WHERE id > ? ORDER BY id LIMIT ?"
        for row in connection.execute(query, (behind, limit)):
            record = _record(row)
            if record is None:
                damaged += 1
            else:
                records.append(record)
    except sqlite3.DatabaseError as error:
        reason = damage(error)
    if damaged:
        reason = reason or f"{damaged} of its records do not have their SHA-256"
    if reason:
        raise DamagedError(reason, records)
    return records


def check(path: Path) -> list[Record]:
    """Read all records without changing a file.

    Raises:
        DamagedError: the database is damaged.
        sqlite3.Error: it cannot be read for another reason.
    """
    if not path.exists():
        return []
    connection = _connect_read_only(path)
    try:
        records = select(connection, -1)
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != b"ok":
            raise DamagedError(found.decode(errors="replace"), records)
        return records
    except sqlite3.DatabaseError as error:
        raise DamagedError(damage(error)) from None
    finally:
        connection.close()


def count(path: Path, behind: int) -> int:
    """How many records behind the id `behind` the database holds, whoever has it open; 0 if there is no such file.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    if not path.exists():
        return 0
    connection = _connect_read_only(path)
    try:
        return int(connection.execute("SELECT count(*) FROM outbox WHERE id > ?", (behind,)).fetchone()[0])
    finally:
        connection.close()


def damage(error: sqlite3.DatabaseError) -> str:
    """What is damaged.

    Raises:
        sqlite3.DatabaseError: nothing is; it is `error`.
    """
    # The low byte is the kind of the error, the others say more about it.
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _NO_DAMAGE:
        raise error
    return str(error)


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connect_read_only(path: Path) -> sqlite3.Connection:
    # A connection that may write would, when it is closed, move a damaged log into the database and delete it. Without a log
    # nobody is writing; SQLite would make an empty one, were the file not declared immutable.
    immutable = int(not Path(f"{path}-wal").exists())
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable={immutable}", uri=True)
    connection.text_factory = bytes  # damage may turn a BLOB into a TEXT that is no UTF-8
    return connection


def _record(row: Sequence[Any]) -> Record | None:
    """The record in a row; None if it is damaged."""
    number, owner, payload, digest = row
    if not isinstance(owner, bytes) or not isinstance(payload, bytes):
        return None
    record = Record(number, owner.decode(errors="replace"), payload)
    return record if digest == _digest(record) else None


def _digest(record: Record) -> bytes:
    return hashlib.sha256(f"{record.id} {record.owner}\n".encode() + record.payload).digest()
