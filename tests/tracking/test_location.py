from pathlib import Path

import pytest

from tracking.errors import TrackingError
from tracking.location import SERVER_PAGE, artifact_root, resolve_tracking_uri, run_url


def test_default_is_sqlite_below_home(tmp_path: Path) -> None:
    assert resolve_tracking_uri(None, tmp_path) == f"sqlite:///{tmp_path.as_posix()}/mlflow/mlflow.db"


def test_relative_home_is_made_absolute() -> None:
    uri = resolve_tracking_uri(None, Path(".mario"))
    assert uri == f"sqlite:///{Path.cwd().as_posix()}/.mario/mlflow/mlflow.db"


def test_environment_overrides_the_default_and_an_argument_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    assert resolve_tracking_uri(None, tmp_path) == "http://tracking.example:5000"
    assert resolve_tracking_uri("https://other.example", tmp_path) == "https://other.example"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "  ")
    assert resolve_tracking_uri(None, tmp_path).startswith("sqlite:///")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_postgres_names_its_driver(scheme: str, tmp_path: Path) -> None:
    assert resolve_tracking_uri(f"{scheme}://u:p@h/d", tmp_path) == "postgresql+psycopg2://u:p@h/d"


def test_relative_sqlite_path_is_made_absolute(tmp_path: Path) -> None:
    assert resolve_tracking_uri("sqlite:///here.db", tmp_path) == f"sqlite:///{Path.cwd().as_posix()}/here.db"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "mlruns", "postgresql+psycopg://u:secret@h/d"])
def test_what_mlflow_cannot_use_is_refused_with_advice(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="unset it to use SQLite") as caught:
        resolve_tracking_uri(uri, tmp_path)
    assert "secret" not in str(caught.value)


def test_files_never_go_to_the_working_folder(tmp_path: Path) -> None:
    assert artifact_root(f"sqlite:///{tmp_path.as_posix()}/x.db", None) == (tmp_path / "artifacts").as_uri()
    assert artifact_root("http://127.0.0.1:5000", None) is None
    by_socket = f"postgresql+psycopg2://u:secret@/d?host={tmp_path}"
    assert artifact_root(by_socket, tmp_path) == (tmp_path / "mlflow" / "artifacts").as_uri()
    with pytest.raises(TrackingError, match="pass a folder for them") as caught:
        artifact_root(by_socket, None)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["h/d", "127.0.0.1:5432/d", "/d?host=db.example.org"])
def test_a_shared_database_without_a_place_for_files_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"postgresql+psycopg2://u:secret@{address}"
    with pytest.raises(TrackingError, match=r"which only this machine can read\. Set MLFLOW_DEFAULT_ARTIFACT_ROOT") as caught:
        artifact_root(uri, tmp_path)
    assert "secret" not in str(caught.value)
    for chosen, root in (("s3://bucket/mario/", "s3://bucket/mario"), (str(tmp_path), tmp_path.as_uri())):
        monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", chosen)
        assert artifact_root(uri, tmp_path) == root


def test_run_url(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_url("http://u:p@h:5000/", "1", "abc") == "http://u:***@h:5000/#/experiments/1/runs/abc"
    assert run_url("sqlite:////a.db", "1", "abc").startswith("mario ui")
    monkeypatch.setenv(SERVER_PAGE, "http://127.0.0.1:5050")
    assert run_url("sqlite:////a.db", "1", "abc") == "http://127.0.0.1:5050/#/experiments/1/runs/abc"
