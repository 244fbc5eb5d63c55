"""A real server on loopback, stopped and started again under a run."""

import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from configs import PROJECT
from tracking import (
    ModelVersion,
    RunningServer,
    TrackedRun,
    TrackingError,
    registered_names,
    resolve_model,
    server_command,
    wait_for_server,
)
from tracking.client import connect
from tracking.models import digest
from tracking.probe import check_writable

pytestmark = pytest.mark.one_python


def status(url: str, host: str | None = None, *, origin: str | None = None, method: str = "GET", **headers: str) -> int:
    headers |= ({"Host": host} if host else {}) | ({"Origin": origin} if origin else {})
    request = urllib.request.Request(url, b"{}" if method == "POST" else None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_command_shows_no_password_and_binds_to_loopback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://bucket/mario")
    command = server_command("postgresql://mario:known-password@db/mlflow", home, port=5055)
    assert "known-password" not in " ".join(command.arguments)
    assert command.environment["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg2://mario:known-password@db/mlflow"
    assert command.url == "http://127.0.0.1:5055"
    assert command.arguments[command.arguments.index("--default-artifact-root") + 1] == "s3://bucket/mario"
    assert command.arguments[command.arguments.index("--host") + 1] == "127.0.0.1"
    with pytest.raises(TrackingError, match="is already an MLflow server"):
        server_command("http://h:5000", home)


def test_a_server_that_does_not_come_up_is_said_so() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(TrackingError, match="exit code 3"):
        wait_for_server("http://127.0.0.1:1", process=process, timeout=30)
    with pytest.raises(TrackingError, match="did not answer within 0 s"):
        wait_for_server("http://127.0.0.1:1", timeout=0.3)


@pytest.mark.timeout(180)
def test_a_run_survives_its_server(
    uri: str, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    log = tmp_path / "server.log"
    with RunningServer.start(uri, home, port=0, log=log) as server:
        port = int(server.url.rpartition(":")[2])
        assert status(f"{server.url}/") == 200
        assert status(f"{server.url}/api/2.0/mlflow/experiments/search?max_results=1", "evil.example") == 403
        search = f"{server.url}/api/2.0/mlflow/experiments/search"
        foreign, own = "https://evil.example", server.url
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        assert status(search, origin=foreign, method="POST") == 403
        assert status(search, origin=foreign, method="OPTIONS", **asks) == 400
        assert status(f"{server.url}/graphql", origin=foreign, method="OPTIONS", **asks) == 400
        assert status(search, origin=own, method="OPTIONS", **asks) < 300
        # Whoever may set up the assistant and write to it runs commands as the user of the server.
        assert status(f"{server.url}/ajax-api/3.0/mlflow/assistant/config") == 404
        assert status(f"{server.url}/ajax-api/3.0/mlflow/assistant/message", method="POST") == 404
        assert check_writable(server.url, home, "probed") == server.url
        with pytest.raises(TrackingError, match=f"port {port} is taken"):
            RunningServer.start(uri, home, port=port)
        # As on a team's server, which keeps the artifacts and sends them over HTTP.
        connect(server.url).create_experiment("through a server", artifact_location="mlflow-artifacts:/proxied")
        assert check_writable(server.url, home, "through a server") == server.url
        assert not list((home / "mlflow" / "artifacts" / "proxied").glob("*")), "the probe left something behind"
        run = TrackedRun.open(server.url, "through a server", "survivor")
        run.log_metrics({"reward": 1.0}, 1)
        assert run.metric("reward") == 1.0
        (tmp_path / "agent").write_bytes(b"weights")
        version = register_without_loading(run, tmp_path)
        run.log_evaluation(version.uri, {"greedy/completion": 0.5}, step=1)
        fetched = resolve_model("served", server.url, downloads=tmp_path / "downloads")
        assert digest(fetched) == version.sha256
        assert fetched.is_relative_to(tmp_path / "downloads")
        before = fetched.stat().st_mtime_ns
        assert resolve_model(version.uri, server.url, downloads=tmp_path / "downloads") == fetched
        assert fetched.stat().st_mtime_ns == before
        (tmp_path / "temporary").mkdir()
        code = "import sys; from tracking import resolve_model; print(resolve_model('served', sys.argv[1]))"
        command = [sys.executable, "-c", code, server.url]
        variables = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
        done = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(str(tmp_path / "temporary" / "train-mario-"))
        assert list((tmp_path / "temporary").glob("train-mario-*")) == [], "it left its copy behind"
        with TrackedRun.open(server.url, "both ways", "through the server") as both:
            both.log_dict({"a": 1}, "a.json")

    with caplog.at_level(logging.WARNING):
        for step in range(2, 50):
            run.log_metrics({"reward": step}, step)
        assert run.flush() is False
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == ["tracking.delivery"]

    with TrackedRun.open(uri, "both ways", "straight", run_id=both.run_id) as straight:
        straight.log_dict({"b": 1}, "b.json")
    assert straight.close().lost == 0
    assert sorted(file.path for file in connect(uri).list_artifacts(both.run_id)) == ["a.json", "b.json"]

    with RunningServer.start(uri, home, port=port, log=log):
        assert run.close().lost == 0
    assert [point.step for point in connect(uri).get_metric_history(run.run_id, "reward")] == list(range(1, 50))
    assert connect(uri).get_run(run.run_id).info.status == "FINISHED"
    assert [metric.value for metric in connect(uri).get_logged_model(version.model_id).metrics or []] == [0.5]


def register_without_loading(run: TrackedRun, folder: Path) -> ModelVersion:
    code = folder / "model.py"
    code.write_text("from tracking.served_model import serve\nserve(lambda path: None)\n", encoding="utf-8")
    return run.register_model("served", folder / "agent", python_model=code, input_example=np.zeros((1, 4)))


def test_the_probe_leaves_nothing_behind(uri: str, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mlflow.entities import ViewType

    with TrackedRun.open(uri, "probed", "before") as run:
        run.log_dict({}, "a.json")
    before = everything(uri, home)
    assert check_writable(uri, home, "probed") == uri
    assert everything(uri, home) == before
    assert len(connect(uri).search_runs([run.experiment_id], run_view_type=ViewType.ALL)) == 1
    assert caplog.records == []


def everything(uri: str, home: Path) -> tuple[dict[str, int], list[Path]]:
    """The number of rows of every table of the store, and all of its artifacts."""
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counts = {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}  # noqa: S608
    return counts, sorted((home / "mlflow" / "artifacts").rglob("*"))


def test_the_probe_finds_an_artifact_store_that_cannot_be_written_to(uri: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    connect(uri).create_experiment("no place", artifact_location=(tmp_path / "file" / "artifacts").as_uri())
    with pytest.raises(TrackingError, match="cannot be written to"):
        check_writable(uri, home, "no place")
    assert not [name for name in registered_names(uri) if name.startswith("smoke-test")]


def test_the_probe_finds_an_experiment_that_was_deleted(uri: str, home: Path) -> None:
    client = connect(uri)
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(TrackingError, match="was deleted: restore it"):
        check_writable(uri, home, "gone")


def test_readers_and_the_writer_do_not_block_each_other(uri: str, home: Path) -> None:
    connect(uri)
    database = sqlite3.connect(uri.removeprefix("sqlite:///"))
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()
