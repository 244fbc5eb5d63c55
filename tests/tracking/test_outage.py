"""A real MLflow server is killed and started again under a run: what was logged is all there, once and in order."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from configs import PROJECT
from spool import Outbox, OutboxLockedError, count_pending
from tests.spool.test_legacy import legacy_file
from tracking import RunningServer, TrackedRun, TrackingError, resolve_tracking_uri
from tracking.client import connect
from tracking.delivery import LANES, lane_file

pytestmark = pytest.mark.one_python

PASSWORD = "kn0wn-password"


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to a server that is not there fails at once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "experiment" / "spool" / "metrics.sqlite"


class Servers:
    """The same MLflow server, as often as it is started; its address carries a password, as a team's does."""

    def __init__(self, uri: str, home: Path, log: Path) -> None:
        self._uri, self._home, self._log = uri, home, log
        self._server = RunningServer.start(uri, home, port=0, log=log)
        self._port = int(self._server.url.rpartition(":")[2])
        self.url = f"http://mario:{PASSWORD}@127.0.0.1:{self._port}"

    @property
    def alive(self) -> bool:
        return self._server.process.poll() is None

    def kill(self) -> None:
        """As the machine would do it when it runs out of memory."""
        os.killpg(self._server.process.pid, signal.SIGKILL)
        self._server.process.wait()

    def start(self) -> None:
        self._server = RunningServer.start(self._uri, self._home, port=self._port, log=self._log)

    def stop(self) -> None:
        self._server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def one_server(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)  # what removes it for every test comes after this fixture
        uri = resolve_tracking_uri(None, home)
    started = Servers(uri, home, tmp_path_factory.mktemp("server") / "server.log")
    yield started
    started.stop()


@pytest.fixture
def servers(one_server: Servers) -> Servers:
    """The server, running, whatever became of it in the test before."""
    if not one_server.alive:
        one_server.start()
    return one_server


def steps(uri: str, run_id: str, name: str) -> list[int]:
    return [point.step for point in connect(uri).get_metric_history(run_id, name)]


