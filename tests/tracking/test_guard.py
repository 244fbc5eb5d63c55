"""What is sent to MLflow is sent within a guard: once the right to write is lost, nothing is, and nothing is lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spool import HeldBackError, StoppedError, count_pending
from tests.tracking.test_models import EXAMPLE, POLICY
from tracking import TrackedRun
from tracking.client import connect
from tracking.delivery import LANES, lane_file


class Guard:
    """Counts the blocks that it guards.

    Attributes:
        fault: what it raises; None: nothing.
    """

    def __init__(self) -> None:
        self.entered = self.open = 0
        self.fault: Exception | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if self.fault is not None:
            raise self.fault
        self.entered += 1
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture
def guarded(uri: str, home: Path, tmp_path: Path, guard: Guard) -> Iterator[TrackedRun]:
    with TrackedRun.open(uri, "tests", "guarded", home=home, outbox=tmp_path / "spool" / "metrics.sqlite", guard=guard) as run:
        yield run


def writes(run: TrackedRun, folder: Path) -> dict[str, Callable[[], Any]]:
    """Each method that writes and waits for the answer."""
    file = folder / "file.txt"
    file.write_text("text")
    return {
        "register_model": lambda: run.register_model("guarded", file, python_model=POLICY, input_example=EXAMPLE),
        "set_alias": lambda: run.set_alias("guarded", "1", "champion"),
        "log_evaluation": lambda: run.log_evaluation("models:/guarded/1", {"evaluate/score": 1.0}),
        "log_artifact": lambda: run.log_artifact(file),
        "end": lambda: run.end("FINISHED", pipeline_status="completed"),
    }


def test_every_write_is_guarded(guarded: TrackedRun, guard: Guard, tmp_path: Path) -> None:
    assert guard.entered == 1, "the run was created"
    guarded.log_metrics({"loss": 1.0}, 1)
    guarded.log_params({"size": 1})
    guarded.set_tags({"colour": "red"})
    guarded.log_dict({"a": 1}, "a.json")
    assert guarded.flush()
    assert guard.entered == 5, "each lane sends for itself"
    for number, write in enumerate(writes(guarded, tmp_path).values()):
        before = guard.entered
        write()
        assert guard.entered == before + (2 if number == 0 else 1), "the upload of a model is guarded apart from its version"
    assert guard.open == 0


def test_nothing_is_written_without_the_right_to(
    uri: str, guarded: TrackedRun, guard: Guard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(uri)
    guarded.log_metrics({"loss": 1.0}, 1)
    assert guarded.flush()
    before = client.get_run(guarded.run_id).to_dictionary()
    guard.fault = StoppedError("attempt 2 took over")
    guarded.log_metrics({"loss": 2.0}, 2)
    guarded.log_params({"size": 1})
    guarded.set_tags({"colour": "red"})
    guarded.log_dict({"a": 1}, "a.json")
    assert not guarded.flush()
    for write in writes(guarded, tmp_path).values():
        with pytest.raises(StoppedError, match="attempt 2 took over"):
            write()
    with pytest.raises(StoppedError, match="attempt 2 took over"):
        guarded.metric("loss")
    report = guarded.close("FAILED")
    assert client.get_run(guarded.run_id).to_dictionary() == before
    assert (report.lost, report.pending) == (0, 5)
    waiting = {lane: count_pending(lane_file(tmp_path / "spool" / "metrics.sqlite", lane)) for lane in LANES}
    assert waiting == {"metrics": 2, "params": 1, "tags": 1, "documents": 1}
    assert caplog.text == "", "whoever holds the lease says it"


def test_a_guard_that_gets_no_answer_is_tried_again(
    guarded: TrackedRun, guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    guard.fault = HeldBackError("Postgres is away")
    guarded.log_metrics({"loss": 1.0}, 1)
    assert not guarded.flush()
    assert caplog.text == "", "MLflow is not away"
    guard.fault = None
    assert guarded.flush()
    assert guarded.metric("loss") == 1.0
