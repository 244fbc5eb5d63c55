"""Where MLflow keeps its data: tracking URIs and artifact folders."""

import os
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from configs.masking import mask_url
from tracking.errors import TrackingError

DATABASE_FILE = "mlflow.db"
ARTIFACT_FOLDER = "artifacts"
ARTIFACT_ROOT = "MLFLOW_DEFAULT_ARTIFACT_ROOT"
"""MLflow's own environment variable for where the files of new experiments are kept."""

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


def artifact_root(uri: str, home: Path | None) -> str | None:
    """The URL under which the files of new MLflow experiments are kept; None for a server, which decides that itself.

    It is MLFLOW_DEFAULT_ARTIFACT_ROOT if that is set. Otherwise it is a folder beside an SQLite file, or below `home` for a
    database that is reached by a Unix socket, because both are on this machine.

    Raises:
        TrackingError: other machines can use the database too. What one of them kept in its `home`, no other could read.
    """
    if is_server(uri):
        return None
    if chosen := os.environ.get(ARTIFACT_ROOT, "").strip():
        return chosen.rstrip("/") if urlsplit(chosen).scheme else Path(chosen).absolute().as_uri()
    database = sqlite_path(uri)
    if database is not None:
        return (database.parent / ARTIFACT_FOLDER).as_uri()
    if home is None:
        raise TrackingError(f"{mask_url(uri)} keeps no files: pass a folder for them (home)")
    folder = home.absolute() / "mlflow" / ARTIFACT_FOLDER
    if not _by_socket(uri):
        raise TrackingError(
            f"MLflow's database {mask_url(uri)} (MLFLOW_TRACKING_URI) can be used by several machines, but models and reports "
            f"would be kept in {folder}, which only this machine can read. Set {ARTIFACT_ROOT} to s3://BUCKET/FOLDER, or to a "
            "folder that all machines have at the same place; or set MLFLOW_TRACKING_URI to the address of an MLflow server "
            "(http://HOST:PORT), which keeps the files itself"
        )
    return folder.as_uri()


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


def _by_socket(uri: str) -> bool:
    """Whether a database is reached by a Unix socket, so that no other machine can use it under this URI."""
    parts = urlsplit(uri)
    hosts = parse_qs(parts.query).get("host", [])
    return parts.scheme.startswith("postgresql") and not parts.hostname and all(host.startswith("/") for host in hosts)


def _sqlite_uri(path: Path) -> str:
    return f"sqlite:///{path.as_posix()}"