@pytest.mark.timeout(240)
def test_a_server_that_is_killed_and_started_again_gets_everything(
    servers: Servers, uri: str, outbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run = TrackedRun.open(servers.url, "outage", "survivor", outbox=outbox)
        writer = run.kv_writer()
        for step in range(100):
            writer.write({"train/loss": step}, {}, step)
        assert run.flush()
        servers.kill()
        for step in range(100, 3000):
            writer.write({"train/loss": step}, {}, step)
        run.log_params({"late": 1})
        run.set_tags({"note": "during the outage"})
        run.log_dict({"a": 1}, "a.json")
        assert run.flush() is False
        assert run.sync(), "one failed attempt ends `flush`, perhaps before everything is on the disk"
        assert count_pending(outbox) >= 2900
        assert [count_pending(lane_file(outbox, lane)) for lane in ("params", "tags", "documents")] == [1, 1, 1]
        servers.start()
        for step in range(3000, 3100):
            writer.write({"train/loss": step}, {}, step)
        assert run.flush()
        report = run.close()
    assert (report.lost, report.pending) == (0, 0)
    assert steps(uri, run.run_id, "train/loss") == list(range(3100)), "in order and once"
    stored = connect(uri).get_run(run.run_id)
    assert (stored.data.params["late"], stored.data.tags["note"]) == ("1", "during the outage")
    assert stored.info.status == "FINISHED"
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2, told
    assert f"{servers.url.replace(PASSWORD, '***')} cannot be reached; the run goes on" in told[0]
    assert str(outbox.parent) in told[0]
    assert "is back" in told[1]
    assert PASSWORD not in caplog.text


@pytest.mark.timeout(240)
def test_what_waits_is_sent_by_the_next_process_before_anything_else(
    servers: Servers, uri: str, outbox: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    first = TrackedRun.open(
        servers.url, "outage", "interrupted", outbox=outbox, tags={"remote": f"https://me:{PASSWORD}@host/r"}
    )
    writer = first.kv_writer()
    first.log_metrics({"train/loss": 1.0}, 100)
    assert first.flush()
    servers.kill()
    for step in (200, 300):
        writer.write({"train/loss": step}, {}, step)
    first.log_config({"gamma": 0.9, "database": {"url": f"postgresql://me:{PASSWORD}@h/d", "password": PASSWORD}})
    report = first.close("KILLED")
    assert report.lost == 0
    waits = {lane: count_pending(lane_file(outbox, lane)) for lane in LANES}
    assert waits == {"metrics": 3, "params": 1, "tags": 0, "documents": 1}  # two dumps and the end; the configuration
    assert report.pending == 5
    assert "5 entries wait on disk" in caplog.text
    written = b"".join(path.read_bytes() for path in (tmp_path / "experiment").rglob("*") if path.is_file())
    assert PASSWORD not in written.decode(errors="replace") + caplog.text

    servers.start()
    with TrackedRun.open(servers.url, "outage", "", run_id=first.run_id, outbox=outbox) as second:
        again = second.kv_writer()
        for step in (200, 300, 400):  # the last checkpoint was at 150: two of them wait already
            again.write({"train/loss": step}, {}, step)
        second.log_params({"gamma": 0.9})
        assert second.flush()
        assert connect(uri).get_run(first.run_id).info.status == "RUNNING", "the end of the first is not the end of the second"
    assert steps(uri, first.run_id, "train/loss") == [100, 200, 300, 400]
    stored = connect(uri).get_run(first.run_id)
    assert stored.data.params["gamma"] == "0.9"
    assert stored.info.status == "FINISHED"
    assert count_pending(outbox) == 0


def test_a_killed_process_leaves_what_it_logged_to_the_next(uri: str, outbox: Path) -> None:
    with TrackedRun.open(uri, "outage", "killed") as run:
        pass
    code = """
import sys, time
from pathlib import Path
from spool import count_pending
from tracking import TrackedRun
outbox = Path(sys.argv[3])
run = TrackedRun.open(sys.argv[1], "outage", "", run_id=sys.argv[2], outbox=outbox)
for step in range(50):
    run.log_metrics({"reward": step}, step)
while count_pending(outbox) < 50:
    time.sleep(0.01)
print("filed", flush=True)
time.sleep(600)
"""
    command = [sys.executable, "-c", code, uri, run.run_id, str(outbox)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"filed\n"
            with pytest.raises(OutboxLockedError):
                TrackedRun.open(uri, "outage", "", run_id=run.run_id, outbox=outbox)
        finally:
            process.kill()
    with TrackedRun.open(uri, "outage", "", run_id=run.run_id, outbox=outbox) as again:
        again.log_metrics({"reward": 50}, 50)
    assert steps(uri, run.run_id, "reward") == list(range(51))


def test_an_artifact_store_that_refuses_holds_back_documents_only(uri: str, outbox: Path, home: Path) -> None:
    """Its folder is in the way of nothing but documents; they arrive, in order, when it is mended."""
    with TrackedRun.open(uri, "outage", "no artifacts", outbox=outbox, leave_running=True) as run:
        artifacts = Path(unquote(urlsplit(connect(uri).get_run(run.run_id).info.artifact_uri).path))
        artifacts.parent.mkdir(parents=True, exist_ok=True)
        artifacts.write_text("not a folder")
        for step in range(50):
            run.log_dict({"step": step}, "latest.json")
            run.log_dict({"step": step}, f"{step}.json")
            run.log_metrics({"reward": step}, step)
        run.set_tags({"note": "arrives"})
        assert run.metric("reward") == 49
    assert steps(uri, run.run_id, "reward") == list(range(50))
    assert connect(uri).get_run(run.run_id).data.tags["note"] == "arrives"
    assert count_pending(lane_file(outbox, "documents")) == 100

    artifacts.unlink()
    with TrackedRun.open(uri, "outage", "", run_id=run.run_id, outbox=outbox) as again:
        assert again.flush()
    assert len(list(artifacts.iterdir())) == 51
    assert json.loads((artifacts / "latest.json").read_text()) == {"step": 49}, "the last one came last"
    assert count_pending(lane_file(outbox, "documents")) == 0


def test_a_file_of_an_older_version_holds_every_kind(uri: str, outbox: Path) -> None:
    with TrackedRun.open(uri, "outage", "older") as run:
        pass
    kinds = {
        "params": [["gamma", "0.9"]],
        "tags": [["note", "old"]],
        "document": [["a.txt", "text"]],
        "metrics": [["x", 1.0, 1, 1]],
    }
    records = [json.dumps({"kind": kind, "values": values, "session": ""}).encode() for kind, values in kinds.items()]
    outbox.parent.mkdir(parents=True)
    outbox.with_suffix(".spool").write_bytes(legacy_file(records, run.run_id))
    with TrackedRun.open(uri, "outage", "", run_id=run.run_id, outbox=outbox) as again:
        assert again.flush()
    stored = connect(uri).get_run(run.run_id).data
    assert (stored.params["gamma"], stored.tags["note"], stored.metrics["x"]) == ("0.9", "old", 1.0)
    assert [each.path for each in connect(uri).list_artifacts(run.run_id)] == ["a.txt"]


def test_a_record_that_is_nothing_to_log_stops_nothing(uri: str, outbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    with TrackedRun.open(uri, "outage", "odd") as run:
        pass
    damaged = Outbox(outbox, run.run_id)
    damaged.append([b"no JSON", b'{"kind": "metrics"}'])
    damaged.close()
    with TrackedRun.open(uri, "outage", "", run_id=run.run_id, outbox=outbox) as again:
        again.log_metrics({"reward": 1}, 1)
    assert steps(uri, run.run_id, "reward") == [1]
    assert "left out" in caplog.text
    assert count_pending(outbox) == 0


def test_at_the_start_of_a_run_mlflow_has_to_be_there(outbox: Path) -> None:
    with pytest.raises(TrackingError, match=r"mario:\*\*\*@127\.0\.0\.1:1.*cannot be opened"):
        TrackedRun.open(f"http://mario:{PASSWORD}@127.0.0.1:1", "outage", "x", outbox=outbox)
    assert not outbox.exists()
