"""Where MLflow keeps its data: tracking URIs and artifact folders."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from configs.masking import mask_url
from tracking.errors import TrackingError

DATABASE_FILE = "mlflow.db"
ARTIFACT_FOLDER = "artifacts"

SERVER_PAGE = "MARIO_MLFLOW_PAGE"
"""Environment variable with the address of the MLflow server that `mario ui` runs on the local store, for links to it."""

_SERVERS = ("http", "https")
_DATABASES = ("sqlite", "postgresql+psycopg2", "mysql+pymysql", "mssql+pymssql")


def resolve_tracking_uri(uri: str | None, home: Path) -> str:
    """The tracking URI to use: `uri`, else the environment's MLFLOW_TRACKING_URI, else SQLite below `home`.

    Args:
        uri: an explicit URI; None or empty: use the environment or the default.
        home: the project's folder for everything a run writes; the default store is `home/mlflow/mlflow.db`.

    Returns:
        A URI MLflow accepts. `postgresql://` names the driver psycopg2, which is the one installed (SQLAlchemy 2.1 would take
        psycopg 3). A relative SQLite path is made absolute, so that it names the same file in every working folder.

    Raises:
        TrackingError: the project cannot use the URI's scheme.
    """
    chosen = (uri or "").strip() or os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not chosen:
        return _sqlite_uri(home.absolute() / "mlflow" / DATABASE_FILE)
    return normalise(chosen)


def normalise(uri: str) -> str:
    """`uri` with its driver named and its SQLite path absolute; see :func:`resolve_tracking_uri`."""
    uri = re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", uri)
    path = sqlite_path(uri)
    if path is not None:
        return _sqlite_uri(path.absolute())
    scheme = urlsplit(uri).scheme
    if scheme not in (*_SERVERS, *_DATABASES):
        raise TrackingError(
            f"the tracking URI {mask_url(uri)!r} (MLFLOW_TRACKING_URI) cannot be used: write http://HOST:PORT of an MLflow "
            "server, sqlite:////FOLDER/mlflow.db or postgresql://USER:PASSWORD@HOST/DATABASE; unset it to use SQLite below "
            ".mario/"
        )
    return uri


def sqlite_path(uri: str) -> Path | None:
    """The database file of an SQLite URI, None for any other kind of URI."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)) if uri.startswith(prefix) else None


def is_server(uri: str) -> bool:
    """Whether the URI is that of an MLflow server, which decides where artifacts are kept."""
    return urlsplit(uri).scheme in _SERVERS


def artifact_root(uri: str, home: Path | None) -> Path | None:
    """The folder for artifacts: beside an SQLite file, below `home` for another database, None for a server.

    Raises:
        TrackingError: a database other than SQLite is used directly and `home` is None. MLflow would write artifacts
            into the working folder.
    """
    if is_server(uri):
        return None
    database = sqlite_path(uri)
    if database is not None:
        return database.parent / ARTIFACT_FOLDER
    if home is None:
        raise TrackingError(f"{mask_url(uri)} keeps no artifacts: pass a folder for them (home)")
    return home.absolute() / "mlflow" / ARTIFACT_FOLDER


def run_url(uri: str, experiment_id: str, run_id: str) -> str:
    """The run's page on the server, or how to open it on the local store.

    A process that `mario ui` has started knows the address of the server.
    """
    page = f"/#/experiments/{experiment_id}/runs/{run_id}"
    if is_server(uri):
        return mask_url(uri).rstrip("/") + page
    if server := os.environ.get(SERVER_PAGE):
        return server + page
    return f"mario ui, then http://127.0.0.1:5000{page}"


def _sqlite_uri(path: Path) -> str:
    return f"sqlite:///{path.as_posix()}"
