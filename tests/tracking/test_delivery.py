"""The queue alone, with a `send` that fails as it is told to."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tracking.delivery import MAX_METRICS, Delivery, Entry, RefusedError


class Receiver:
    """Keeps what it is sent; raises what `failures` yields first."""

    def __init__(self, failures: Iterator[Exception] | None = None) -> None:
        self.entries: list[Entry] = []
        self.failures = failures or iter(())
        self.attempts = 0

    def __call__(self, entry: Entry) -> None:
        self.attempts += 1
        for failure in self.failures:
            raise failure
        self.entries.append(entry)

    def steps(self) -> list[int]:
        return [int(value[3]) for entry in self.entries for value in entry.values if len(value) == 4]


def metric(step: int, count: int = 1) -> Entry:
    return Entry("metrics", tuple((f"m{index}", 1.0, 0, step) for index in range(count)))


def forever(error: Exception) -> Iterator[Exception]:
    while True:
        yield error


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_everything_arrives_in_order_and_together() -> None:
    receiver = Receiver()
    delivery = Delivery(receiver)
    for step in range(200):
        delivery.put(metric(step))
    report = delivery.close()
    assert receiver.steps() == list(range(200))
    assert len(receiver.entries) <= 3
    assert (report.sent, report.lost, report.reason) == (200, 0, "")


def test_kinds_are_not_mixed_and_keep_their_order() -> None:
    receiver = Receiver()
    delivery = Delivery(receiver)
    queued = [Entry("params", (("a", "1"),)), metric(1), Entry("document", (("x", "y"),)), Entry("document", (("z", "y"),))]
    for entry in queued:
        delivery.put(entry)
    delivery.close()
    for kind in ("params", "metrics", "document"):
        assert [entry for entry in receiver.entries if entry.kind == kind] == [entry for entry in queued if entry.kind == kind]


def test_a_request_stays_within_mlflows_limit() -> None:
    receiver = Receiver()
    delivery = Delivery(receiver)
    for step in range(7):
        delivery.put(metric(step, 400))
    delivery.close()
    assert max(len(entry.values) for entry in receiver.entries) <= MAX_METRICS
    assert sum(len(entry.values) for entry in receiver.entries) == 2800


def test_what_fails_for_a_while_is_sent_later_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(iter([ConnectionError("away")] * 4))
    delivery = Delivery(receiver, interval_seconds=0.01, retry_seconds=0.01)
    with caplog.at_level(logging.WARNING):
        for step in range(5):
            delivery.put(metric(step))
        wait_until(lambda: bool(receiver.entries))
        report = delivery.close()
    assert receiver.steps() == list(range(5))
    assert (report.sent, report.lost) == (5, 0)
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2
    assert "cannot be reached; the run goes on" in messages[0]
    assert "is back" in messages[1]


def test_what_is_refused_is_given_up_and_what_follows_arrives(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(iter([RefusedError("no such run")]))
    delivery = Delivery(receiver)
    delivery.put(Entry("document", (("x", "y"),)))
    wait_until(lambda: receiver.attempts == 1 or not delivery.flush())
    delivery.put(Entry("document", (("z", "y"),)))
    delivery.put(metric(1))
    report = delivery.close()
    assert receiver.steps() == [1]
    assert (report.sent, report.lost, report.reason) == (2, 1, "no such run")
    assert "refused document" in caplog.text


def test_documents_that_are_refused_hold_back_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()

    def send(entry: Entry) -> None:
        if entry.kind == "document":
            raise PermissionError("the token has expired")
        receiver(entry)

    delivery = Delivery(send, retry_seconds=0.01)
    for step in range(50):
        delivery.put(Entry("document", ((str(step), "y"),)))
        delivery.put(metric(step))
        delivery.put(Entry("tags", (("step", str(step)),)))
    assert delivery.flush(10, lanes=("metrics", "tags"))
    assert not delivery.flush(10)
    assert receiver.steps() == list(range(50))
    report = delivery.close()
    assert (report.sent, report.lost, report.reason) == (100, 50, "the token has expired")
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "the artifact store of MLflow cannot be reached; the run goes on and its documents wait" in told[0]


def test_flush_returns_at_once_when_nothing_can_be_sent() -> None:
    delivery = Delivery(Receiver(forever(ConnectionError("away"))), retry_seconds=60)
    delivery.put(metric(1))
    started = time.monotonic()
    assert delivery.flush(20) is False
    assert delivery.flush(20) is False
    report = delivery.close(20)
    assert time.monotonic() - started < 5
    assert (report.sent, report.lost, report.reason) == (0, 1, "away")


def test_a_hanging_store_holds_up_neither_put_nor_close_beyond_its_limit() -> None:
    release = threading.Event()

    def hang(entry: Entry) -> None:
        release.wait(30)

    delivery = Delivery(hang, interval_seconds=0)
    started = time.monotonic()
    for step in range(100):
        delivery.put(metric(step))
    assert time.monotonic() - started < 0.5
    assert delivery.flush(0.2) is False
    report = delivery.close(0.2)
    assert time.monotonic() - started < 5
    assert report.lost == 100
    release.set()


def test_a_full_queue_loses_the_newest_and_counts_them() -> None:
    delivery = Delivery(Receiver(forever(ConnectionError("away"))), capacity=10)
    for step in range(25):
        delivery.put(metric(step))
    assert delivery.close().lost == 25
    delivery.put(metric(99))  # after the end: no error either


def test_an_unexpected_error_does_not_end_the_thread() -> None:
    receiver = Receiver(iter([KeyError("surprise"), ZeroDivisionError()]))
    delivery = Delivery(receiver, interval_seconds=0, retry_seconds=0.01)
    delivery.put(metric(1))
    wait_until(lambda: bool(receiver.entries))
    assert delivery.close().sent == 1
