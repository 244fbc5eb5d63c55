"""What the spool's file gives back: all that was whole, and nothing that was never written."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spool import Spool, SpoolLockedError, waiting
from spool.file import MAGIC
from spool.frames import HEAD_BYTES, frame

RECORDS = [b"first", b"", b"\x00" * 40, b"the fourth is longer " * 5, b"last"]
# The folder is shared by the examples of a property; each begins with a file of its own.
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def write(path: Path, records: list[bytes], owner: str = "run 1") -> bytes:
    spool = Spool(path, owner)
    spool.append(records)
    spool.close()
    return path.read_bytes()


def read(path: Path, owner: str = "run 1") -> list[bytes]:
    spool = Spool(path, owner)
    found = spool.peek(10_000)
    assert found == list(spool.records())
    assert spool.count == spool.recovered == len(found)
    spool.close()
    return found


def whole_before(position: int, records: list[bytes], owner: str = "run 1") -> list[bytes]:
    """The records that end at or before `position`."""
    end = len(MAGIC) + len(frame(owner.encode()))
    kept = []
    for record in records:
        end += HEAD_BYTES + len(record)
        if end > position:
            break
        kept.append(record)
    return kept


def test_records_come_back_in_order_and_go_when_they_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "rows.spool"
    write(path, RECORDS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert waiting(path) == 5
    spool = Spool(path, "run 1")
    assert spool.peek(2) == RECORDS[:2]
    spool.drop(2)
    spool.append([b"more"])
    assert spool.peek(10) == [*RECORDS[2:], b"more"]
    assert spool.count == 4
    full = path.stat().st_size
    spool.drop(4)
    assert (spool.count, spool.peek(10)) == (0, [])
    assert path.stat().st_size < full, "a spool that is empty takes no room"
    spool.append([b"again"])
    spool.close()
    spool.close()
    assert read(path) == [b"again"]
    assert list(path.parent.iterdir()) == [path]


def test_what_was_taken_before_a_crash_may_come_again_but_nothing_is_missing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "rows.spool", "run 1")
    spool.append(RECORDS)
    spool.drop(3)
    copy = tmp_path / "copy.spool"
    copy.write_bytes(spool.path.read_bytes())  # what the disk has if the process is killed here
    spool.close()
    assert read(copy) == RECORDS


def test_a_file_cut_short_anywhere_gives_every_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "rows.spool"
    whole = write(path, RECORDS)
    for length in range(len(whole) + 1):
        folder = tmp_path / str(length)
        folder.mkdir()
        cut = folder / "rows.spool"
        cut.write_bytes(whole[:length])
        expected = whole_before(length, RECORDS)
        assert waiting(cut) == len(expected)
        assert read(cut) == expected
        head = len(MAGIC) + len(frame(b"run 1"))
        kept = 0 if length < head else head + sum(HEAD_BYTES + len(record) for record in expected)
        asides = [each for each in folder.iterdir() if each != cut]
        assert [each.read_bytes() for each in asides] == ([whole[kept:length]] if kept < length else []), "no byte is gone"
        assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in asides)


@SHARED
@given(st.lists(st.binary(max_size=200), max_size=8), st.data())
def test_a_bit_that_turned_invents_nothing(tmp_path: Path, records: list[bytes], data: st.DataObject) -> None:
    path = tmp_path / "rows.spool"
    path.unlink(missing_ok=True)
    whole = bytearray(write(path, records))
    flips = data.draw(st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=4, unique=True))
    for flip in flips:
        whole[flip // 8] ^= 1 << flip % 8
    path.write_bytes(whole)
    first = min(flips) // 8
    expected = whole_before(first, records) if first >= len(MAGIC) + len(frame(b"run 1")) else []
    assert read(path) == expected
    assert read(path) == expected, "the damage is cut off"


@SHARED
@given(st.lists(st.binary(max_size=200), max_size=8), st.binary(min_size=1, max_size=300))
def test_a_tail_of_anything_invents_nothing(tmp_path: Path, records: list[bytes], tail: bytes) -> None:
    path = tmp_path / "rows.spool"
    path.unlink(missing_ok=True)
    path.write_bytes(write(path, records) + tail)
    assert read(path) == records


def test_zeros_after_a_power_cut_are_no_records(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rows.spool"
    path.write_bytes(write(path, RECORDS) + bytes(4096))
    assert read(path) == RECORDS
    (aside,) = tmp_path.glob("rows.spool.damaged-*")
    assert aside.read_bytes() == bytes(4096)
    (record,) = caplog.records
    assert str(aside) in record.message
    assert "is damaged from byte" in record.message


def test_damage_while_it_is_open_is_set_aside_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "rows.spool", "run 1")
    spool.append(RECORDS)
    with spool.path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"!")
    assert spool.peek(10) == RECORDS[:4]
    assert (spool.count, spool.cut) == (4, 1)
    spool.append([b"goes on"])
    assert spool.peek(10) == [*RECORDS[:4], b"goes on"]
    spool.close()


def test_records_of_another_run_are_not_taken_for_this_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rows.spool"
    before = write(path, RECORDS, "run 1")
    assert read(path, "run 2") == []
    (aside,) = tmp_path.glob("rows.spool.of-another-run-*")
    assert aside.read_bytes() == before
    assert str(aside) in caplog.text
    path.write_bytes(write(path, [], "run 2"))
    assert read(path, "run 3") == []
    assert len(list(tmp_path.glob("rows.spool.of-another-run-*"))) == 1, "an empty spool is nothing to keep"


def test_one_process_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.spool"
    spool = Spool(path, "run 1")
    with pytest.raises(SpoolLockedError, match=r"rows\.spool is held by another process"):
        Spool(path, "run 1")
    code = "import sys; from pathlib import Path; from spool import Spool; Spool(Path(sys.argv[1]), 'run 1')"
    command = [sys.executable, "-c", code, str(path)]
    other = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "SpoolLockedError" in other.stderr
    assert waiting(path) == 0, "anybody may count"
    spool.close()
    subprocess.run(command, check=True, timeout=60)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    code = """
import resource, signal, sys
from pathlib import Path
from spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path(sys.argv[1]), "run 1")
spool.append([b"before"])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    spool.append([b"x" * 5000])
except OSError as error:
    print(type(error).__name__)
spool.append([b"after"])
spool.close()
"""
    assert resource
    path = tmp_path / "rows.spool"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("OSError\n", "")
    assert read(path) == [b"before", b"after"]


def test_no_file_holds_no_records(tmp_path: Path) -> None:
    assert waiting(tmp_path / "rows.spool") == 0
