"""What an outbox gives back: every record that was appended, or a warning that says how many are missing."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from configs import PROJECT
from spool import Outbox, OutboxError, OutboxLockedError, count_pending, read_pending

RECORDS = [b"first", b"", b"\x00" * 40, b"the fourth is longer " * 400, b"fifth", b"last"]
DATABASE, JOURNAL, LOCK = "rows.sqlite", "rows.sqlite-journal", "rows.sqlite.lock"
UNFINISHED = b"appended by a process that was killed"
# The folder is shared by the examples of a property; each begins with files of its own.
PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)


def write(path: Path, records: Sequence[bytes], owner: str = "run 1") -> None:
    outbox = Outbox(path, owner)
    outbox.append(records)
    outbox.close()


def read(path: Path, owner: str = "run 1") -> list[bytes]:
    outbox = Outbox(path, owner)
    found = outbox.peek()
    assert outbox.peek(10_000) == found
    assert outbox.count == len(found)
    outbox.close()
    assert count_pending(path) == len(found)
    return found


def crashed(folder: Path) -> dict[str, bytes]:
    """The files of a process that was killed while it appended: the database is half changed, the journal can restore it."""
    path = folder / "crashed" / DATABASE
    write(path, RECORDS)
    outbox = Outbox(path, "run 1")
    outbox._connection.execute("PRAGMA cache_size=1")  # what is changed goes to the file before the commit
    connection, outbox._connection = outbox._connection, Uncommitted(outbox._connection)  # type: ignore[assignment]
    outbox.append([UNFINISHED * 200] * 20)
    files = {name: (path.parent / name).read_bytes() for name in (DATABASE, JOURNAL)}
    connection.rollback()
    outbox._connection = connection
    outbox.close()
    return files


class Uncommitted:
    """A connection that never commits, as that of a process that was killed before."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.executemany = connection.executemany

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def survives(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every record comes back in order, or the person is told that some do not; what is damaged is kept."""
    caplog.clear()
    found = read(path)
    records = [record for record in found if record in RECORDS]
    positions = [RECORDS.index(record) for record in records]
    assert positions == sorted(set(positions)), "the order is kept"
    assert set(found) - set(records) <= {UNFINISHED * 200}, "nothing is invented"
    assert records == RECORDS or "is damaged" in caplog.text
    if "is damaged" in caplog.text:
        (aside,) = path.parent.glob("rows.sqlite.damaged-*Z")
        assert f"{len(found)} of its records can be read. The damaged file is kept as {aside}" in caplog.text
    caplog.clear()
    assert read(path) == found
    assert not caplog.records, "damage is told once"


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders: `closed` has the files of a process that ended, `killed` those of one that was killed while it appended."""
    folder = tmp_path_factory.mktemp("states")
    write(folder / "closed" / DATABASE, RECORDS)
    files = crashed(folder)
    (folder / "killed").mkdir()
    for name, content in files.items():
        (folder / "killed" / name).write_bytes(content)
    return folder


# The state, and which of its files is damaged.
DAMAGED = st.sampled_from([("closed", DATABASE), ("killed", DATABASE), ("killed", JOURNAL)])


def damaged(states: Path, folder: Path, where: tuple[str, str], damage: Callable[[bytes], bytes]) -> Path:
    """An outbox with one damaged file, in `folder`."""
    state, name = where
    for path in folder.glob("rows.sqlite*"):
        path.unlink()
    for each in (DATABASE, JOURNAL):
        if (states / state / each).exists():
            content = (states / state / each).read_bytes()
            (folder / each).write_bytes(damage(content) if each == name else content)
    return folder / DATABASE


def test_records_come_back_in_order_until_they_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / DATABASE
    write(path, RECORDS)
    assert count_pending(path) == len(RECORDS)
    outbox = Outbox(path, "run 1")
    assert outbox.peek(2) == RECORDS[:2]
    outbox.remove(2)
    outbox.append([b"more"])
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
    assert outbox.peek(10) == [*RECORDS[2:], b"more"]
    assert outbox.count == count_pending(path) == 5
    outbox.remove(5)
    assert (outbox.count, outbox.peek(10), count_pending(path)) == (0, [], 0)
    outbox.append([b"again"])
    outbox.close()
    outbox.close()
    assert (outbox.peek(1), outbox.remove(1)) == ([], None)
    with pytest.raises(OutboxError, match=r"the outbox .*rows\.sqlite is closed"):
        outbox.append([b"late"])
    assert read(path) == [b"again"]
    assert {each.name for each in path.parent.iterdir()} == {DATABASE, LOCK}


def test_an_outbox_that_is_empty_takes_no_room(tmp_path: Path) -> None:
    path = tmp_path / DATABASE
    write(path, [b"x" * 1000] * 1000)
    full = path.stat().st_size
    outbox = Outbox(path, "run 1")
    outbox.remove(1000)
    outbox.close()
    assert path.stat().st_size < full / 50


def test_each_commit_waits_for_the_disk(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / DATABASE, "run 1")
    pragmas = [outbox._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    outbox.close()
    assert pragmas == [b"delete", 3], "3 is EXTRA"


@pytest.mark.parametrize("removing", [False, True])
def test_whatever_was_appended_survives_a_kill_at_any_moment(
    tmp_path: Path, removing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The process says each number once `append` has returned, and each that it removes before and after."""
    code = """
import sys
from pathlib import Path
from spool import Outbox
outbox = Outbox(Path(sys.argv[1]), "run 1")
number = int(sys.argv[2])
while True:
    outbox.append([str(number).encode(), str(number + 1).encode()])
    print("appended", number + 1, flush=True)
    number += 2
    if len(sys.argv) > 3 and number % 8 == 0:
        print("removing", int(outbox.peek(1)[0]) + 5, flush=True)
        outbox.remove(5)
        print("removed", int(outbox.peek(1)[0]) if outbox.count else number, flush=True)
"""
    path = tmp_path / DATABASE
    numbers = {"appended": -1, "removing": 0, "removed": 0}
    for kill in range(12):
        command = [sys.executable, "-c", code, str(path), str(2 * (numbers["appended"] // 2 + 1)), *["remove"] * removing]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(1 + 3 * kill):
                word, number = process.stdout.readline().split()
                numbers[word] = int(number)
            os.kill(process.pid, signal.SIGKILL)
            for line in process.stdout:
                word, number = line.split()
                numbers[word] = int(number)
        found = list(map(int, read(path)))
        assert found == list(range(found[0], found[-1] + 1)) if found else True
        first = found[0] if found else numbers["appended"] + 1
        assert numbers["removed"] <= first <= max(numbers["removing"], numbers["removed"])
        if found:
            assert found[-1] in (numbers["appended"], numbers["appended"] + 2), "the last pair may not have been told"
            numbers["appended"] = found[-1]
    assert not caplog.records, "a kill damages nothing"


def test_what_a_killed_process_left_comes_back(tmp_path: Path, states: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = damaged(states, tmp_path, ("killed", ""), bytes)
    assert count_pending(path) == len(RECORDS)
    assert not (tmp_path / JOURNAL).exists(), "it was needed"
    assert read(path) == RECORDS
    assert not caplog.records


@PROPERTY
@given(DAMAGED, st.floats(0, 1))
@example(("closed", DATABASE), 0.0)
def test_a_file_cut_short_anywhere_gives_every_record_or_tells(
    tmp_path: Path, states: Path, caplog: pytest.LogCaptureFixture, where: tuple[str, str], share: float
) -> None:
    survives(damaged(states, tmp_path, where, lambda content: content[: int(share * len(content))]), caplog)


@PROPERTY
@given(DAMAGED, st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
def test_bits_that_turned_lose_nothing_silently(
    tmp_path: Path, states: Path, caplog: pytest.LogCaptureFixture, where: tuple[str, str], flips: list[float]
) -> None:
    def turn(content: bytes) -> bytes:
        turned = bytearray(content)
        for flip in flips:
            bit = int(flip * 8 * len(content))
            turned[bit // 8] ^= 1 << bit % 8
        return bytes(turned)

    survives(damaged(states, tmp_path, where, turn), caplog)


@PROPERTY
@given(DAMAGED, st.floats(0, 1), st.binary(min_size=1, max_size=300))
def test_whatever_is_written_over_a_file_loses_nothing_silently(
    tmp_path: Path, states: Path, caplog: pytest.LogCaptureFixture, where: tuple[str, str], share: float, noise: bytes
) -> None:
    """Part of a file is overwritten, or something follows its end, as zeros do after a power cut."""

    def overwrite(content: bytes) -> bytes:
        at = int(share * len(content))
        return content[:at] + noise * 20 + content[at + 20 * len(noise) :]

    survives(damaged(states, tmp_path, where, overwrite), caplog)


def test_damage_is_told_to_who_counts(tmp_path: Path, states: Path) -> None:
    path = damaged(states, tmp_path, ("closed", DATABASE), lambda content: content[:-4096])
    with pytest.raises(OutboxError, match=r"rows\.sqlite cannot be read: database disk image is malformed"):
        count_pending(path)


def test_damage_while_it_is_open_is_told_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / DATABASE
    write(path, RECORDS)
    outbox = Outbox(path, "run 1")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"the fourth is", b"the Fourth is"))
    assert outbox.peek(10) == [record for record in RECORDS if b"fourth" not in record]
    assert (outbox.count, outbox.lost) == (5, 1)
    assert "1 records do not have their SHA-256): 5 of its records can be read" in caplog.text
    caplog.clear()
    outbox.append([b"goes on"])
    outbox.remove(5)
    assert outbox.peek(10) == [b"goes on"]
    outbox.close()
    assert read(path) == [b"goes on"]
    assert not caplog.records


def test_records_of_another_run_are_not_taken_for_this_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / DATABASE
    write(path, RECORDS, "run 1")
    assert read(path, "run 2") == []
    (aside,) = tmp_path.glob("rows.sqlite.of-another-run-*Z")
    assert f"{path} holds 6 records of another run. They are kept in {aside}" in caplog.text
    aside.rename(tmp_path / "again.sqlite")
    assert read(tmp_path / "again.sqlite", "run 1") == RECORDS
    assert read(path, "run 3") == []
    assert not list(tmp_path.glob("rows.sqlite.of-another-run-*")), "an empty outbox is nothing to keep"


def test_one_process_at_a_time_uses_it(tmp_path: Path) -> None:
    path = tmp_path / DATABASE
    outbox = Outbox(path, "run 1")
    with pytest.raises(OutboxLockedError, match=r"rows\.sqlite is in use by another process"):
        Outbox(path, "run 1")
    code = "import sys; from pathlib import Path; from spool import Outbox; Outbox(Path(sys.argv[1]), 'run 1').close()"
    command = [sys.executable, "-c", code, str(path)]
    other = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "OutboxLockedError" in other.stderr
    outbox.append([b"one"])
    assert count_pending(path) == 1, "anybody may count"
    outbox.close()
    subprocess.run(command, check=True, timeout=60)


def test_a_full_disk_leaves_the_records_as_they_were(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from spool import Outbox, OutboxError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
outbox = Outbox(Path(sys.argv[1]), "run 1")
outbox.append([b"before"])
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
try:
    outbox.append([b"fits", b"x" * 50_000])
except OutboxError as error:
    print(str(error).replace(sys.argv[1], "FILE"))
outbox.append([b"after"])
outbox.close()
"""
    path = tmp_path / DATABASE
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("FILE cannot be written: disk I/O error\n", "")
    assert read(path) == [b"before", b"after"]


def test_no_file_holds_no_records(tmp_path: Path) -> None:
    assert count_pending(tmp_path / DATABASE) == 0
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Outbox(tmp_path / "file" / DATABASE, "run 1")
    (tmp_path / "rows.sqlite").mkdir()
    with pytest.raises(OutboxError, match=r"rows\.sqlite cannot be opened: "):
        Outbox(tmp_path / DATABASE, "run 1")


def test_records_are_readable_without_this_program(tmp_path: Path) -> None:
    write(tmp_path / DATABASE, RECORDS)
    connection = sqlite3.connect(tmp_path / DATABASE)
    assert connection.execute("SELECT payload FROM outbox ORDER BY id").fetchall() == [(record,) for record in RECORDS]
    connection.close()


_WRITER = """
import sys, time
from pathlib import Path
from spool import Outbox

outbox = Outbox(Path(sys.argv[1]), "me")
outbox.append([b"one", b"two"])
connection = outbox._connection
connection.execute("PRAGMA cache_spill=1")
connection.execute("PRAGMA cache_size=1")
connection.execute("BEGIN EXCLUSIVE")
for number in range(3, 300):
    connection.execute("INSERT INTO outbox (id, owner, payload, digest) VALUES (?, ?, ?, ?)", (number, b"me", bytes(999), b""))
print("writing", flush=True)
time.sleep(600)
"""


def test_the_outbox_of_a_stopped_process_is_read_as_it_was_before_an_unfinished_write(tmp_path: Path) -> None:
    """The process is in the middle of a transaction: it holds SQLite's lock, and pages of it are in the file already."""
    path = tmp_path / "things.sqlite"
    command = [sys.executable, "-c", _WRITER, str(path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            os.kill(process.pid, signal.SIGSTOP)
            before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
            assert "things.sqlite-journal" in before
            assert len(before["things.sqlite"]) > 100_000
            assert read_pending(path, "me") == [b"one", b"two"]
            assert read_pending(path, "another") == []
            assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
        finally:
            process.kill()
