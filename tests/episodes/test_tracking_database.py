"""MLflow's data in a Postgres that machines share: its files must be where all of them can read them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy import create_engine, inspect

from configs import PROJECT
from tests.episodes.conftest import PASSWORD, Server
from tracking import TrackedRun, resolve_tracking_uri
from tracking.client import connect
from tracking.registry import Registry

pytestmark = pytest.mark.one_python

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The name of an empty database."""
    name = server.new_database()
    yield name
    server.drop_database(name)


def test_a_shared_database_is_refused_before_any_work(server: Server, database: str, mario: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    address = server.by_tcp.set(database=database).render_as_string(hide_password=False)
    done = mario("run", TINY, MARIO_HOME=str(home), MLFLOW_TRACKING_URI=address)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"models and reports would be kept in {home}/mlflow/artifacts" in done.stderr
    assert "Set MLFLOW_DEFAULT_ARTIFACT_ROOT to s3://BUCKET/FOLDER" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert "Starting temporary server" not in done.stdout + done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []
    engine = create_engine(server.by_socket.set(database=database))
    assert inspect(engine).get_table_names() == []
    engine.dispose()


@pytest.mark.timeout(180)  # MLflow makes its tables
def test_with_a_shared_folder_one_machine_reads_what_another_wrote(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared folder"
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", str(shared))
    uri = server.by_tcp.set(database=database).render_as_string(hide_password=False)
    homes = [tmp_path / "one", tmp_path / "other"]
    for number, home in enumerate(homes):
        with TrackedRun.open(resolve_tracking_uri(uri, home), "mario-1-1", f"run {number}", key="a run", home=home) as run:
            assert run.resumed == bool(number)
            run.log_dict({"number": number}, f"{number}.json")
    artifacts = Path(unquote(urlsplit(connect(uri).get_run(run.run_id).info.artifact_uri).path))
    assert artifacts.is_relative_to(shared / "mario-1-1")
    assert sorted(path.name for path in artifacts.iterdir()) == ["0.json", "1.json"]
    assert not any(home.exists() for home in homes)
    assert Registry(uri).at_alias("mario-1-1", "champion") is None, "to read, no place for files is needed"
