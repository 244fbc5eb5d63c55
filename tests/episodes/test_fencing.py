"""Only the newest attempt writes: a write and a takeover exclude each other, whichever comes first."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from episodes import EpisodeRow, EpisodeStore, ExperimentLockedError, ExperimentRecord, FencedError, FencingToken, Lease
from episodes.attempts import attempts
from episodes.errors import GuardUnavailableError
from episodes.holders import has_ended, this_process
from episodes.leases import EARLIER_LOCK, _raise_token, acquire, retire
from episodes.pending import convert
from episodes.quality import QualityResult
from episodes.records import archive_phases, finished_phase, quality_results, save_phase, save_quality
from episodes.schema import RecordedPhase
from episodes.upgrading import running_experiments
from episodes.writer import insert_episodes
from tests.episodes.conftest import ORIGIN, Server

pytestmark = pytest.mark.one_python

MakeRow = Callable[..., EpisodeRow]
Write = Callable[[EpisodeStore, Lease, MakeRow], None]


@pytest.fixture(scope="module")
def database_url(server: Server) -> Iterator[str]:
    """By TCP only: it makes no difference here how the database is reached."""
    name = server.new_database()
    yield server.by_tcp.set(database=name).render_as_string(hide_password=False)
    server.drop_database(name)


@pytest.fixture
def lease(store: EpisodeStore, experiment: int) -> Iterator[Lease]:
    """The first attempt at the experiment; nobody else can take over for ten minutes."""
    held = acquire(store, experiment, ORIGIN, seconds=600)
    yield held
    held.release()


def written(store: EpisodeStore, experiment: int) -> tuple[Any, ...]:
    """All that attempts have written."""
    record = store.experiment(experiment).record
    names: tuple[RecordedPhase, ...] = ("train", "evaluate")
    phases = [finished_phase(store, experiment, name, kept_as) for name in names for kept_as in ("", "10-steps")]
    runs = [each.mlflow_run_id for each in attempts(store, experiment)]
    return store.count(experiment), record.device, phases, quality_results(store, experiment), runs


def write_rows(store: EpisodeStore, lease: Lease, row: MakeRow) -> None:
    with store.transaction("writing") as connection:
        insert_episodes(connection, [convert(row(lease.token.experiment_id), {}, b"\1")], lease.token)


def move_rows(store: EpisodeStore, lease: Lease, row: MakeRow) -> None:
    other = store.find_experiment("others")
    assert other is not None
    store.move_episodes(lease.token, "integration", other)


WRITES: dict[str, Write] = {
    "rows": write_rows,
    "experiment": lambda store, lease, _: store.update_experiment(lease.token, device="another"),
    "phase": lambda store, lease, _: save_phase(store, lease.token, "train", 1.0, {}),
    "archive": lambda store, lease, _: archive_phases(store, lease.token, ["evaluate"], "10-steps"),
    "quality": lambda store, lease, _: save_quality(store, lease.token, QualityResult(1, "train", [], 0)),
    "moved rows": move_rows,
    "run": lambda _, lease, __: lease.record_run("a run"),
}


@pytest.fixture
def prepared(store: EpisodeStore, lease: Lease, row: MakeRow, record: Callable[..., ExperimentRecord]) -> Lease:
    """There is something that each write would change."""
    if store.find_experiment("others") is None:
        store.create_experiment(record(name="others"))
    with store.transaction("preparing") as connection:
        insert_episodes(connection, [convert(row(lease.token.experiment_id, phase="integration"), None, None)])
    save_phase(store, lease.token, "evaluate", 1.0, {})
    return lease


def in_background(action: Callable[[], None]) -> tuple[threading.Thread, list[Exception]]:
    raised: list[Exception] = []

    def run() -> None:
        try:
            action()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def expire(lease: Lease) -> None:
    """Let the holder give no sign of life any more, until its lease has expired."""
    with lease._changed:
        lease._ended = True
        lease._changed.notify_all()
    lease._thread.join()
    with lease.store.transaction("expiring") as connection:
        of_this = {"id": lease.token.experiment_id}
        connection.execute(text("UPDATE attempts SET expires = NULL WHERE experiment_id = :id"), of_this)


def process_of(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def wait_until_blocked(store: EpisodeStore, by: int, thread: threading.Thread) -> None:
    """Wait until a connection waits for a lock of the server's process `by`."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE :holder = ANY (pg_blocking_pids(pid))")
    while True:
        assert thread.is_alive(), "it did not wait"
        with store.transaction("looking at the locks") as connection:
            if connection.execute(query, {"holder": by}).scalar_one():
                return
        time.sleep(0.02)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_waits_for_a_takeover_and_is_refused(store: EpisodeStore, prepared: Lease, row: MakeRow, write: Write) -> None:
    before = written(store, prepared.token.experiment_id)
    with store.transaction("taking over") as takeover:
        takeover.execute(text("UPDATE attempts SET expires = NULL"))
        assert _raise_token(takeover, store, prepared.token.experiment_id) == 2
        thread, raised = in_background(lambda: write(store, prepared, row))
        wait_until_blocked(store, process_of(takeover), thread)
    thread.join(30)
    assert [type(error) for error in raised] == [FencedError]
    assert "attempt 1 at experiment" in str(raised[0])
    assert written(store, prepared.token.experiment_id) == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_waits_for_a_takeover_that_fails_and_is_done(
    store: EpisodeStore, prepared: Lease, row: MakeRow, write: Write
) -> None:
    before = written(store, prepared.token.experiment_id)
    with store.engine.connect() as takeover:
        takeover.execute(text("UPDATE attempts SET expires = NULL"))
        _raise_token(takeover, store, prepared.token.experiment_id)
        thread, raised = in_background(lambda: write(store, prepared, row))
        wait_until_blocked(store, process_of(takeover), thread)
        takeover.rollback()
        thread.join(30)
    assert raised == []
    assert written(store, prepared.token.experiment_id) != before


