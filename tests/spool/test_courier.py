"""The threads behind the queue: they keep the order, and whoever puts something never waits for them."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from spool import Courier, Outage, Outbox, OutboxError, StoppedError, count_pending

LOG = logging.getLogger("tests.spool")


class Server:
    """Keeps what it is given while `there` is set; else raises, as a server that is away does."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.there = threading.Event()
        self.there.set()

    def __call__(self, payloads: Sequence[bytes]) -> int:
        if not self.there.is_set():
            raise ConnectionError("nobody there")
        self.got.extend(int(payload) for payload in payloads)
        return len(payloads)


def courier(
    deliver: Callable[[Sequence[bytes]], int], path: Path | None, *, capacity: int | None = None, remind: float = 60
) -> Courier[int]:
    return Courier(
        "test",
        lambda number: str(number).encode(),
        deliver,
        Outage(LOG, "the server", "numbers", str(path or "memory"), remind_seconds=remind),
        outbox=None if path is None else Outbox(path, "run 1"),
        batch=10,
        interval_seconds=0.01,
        retry_seconds=(0.01, 0.05),
        capacity=capacity,
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("on_disk", [True, False])
def test_numbers_arrive_in_order_over_several_outages(on_disk: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    queue = courier(server, tmp_path / "numbers.sqlite" if on_disk else None)
    with caplog.at_level(logging.WARNING, "tests.spool"):
        for number in range(1000):
            if number in (200, 700):
                server.there.clear()
            if number in (500, 900):
                until(lambda: queue.reason == "nobody there")
                queue.reason = ""
                server.there.set()
            assert queue.put(number)
            if number % 50 == 0:
                time.sleep(0.02)
        queue.close(30, patient=True)
    assert server.got == list(range(1000))
    assert (queue.pending, queue.unstored, queue.lost) == (0, 0, 0)
    told = [record.message for record in caplog.records]
    assert len(told) == 4, "once when it goes, once when it is back"
    assert all("nobody there" in message for message in told[::2])
    assert all("is back after" in message for message in told[1::2])
    assert not queue.put(1)


def test_what_waits_is_delivered_by_the_next_to_open_the_file(tmp_path: Path) -> None:
    path = tmp_path / "numbers.sqlite"
    server = Server()
    server.there.clear()
    first = courier(server, path)
    for number in range(25):
        first.put(number)
    first.close(0.1, patient=True)
    assert (first.pending, first.unstored) == (25, 0)
    assert count_pending(path) == 25
    server.there.set()
    second = courier(server, path)
    second.put(25)
    assert second.flush(30, patient=True)
    assert server.got == list(range(26))
    second.close(30, patient=True)
    assert count_pending(path) == 0


def test_a_server_that_hangs_keeps_nothing_off_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "numbers.sqlite"
    release, entered = threading.Event(), threading.Event()

    def hang(payloads: Sequence[bytes]) -> int:
        entered.set()
        release.wait(60)
        raise ConnectionError

    queue = courier(hang, path)
    queue.put(0)
    assert entered.wait(30)
    for number in range(1, 100):
        queue.put(number)  # returns although the only call of the server does not
    until(lambda: count_pending(path) == 100)
    assert not release.is_set()
    assert not queue.flush(0.1, patient=True)
    queue.close(0.1, patient=True)
    release.set()
    left = Outbox(path, "run 1")
    assert [int(each) for each in left.peek()] == list(range(100))
    left.close()


def test_what_is_synced_is_on_disk_though_the_server_hangs(tmp_path: Path) -> None:
    path = tmp_path / "numbers.sqlite"
    release = threading.Event()

    def hang(payloads: Sequence[bytes]) -> int:
        release.wait(60)
        raise ConnectionError

    queue = courier(hang, path)
    for number in range(1000):
        queue.put(number)
    assert queue.sync(30)
    assert count_pending(path) == 1000
    queue.close(0.1, patient=True)
    release.set()


def test_what_the_disk_does_not_take_waits_in_memory_in_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    server.there.clear()
    queue = courier(server, tmp_path / "numbers.sqlite")
    for number in range(10):
        queue.put(number)
    until(lambda: count_pending(tmp_path / "numbers.sqlite") == 10)
    assert queue._outbox is not None
    append = queue._outbox.append

    def full(payloads: Sequence[bytes]) -> None:
        raise OutboxError("FILE cannot be written: database or disk is full")

    queue._outbox.append = full  # type: ignore[method-assign]
    for number in range(10, 20):
        queue.put(number)
    assert not queue.sync(30)
    assert queue.unstored == 10
    assert "disk is full" in caplog.text
    queue._outbox.append = append  # type: ignore[method-assign]
    for number in range(20, 30):
        queue.put(number)
    server.there.set()
    queue.close(30, patient=True)
    assert server.got == list(range(30))


def test_memory_has_its_limit_and_what_is_lost_is_counted() -> None:
    server = Server()
    server.there.clear()
    queue = courier(server, None, capacity=10)
    for number in range(25):
        queue.put(number)
    until(lambda: queue.lost == 15)
    server.there.set()
    queue.close(30, patient=True)
    assert server.got == list(range(10))


def test_flushing_waits_for_one_attempt_unless_it_is_patient(tmp_path: Path) -> None:
    server = Server()
    server.there.clear()
    queue = courier(server, tmp_path / "numbers.sqlite")
    queue.put(1)
    assert not queue.flush(600, patient=False)
    server.there.set()
    assert queue.flush(600, patient=True)
    queue.close(1, patient=True)


def test_an_outage_is_told_once_and_reminded_of_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    outage = Outage(LOG, "Postgres at db", "episodes", "FILE", clock=lambda: now)
    with caplog.at_level(logging.WARNING, "tests.spool"):
        outage.ended(0)
        for second in range(600):
            now = float(second)
            outage.failed("refused", second)
        outage.ended(600)
    told = [record.message for record in caplog.records]
    assert told == [
        "Postgres at db cannot be reached; the run goes on and its episodes wait in FILE: refused",
        "60 episodes wait in FILE: Postgres at db has been away for 60 s",
        "180 episodes wait in FILE: Postgres at db has been away for 3 min",
        "420 episodes wait in FILE: Postgres at db has been away for 7 min",
        "Postgres at db is back after 10 min: 600 episodes that waited are being sent",
    ]


def test_a_delivery_that_is_forbidden_ends_all_and_keeps_what_is_pending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "numbers.sqlite"
    calls = []

    def forbid(payloads: Sequence[bytes]) -> int:
        calls.append(len(payloads))
        raise StoppedError("another has taken over")

    queue = courier(forbid, path)
    queue.put(1)
    began = time.monotonic()
    assert not queue.flush(600, patient=True)
    assert time.monotonic() - began < 60, "nothing is waited for"
    assert str(queue.stopped) == "another has taken over"
    queue.put(2)
    assert queue.sync(30), "the disk still takes it"
    queue.close(600, patient=True)
    assert calls == [1], "it is not tried again"
    assert (queue.lost, queue.pending, count_pending(path)) == (0, 2, 2)
    assert caplog.text == "", "whoever forbids it says so"
