"""Between a run and its MLflow server is a network that loses connections, or falls silent: metrics arrive, once, in order."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spool import count_pending
from tests.proxy import Proxy
from tracking import TrackedRun, server_command, wait_for_server
from tracking.client import connect

pytestmark = pytest.mark.one_python


@pytest.fixture
def proxy(uri: str, home: Path, free_port: int, tmp_path: Path) -> Iterator[Proxy]:
    """In front of a real server, which also lets in who calls it by the proxy's port."""
    connect(uri)
    with Proxy(free_port) as between:
        command = server_command(uri, home, port=free_port)
        hosts = command.arguments.index("--allowed-hosts") + 1
        arguments = [*command.arguments]
        arguments[hosts] += f",127.0.0.1:{between.port}"
        with (tmp_path / "server.log").open("ab") as log:
            process = subprocess.Popen(
                arguments,
                env=os.environ | command.environment,
                cwd=tmp_path,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_for_server(command.url, process=process)
            yield between
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def points(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in connect(uri).get_metric_history(run_id, name)]


@pytest.mark.timeout(240)
def test_answers_that_are_lost_and_a_silent_network_lose_no_metric_and_double_none(
    proxy: Proxy, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    outbox = tmp_path / "metrics.sqlite"
    run = TrackedRun.open(f"http://127.0.0.1:{proxy.port}", "lossy", "a run", outbox=outbox)
    writer = run.kv_writer()
    # Each of these is sent and done, and its answer lost: it is sent again.
    proxy.cut_share = 1.0
    for step in range(40):
        writer.write({"train/loss": step / 2}, {}, step)
        if step % 10 == 0:
            run.flush(10)
    lost = proxy.lost
    assert lost >= 3
    proxy.cut_share = 0.0
    assert run.flush(60)
    assert points(uri, run.run_id, "train/loss") == [(step, step / 2) for step in range(40)]

    proxy.silent = True
    begin = time.monotonic()
    for step in range(40, 1000):
        writer.write({"train/loss": step / 2}, {}, step)
    assert run.sync()
    assert time.monotonic() - begin < 3, "logging waits for the server"
    assert not run.flush(10)
    proxy.silent = False
    proxy.cut_all()
    assert run.flush(60)
    report = run.close()
    assert (report.lost, report.pending) == (0, 0)
    assert count_pending(outbox) == 0
    assert points(uri, run.run_id, "train/loss") == [(step, step / 2) for step in range(1000)]