def test_a_takeover_waits_for_a_write_that_has_begun(store: EpisodeStore, lease: Lease, row: MakeRow) -> None:
    """The check has been made, and the rows are not committed: the takeover comes after both."""
    experiment = lease.token.experiment_id
    expire(lease)
    with store.transaction("writing") as writing:
        insert_episodes(writing, [convert(row(experiment), {}, b"\1")], lease.token)
        thread, raised = in_background(lambda: acquire(store, experiment, ORIGIN, seconds=600).release())
        wait_until_blocked(store, process_of(writing), thread)
        assert store.experiment(experiment).record.attempt == 1
    thread.join(30)
    assert raised == []
    assert store.count(experiment) == 1
    assert store.experiment(experiment).record.attempt == 2
    with pytest.raises(FencedError):
        write_rows(store, lease, row)


def test_a_takeover_waits_for_what_is_guarded(store: EpisodeStore, lease: Lease) -> None:
    experiment = lease.token.experiment_id
    with lease.guard():
        expire(lease)
        thread, raised = in_background(lambda: acquire(store, experiment, ORIGIN, seconds=600).release())
        wait_until_blocked(store, next(driver for driver, _ in lease._guards.values()).info.backend_pid, thread)
    thread.join(30)
    assert raised == []
    with pytest.raises(FencedError, match="attempt 2 took over on here"), lease.guard():
        pytest.fail("another attempt has taken over")


def test_the_holders_own_changes_do_not_wait_for_what_it_guards(store: EpisodeStore, lease: Lease, row: MakeRow) -> None:
    with lease.guard():
        write_rows(store, lease, row)
        store.update_experiment(lease.token, device="another")
        lease.confirm()


def test_what_is_refused_is_neither_retried_nor_set_aside_nor_lost(
    store: EpisodeStore, lease: Lease, row: MakeRow, outbox: Path
) -> None:
    experiment = lease.token.experiment_id
    writer = store.writer(outbox, "run", token=lease.token)
    writer.put(row(experiment))
    writer.flush()
    expire(lease)
    retire(store, experiment)
    writer.put(row(experiment, 1))
    with pytest.raises(FencedError, match="a person recorded its end with --mark-crashed"):
        writer.flush()
    with pytest.raises(FencedError):
        writer.put(row(experiment, 2))
    with pytest.raises(FencedError):
        writer.close()
    assert store.count(experiment) == 1
    with store.writer(outbox, "run") as later:
        assert later.pending == 1, "it stayed on the disk"


# Leases


def test_an_experiment_is_run_by_one_process_at_a_time(store: EpisodeStore, lease: Lease) -> None:
    experiment = lease.token.experiment_id
    message = rf"experiment {experiment} is being run by another process \(attempt 1 on here\).*can take over in [56]\d\d s"
    for begin in (lambda: acquire(store, experiment, ORIGIN, seconds=60), lambda: retire(store, experiment)):
        with pytest.raises(ExperimentLockedError, match=message):
            begin()
    lease.confirm()
    lease.release()
    again = acquire(store, experiment, ORIGIN, seconds=60)
    assert again.token == FencingToken(experiment, 2)
    again.release()
    assert [each.attempt for each in attempts(store, experiment)] == [1, 2]


def test_two_that_take_over_at_once_do_not_both_succeed(store: EpisodeStore, experiment: int) -> None:
    barrier = threading.Barrier(4)
    leases: list[Lease] = []

    def begin() -> None:
        barrier.wait()
        leases.append(acquire(store, experiment, ORIGIN, seconds=600))

    started = [in_background(begin) for _ in range(4)]
    for thread, _ in started:
        thread.join(30)
    assert [type(error) for _, raised in started for error in raised] == [ExperimentLockedError] * 3
    leases[0].confirm()
    leases[0].release()


