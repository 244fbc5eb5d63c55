"""The way to MLflow: its client, set up so that it neither phones home, nor writes into the working folder, nor chatters."""

import hashlib
import logging
import os
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.masking import mask_secrets_of, mask_url
from tracking.delivery import THREAD_NAME
from tracking.errors import TrackingError
from tracking.location import artifact_root, normalise, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

_ENVIRONMENT = {
    # Both are read each time, so it is enough that they are set before the first call. DO_NOT_TRACK must be the word.
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A delivery that fails is tried again by `tracking.delivery`; MLflow's own 7 retries hold a request for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_CHATTERING = ("alembic", "mlflow", "mlflow.store", "mlflow.pyfunc", "mlflow.models", "mlflow.tracking")
_REPORTED_BY_DELIVERY = ("mlflow.store.db.utils", "urllib3.connectionpool")

_LONGEST_FOLDER = 200  # bytes; file systems take 255

_prepared: set[str] = set()
_lock = threading.RLock()


def environment() -> dict[str, str]:
    """The variables that keep MLflow quiet, for the environment of a process that runs it."""
    return dict(_ENVIRONMENT)


def connect(uri: str, home: Path | None = None) -> "MlflowClient":
    """A client for the store at `uri`; creates an SQLite store that is not there yet.

    Args:
        uri: as :func:`tracking.location.resolve_tracking_uri` returns it.
        home: the folder for artifacts (`home/mlflow/artifacts`) where `uri` is a database other than SQLite.

    Raises:
        TrackingError: the store cannot be reached or opened; the message masks the password.
    """
    uri = normalise(uri)
    with _lock:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        mlflow_client = _import_client()
        if uri not in _prepared:
            with speaking_errors(uri, "cannot be opened"):
                _prepare(uri, home)
                client = mlflow_client(tracking_uri=uri, registry_uri=uri)
                client.search_experiments(max_results=1)
            _prepared.add(uri)
    return mlflow_client(tracking_uri=uri, registry_uri=uri)


@contextmanager
def speaking_errors(uri: str, what: str) -> Iterator[None]:
    """Turns what MLflow and its databases raise into a :class:`TrackingError` that names the store, without a password."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        reason = without_password(str(error) or type(error).__name__, uri)
        hint = ""
        if "out-of-date database schema" in reason:
            hint = f" (make a copy of the database, then run: python -m mlflow db upgrade {mask_url(uri)})"
        raise TrackingError(f"MLflow at {mask_url(uri)}: {what}: {reason}{hint}") from None


def without_password(message: str, uri: str) -> str:
    """The first lines of `message`, with the secrets of `uri` masked wherever they stand."""
    return " ".join(mask_secrets_of(message, uri).split())[:500]


def experiment_id(client: "MlflowClient", uri: str, name: str, home: Path | None = None) -> str:
    """The id of the MLflow experiment `name`, which is created with an artifact folder outside the working folder."""
    from mlflow.exceptions import MlflowException

    for _ in range(2):
        found = client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                raise TrackingError(
                    f"the MLflow experiment {name!r} was deleted: restore it, or set another tracking.experiment"
                )
            return str(found.experiment_id)
        root = artifact_root(uri, home)
        location = None if root is None else (root / _folder(name)).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # else: another process was faster
                raise
    raise TrackingError(f"the MLflow experiment {name!r} could be neither found nor created")


def find_run(client: "MlflowClient", experiment: str, tag: str, value: str) -> str | None:
    """The id of the newest run of an experiment (its id) that has this value of a tag and was not deleted; None if none has."""
    found = client.search_runs([experiment], f"tags.{tag} = '{value}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _folder(name: str) -> str:
    """A folder's name for an MLflow experiment: its own where a file system takes it."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    if plain == name and len(name.encode()) <= _LONGEST_FOLDER and name.strip("."):
        return name
    # Two names must not share a folder because they differ in what was replaced or cut off only.
    return f"{plain.strip('.')[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _import_client() -> "type[MlflowClient]":
    # Deprecations inside MLflow are for its authors, not for who runs a training. Only those that MLflow's own lines cause;
    # installed each time because a test, or `catch_warnings`, may have taken the filter away.
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category, module=r"mlflow(\.|$)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what MLflow imports warns on its own
        from mlflow import MlflowClient
    for name in _CHATTERING:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _REPORTED_BY_DELIVERY:
        target = logging.getLogger(name)
        if _not_from_delivery not in target.filters:
            target.addFilter(_not_from_delivery)
    return MlflowClient


def _not_from_delivery(record: logging.LogRecord) -> bool:
    # The delivery thread reports a failure once, in one line; these loggers add a traceback for each attempt.
    return record.threadName != THREAD_NAME


def _prepare(uri: str, home: Path | None) -> None:
    database = sqlite_path(uri)
    if database is not None:
        _create_sqlite(database)
    else:
        artifact_root(uri, home)


def _create_sqlite(database: Path) -> None:
    """Creates the SQLite store under another name and moves it into place.

    MLflow migrates an empty database through dozens of revisions and takes no lock: a process that is killed meanwhile, or a
    second one that starts, would leave or meet half a schema that no later start repairs.
    """
    if database.exists() and database.stat().st_size > 0:
        return
    logger.info("creating MLflow's database %s; this takes some seconds and happens once", database)
    database.parent.mkdir(parents=True, exist_ok=True)
    fresh = database.with_name(f".{database.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    try:
        _migrate(fresh, database.parent / "artifacts")
        if database.exists() and database.stat().st_size == 0:
            database.unlink()
        try:
            os.link(fresh, database)  # unlike a rename it does not replace what another process has put there
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if not database.exists():
                fresh.rename(database)
    finally:
        fresh.unlink(missing_ok=True)
    _keep_readers_and_writer_apart(database)


def _migrate(database: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store_class: Any = SqlAlchemyStore
    store = store_class(f"sqlite:///{database.as_posix()}", artifacts.as_uri())
    store.engine.dispose()


def _keep_readers_and_writer_apart(database: Path) -> None:
    # With a write-ahead log the UI can read while a training writes; the file remembers the mode.
    connection = sqlite3.connect(database)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
