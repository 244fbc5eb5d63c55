"""Files of frames, as earlier versions left them, are delivered, and their damage is told."""

import fcntl
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool import Outbox, OutboxLockedError, count_pending, legacy

MAGIC = b"train-mario spool 1\n"
RECORDS = [b"first", b"", b"\x00" * 40, b"the fourth is longer " * 5, b"last"]


def frame(payload: bytes) -> bytes:
    length = len(payload).to_bytes(4, "big")
    return length + hashlib.sha256(length + payload).digest() + payload


def legacy_file(records: Sequence[bytes], owner: str = "run 1") -> bytes:
    """What an earlier version wrote."""
    return MAGIC + b"".join(map(frame, [owner.encode(), *records]))


def read(path: Path, owner: str = "run 1") -> list[bytes]:
    outbox = Outbox(path, owner)
    found = outbox.peek()
    outbox.close()
    return found


def test_records_of_an_older_version_are_delivered_and_their_file_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older, path = tmp_path / "rows.spool", tmp_path / "rows.sqlite"
    older.write_bytes(legacy_file(RECORDS))
    assert count_pending(path) == len(RECORDS)
    assert read(path) == read(path) == RECORDS
    assert count_pending(path) == len(RECORDS)
    assert not older.exists()
    assert not caplog.records
    older.write_bytes(legacy_file([b"written by the older version since"]))
    assert read(path) == [*RECORDS, b"written by the older version since"]


def test_a_file_cut_short_anywhere_gives_every_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "rows.spool"
    whole = legacy_file(RECORDS)
    ends = [len(legacy_file(RECORDS[:number])) for number in range(len(RECORDS) + 1)]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        found = legacy.read(path)
        kept = sum(end <= length for end in ends) - 1
        assert found == (("run 1", RECORDS[:kept], length - ends[kept]) if kept >= 0 else (None, [], length))


@given(st.lists(st.binary(max_size=200), max_size=8), st.data())
def test_bits_that_turned_invent_nothing(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], data: st.DataObject
) -> None:
    whole = bytearray(legacy_file(records))
    for flip in data.draw(st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=4, unique=True)):
        whole[flip // 8] ^= 1 << flip % 8
    path = tmp_path_factory.getbasetemp() / "flipped.spool"
    path.write_bytes(whole)
    found = legacy.read(path)
    assert found.records == records[: len(found.records)]
    assert found.damaged_bytes > 0


def test_a_damaged_file_is_told_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    older, path = tmp_path / "rows.spool", tmp_path / "rows.sqlite"
    damaged = legacy_file(RECORDS) + bytes(100)
    older.write_bytes(damaged)
    assert read(path) == RECORDS
    (aside,) = tmp_path.glob("rows.spool.damaged-*")
    assert aside.read_bytes() == damaged
    assert (
        f"{older} is damaged: its last 100 bytes cannot be read, 5 records before them can. It is kept as {aside}"
        in caplog.text
    )


def test_records_of_another_run_are_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    older, path = tmp_path / "rows.spool", tmp_path / "rows.sqlite"
    older.write_bytes(legacy_file(RECORDS))
    assert read(path, "run 2") == []
    (aside,) = tmp_path.glob("rows.spool.of-another-run-*")
    assert aside.read_bytes() == legacy_file(RECORDS)
    assert f"{older} holds 5 records of another run. They are kept in {aside}" in caplog.text
    older.write_bytes(legacy_file([]))
    assert read(path, "run 2") == []
    assert not older.exists()


def test_an_outbox_of_that_name_is_not_taken_for_an_older_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rows.spool"
    outbox = Outbox(path, "run 1")
    outbox.append(RECORDS)
    outbox.close()
    assert read(path) == RECORDS
    assert count_pending(path) == len(RECORDS)
    assert not caplog.records


def test_a_file_that_an_older_version_has_open_is_left_alone(tmp_path: Path) -> None:
    older, path = tmp_path / "rows.spool", tmp_path / "rows.sqlite"
    older.write_bytes(legacy_file(RECORDS))
    with older.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OutboxLockedError, match=r"rows\.spool is in use by another process"):
            Outbox(path, "run 1")
    assert read(path) == RECORDS
