"""MLflow's client, set up so that it sends no telemetry, writes nothing into the working folder, and logs little."""

import hashlib
import logging
import os
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from configs.masking import mask_secrets_of, mask_url
from spool import StoppedError
from tracking.delivery import THREAD_NAME
from tracking.errors import TrackingError
from tracking.location import artifact_root, normalise, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_ENVIRONMENT = {
    # Both are read at each use, so setting them before the first call is enough. DO_NOT_TRACK must be "true", not 1.
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # `tracking.delivery` repeats a request that fails; MLflow's own 7 retries take minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_NOISY_LOGGERS = ("alembic", "mlflow", "mlflow.store", "mlflow.pyfunc", "mlflow.models", "mlflow.tracking")
_LOGGERS_OF_DELIVERY = ("mlflow.store.db.utils", "urllib3.connectionpool")

_RACES = 10  # attempts to write a row that other processes write too
_ROW_EXISTS = ("UNIQUE constraint failed", "duplicate key value", "Duplicate entry")  # SQLite, Postgres, MySQL

_MAX_FOLDER_BYTES = 200  # file systems allow 255

_prepared: set[str] = set()
_lock = threading.RLock()


def environment() -> dict[str, str]:
    """The environment variables of a process that runs MLflow: no telemetry, few retries, no progress bars."""
    return dict(_ENVIRONMENT)


def connect(uri: str) -> "MlflowClient":
    """A client for the store at `uri`; creates an SQLite store if it is missing.

    Args:
        uri: as :func:`tracking.location.resolve_tracking_uri` returns it.

    Raises:
        TrackingError: the store cannot be reached or opened; the message masks the password.
    """
    uri = normalise(uri)
    with _lock:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        mlflow_client = _import_client()
        if uri not in _prepared:
            with translate_errors(uri, "cannot be opened"):
                if (database := sqlite_path(uri)) is not None:
                    _create_sqlite(database)
                client = mlflow_client(tracking_uri=uri, registry_uri=uri)
                client.search_experiments(max_results=1)
            _prepared.add(uri)
    return mlflow_client(tracking_uri=uri, registry_uri=uri)


@contextmanager
def translate_errors(uri: str, what: str) -> Iterator[None]:
    """Turn errors of MLflow and its databases into a :class:`TrackingError` that names the store, without a password.

    A :class:`spool.StoppedError` passes unchanged.

    Args:
        uri: the store.
        what: what failed, for the message.
    """
    try:
        yield
    except (TrackingError, StoppedError):
        raise
    except Exception as error:
        reason = without_password(str(error) or type(error).__name__, uri)
        hint = ""
        if "out-of-date database schema" in reason:
            hint = f" (make a copy of the database, then run: python -m mlflow db upgrade {mask_url(uri)})"
        raise TrackingError(f"MLflow at {mask_url(uri)}: {what}: {reason}{hint}") from None


def without_password(message: str, uri: str) -> str:
    """The first 500 characters of `message` on one line, with the secrets of `uri` masked."""
    return " ".join(mask_secrets_of(message, uri).split())[:500]


def after_races(write: Callable[[], Result]) -> Result:
    """Call `write`, and call it again where another process has inserted the same row first.

    MLflow looks a dataset, or an alias, up in its database and inserts it where it is missing, without a lock. Of two processes
    that do so at the same time, one is refused by the database. MLflow reports that as BAD_REQUEST, with the driver's message.
    The next attempt finds the other's row.

    Raises:
        MlflowException: as `write` raises it; a lost race only after the last attempt.
    """
    from mlflow.exceptions import MlflowException

    for _ in range(_RACES - 1):
        try:
            return write()
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST" or not any(words in str(error) for words in _ROW_EXISTS):
                raise
    return write()


def experiment_id(client: "MlflowClient", uri: str, name: str, home: Path | None = None) -> str:
    """The id of the MLflow experiment `name`; creates it if it is missing, with its files below :func:`artifact_root`."""
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
        location = None if root is None else f"{root}/{quote(_folder(name))}"
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # else another process was faster
                raise
    raise TrackingError(f"the MLflow experiment {name!r} could be neither found nor created")


def find_run(client: "MlflowClient", tag: str, value: str) -> str | None:
    """The id of the newest run that has this value of a tag and is not deleted; None if none has."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.{tag} = '{value}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _folder(name: str) -> str:
    """A folder's name for an MLflow experiment: the experiment's own if a file system allows it."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    if plain == name and len(name.encode()) <= _MAX_FOLDER_BYTES and name.strip("."):
        return name
    # The digest keeps names apart that differ only in replaced or cut characters.
    return f"{plain.strip('.')[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _import_client() -> "type[MlflowClient]":
    # Deprecations inside MLflow concern its authors, not the person who runs a training; only those that MLflow's own code
    # causes are ignored. Set at each call because a test, or `catch_warnings`, may have removed the filter.
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category, module=r"mlflow(\.|$)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's dependencies warn too
        from mlflow import MlflowClient
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _LOGGERS_OF_DELIVERY:
        target = logging.getLogger(name)
        if _not_from_delivery not in target.filters:
            target.addFilter(_not_from_delivery)
    return MlflowClient


def _not_from_delivery(record: logging.LogRecord) -> bool:
    # The delivery thread reports a failure once, in one line; these loggers would add a traceback for each attempt.
    return record.threadName != THREAD_NAME


def _create_sqlite(database: Path) -> None:
    """Create the SQLite store under another name and move it into place.

    MLflow migrates an empty database through dozens of revisions without a lock. A process that is killed in between would
    leave half a schema, and a second process would meet one; no later start repairs it.
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
            os.link(fresh, database)  # unlike a rename it does not replace a database that another process has created
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if not database.exists():
                fresh.rename(database)
    finally:
        fresh.unlink(missing_ok=True)
    _enable_write_ahead_log(database)


def _migrate(database: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store_class: Any = SqlAlchemyStore
    store = store_class(f"sqlite:///{database.as_posix()}", artifacts.as_uri())
    store.engine.dispose()


def _enable_write_ahead_log(database: Path) -> None:
    # With it the UI can read while a training writes; the file remembers the mode.
    connection = sqlite3.connect(database)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
