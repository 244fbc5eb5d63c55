"""Errors from outside give a message and a log file; bugs in the program keep their traceback."""

import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import pydantic
import pytest
import requests
import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from configs import ConfigError
from flows.faults import _Formatter, describe_fault

AWAY = "postgresql+psycopg2://mario:hunter2@127.0.0.1:1/mario"


def raised(action: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the caller checks the type)
        action()
    return caught.value


def connect_to_postgres() -> None:
    sqlalchemy.create_engine(AWAY).connect()


def ask_mlflow() -> None:
    MlflowClient("nonsense://nowhere").search_experiments()


def read_nothing() -> None:
    Path("/proc/no/file").read_text()


def read_a_setting() -> None:
    pydantic.TypeAdapter(dict[str, pydantic.HttpUrl]).validate_python({"url": "http://u:hunter2@[::1"})


def bug() -> None:
    raise RuntimeError("a bug")


def type_error() -> None:
    len(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("action", "kind", "start"),
    [
        (connect_to_postgres, sqlalchemy.exc.OperationalError, "the database: OperationalError: "),
        (lambda: httpx.get("http://127.0.0.1:1"), httpx.ConnectError, "a server: http://127.0.0.1:1: ConnectError: "),
        (lambda: requests.get("http://u:hunter2@127.0.0.1:1"), requests.RequestException, "a server: http://127.0.0.1:1: "),
        (ask_mlflow, MlflowException, "MLflow: "),
        (read_nothing, FileNotFoundError, "FileNotFoundError: "),
        (read_a_setting, pydantic.ValidationError, "a setting: ValidationError: url: Input should be a valid URL"),
    ],
)
def test_an_error_from_outside_gives_a_message_and_a_file(
    tmp_path: Path, action: Callable[[], object], kind: type[Exception], start: str
) -> None:
    error = raised(action)
    assert isinstance(error, kind)
    message = describe_fault(error, tmp_path)
    assert message is not None
    assert message.startswith(start)
    assert "hunter2" not in message
    first, last = message.splitlines()
    assert len(first) < 600
    kept = Path(last.removeprefix("the traceback is in "))
    assert kept.parent == tmp_path / "logs"
    assert kept.stat().st_mode & 0o077 == 0
    text = kept.read_text()
    assert "Traceback (most recent call last)" in text
    assert action.__name__ in text
    assert "hunter2" not in text


@pytest.mark.parametrize("action", [bug, type_error])
def test_a_bug_gives_no_message(tmp_path: Path, action: Callable[[], object]) -> None:
    assert describe_fault(raised(action), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_message_is_given_even_if_the_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    message = describe_fault(raised(read_nothing), tmp_path)
    assert message is not None
    assert message.endswith("(the traceback could not be written)")


def test_the_only_error_of_a_group_is_treated_as_the_error(tmp_path: Path) -> None:
    group = ExceptionGroup("unhandled errors in a TaskGroup", [raised(read_nothing)])
    message = describe_fault(group, tmp_path)
    assert message is not None
    assert message.startswith("FileNotFoundError: ")
    assert describe_fault(ExceptionGroup("two", [OSError(), TypeError()]), tmp_path) is None


@pytest.mark.parametrize(
    ("error", "shown"), [(ConfigError("a wrong key"), False), (OSError("full"), False), (TypeError("?"), True)]
)
def test_the_console_shows_only_tracebacks_of_bugs(tmp_path: Path, error: Exception, shown: bool) -> None:
    record = logging.LogRecord("prefect", logging.ERROR, __file__, 1, "it failed: %s", (error,), (type(error), error, None))
    text = _Formatter(logging.Formatter("%(levelname)s | %(message)s"), tmp_path).format(record)
    assert text.startswith(f"ERROR | it failed: {error}\n")
    assert (f"{type(error).__name__}: {error}" in text) is shown
    assert ("the traceback is in" in text) is not shown
    assert record.exc_info is not None, "Prefect's page gets it"
