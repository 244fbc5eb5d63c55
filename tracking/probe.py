"""Checks that MLflow can be written to, before a training depends on it. Nothing is left behind.

A run is not suitable, because MLflow only marks a run as deleted. A registered model and an artifact are deleted for good, and
a training needs both the registry and the artifact store at its end.
"""

import contextlib
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from configs.masking import mask_url
from tracking.client import connect, experiment_id, translate_errors, without_password
from tracking.errors import TrackingError
from tracking.location import normalise

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

_CONTENT = "written by the smoke test"


def check_writable(uri: str, home: Path, experiment: str) -> str:
    """Write to the registry and the artifact store of `uri`, read it back, and delete it.

    Args:
        uri: the store, as :func:`tracking.resolve_tracking_uri` returns it.
        home: the project's folder.
        experiment: the MLflow experiment of the training; created if it is missing, as the training would.

    Returns:
        The store's URI, with its password masked.

    Raises:
        TrackingError: the store cannot be reached, refuses, or returns something else.
    """
    uri = normalise(uri)
    client = connect(uri)
    name = f"smoke-test-{uuid.uuid4().hex}"
    with translate_errors(uri, "it cannot be written to"):
        number = experiment_id(client, uri, experiment, home)
        _check_registry(client, uri, name)
        _check_artifacts(client.get_experiment(number).artifact_location, uri, name)
    return mask_url(uri)


def _check_registry(client: "MlflowClient", uri: str, name: str) -> None:
    client.create_registered_model(name, description=_CONTENT)
    try:
        read = client.get_registered_model(name).description
    finally:
        with _errors_logged(uri, f"the registered model {name}"):
            client.delete_registered_model(name)
    if read != _CONTENT:
        raise TrackingError(f"MLflow at {mask_url(uri)} was given {_CONTENT!r} and returned {read!r}")


def _check_artifacts(location: str, uri: str, name: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store: Any = get_artifact_repository(location, tracking_uri=uri)
    with TemporaryDirectory(prefix="train-mario-") as folder:
        file = Path(folder) / "probe.txt"
        file.write_text(_CONTENT, encoding="utf-8")
        try:
            store.log_artifact(str(file), name)
            sizes = [each.file_size for each in store.list_artifacts(name)]
        finally:
            with _errors_logged(uri, f"the artifact folder {name}"):
                store.delete_artifacts(name)
    if sizes != [len(_CONTENT)]:
        raise TrackingError(f"MLflow at {mask_url(uri)} was given an artifact of {len(_CONTENT)} bytes and lists {sizes}")


@contextlib.contextmanager
def _errors_logged(uri: str, what: str) -> Iterator[None]:
    """Log errors of the block: a user who may write but not delete can still train."""
    try:
        yield
    except Exception as error:
        logger.warning("MLflow at %s does not delete %s: %s", mask_url(uri), what, without_password(str(error), uri))