_HOLDER = """
import sys, time
from pathlib import Path
from episodes import EpisodeStore, FencedError, address
from episodes.leases import acquire
from tests.episodes.conftest import ORIGIN

address.IDLE_SECONDS = 1
with EpisodeStore.open(sys.argv[1], Path(sys.argv[2])) as store:
    lease = acquire(store, int(sys.argv[3]), ORIGIN, seconds=float(sys.argv[4]))
    try:
        with lease.guard():
            print("held", flush=True)
            sys.stdin.readline()
        while True:
            time.sleep(0.05)
            lease.require_current()
    except FencedError as error:
        print(error, flush=True)
"""


@contextmanager
def holder(store: EpisodeStore, home: Path, experiment: int, seconds: float) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the experiment, at first within a guard, which a line to it ends."""
    command = [sys.executable, "-c", _HOLDER, store.url, str(home), str(experiment), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_an_experiment_whose_process_was_killed_is_free_at_once(store: EpisodeStore, experiment: int, tmp_path: Path) -> None:
    with holder(store, tmp_path, experiment, 600) as process:
        with pytest.raises(ExperimentLockedError):
            acquire(store, experiment, ORIGIN, seconds=600)
        process.kill()
        process.wait()
        acquire(store, experiment, ORIGIN, seconds=600).release()


def test_a_stopped_process_is_taken_over_and_notices_when_it_goes_on(
    store: EpisodeStore, experiment: int, tmp_path: Path
) -> None:
    """It is stopped within a guard: Postgres ends the transaction, which would keep others waiting for ever."""
    with holder(store, tmp_path, experiment, 1) as process:
        with pytest.raises(ExperimentLockedError):
            acquire(store, experiment, ORIGIN, seconds=600)
        os.kill(process.pid, signal.SIGSTOP)
        while True:
            try:
                lease = acquire(store, experiment, ORIGIN, seconds=600)
                break
            except ExperimentLockedError as error:
                assert "can take over in 1 s" in str(error)
                time.sleep(0.1)
        os.kill(process.pid, signal.SIGCONT)
        output, _ = process.communicate("\n", timeout=60)
    assert output.startswith("attempt 1 at experiment")
    assert "attempt 2 took over on here" in output
    assert "What it was sending to MLflow when it was stopped may have arrived after that" in output
    lease.confirm()
    lease.release()


def test_a_holder_that_postgres_has_not_heard_of_goes_on_unless_another_has_begun(
    server: Server, lone_store: EpisodeStore, database_name: str, record: Callable[..., ExperimentRecord]
) -> None:
    experiment = lone_store.create_experiment(record())
    lease = acquire(lone_store, experiment, ORIGIN, seconds=1)
    server.cut_off(database_name)
    lease.confirm(timeout=1)
    time.sleep(1.5)  # the lease expires in the meantime
    lease.require_current()
    with pytest.raises(GuardUnavailableError, match="making sure that no other attempt has taken over failed"), lease.guard():
        pytest.fail("Postgres cannot be asked")
    server.let_in(database_name)
    lease.confirm()
    with pytest.raises(ExperimentLockedError):
        acquire(lone_store, experiment, ORIGIN, seconds=1)
    lease.release()


def test_an_earlier_version_that_holds_its_lock_is_not_taken_over(store: EpisodeStore, experiment: int) -> None:
    with store.engine.connect() as earlier:
        earlier.execute(text("SELECT pg_advisory_lock(:kind, :id)"), {"kind": EARLIER_LOCK, "id": experiment})
        with pytest.raises(ExperimentLockedError, match="is being run by another process"):
            acquire(store, experiment, ORIGIN, seconds=60)
        earlier.execute(text("SELECT pg_advisory_unlock_all()"))
    acquire(store, experiment, ORIGIN, seconds=60).release()


def test_an_upgrade_is_told_which_experiments_run(store: EpisodeStore, lease: Lease) -> None:
    name = store.experiment(lease.token.experiment_id).record.name
    with store.transaction("looking") as connection:
        assert name in running_experiments(connection)
    lease.release()
    with store.transaction("looking") as connection:
        assert name not in running_experiments(connection)


def test_a_process_is_known_to_have_ended_only_on_its_own_machine() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        machine, _, _ = this_process().rpartition(" ")[0].rpartition(" ")
        code = "from episodes.holders import this_process; print(this_process())"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        assert other.startswith(f"{machine} ")
        assert has_ended(other)
        assert not has_ended(f"of-another-machine {other.partition(' ')[2]}")
        assert not has_ended(this_process())
        assert has_ended(f"{machine} {process.pid} 1"), "another process has its number now"
        process.kill()
