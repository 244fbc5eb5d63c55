"""One SQLite store for the whole folder: creating it takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tracking import TrackedRun, resolve_tracking_uri


@pytest.fixture(autouse=True)
def _empty_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test runs in an empty folder, into which MLflow must write nothing."""
    folder = tmp_path / "working folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield
    assert [path.name for path in folder.iterdir()] == []


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder; its name has a blank, as folders of people have."""
    return tmp_path_factory.mktemp("tracking") / "the home"


@pytest.fixture
def uri(home: Path) -> str:
    return resolve_tracking_uri(None, home)


@pytest.fixture
def run(uri: str, home: Path) -> Iterator[TrackedRun]:
    with TrackedRun.open(uri, "tests", "a run", home=home) as opened:
        yield opened
