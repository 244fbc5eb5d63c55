"""Requests to MLflow that continue a run, and that deliver what was logged."""

import json
from typing import TYPE_CHECKING, Any

from configs.masking import mask_url
from tracking.client import after_races, without_password
from tracking.datasets import dataset_input
from tracking.delivery import Entry, RefusedError
from tracking.errors import RunNotFoundError, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow's codes for a request that it would refuse again; other errors may be the network, a lock or a restart.
_FINAL = {
    "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED",
    "BAD_REQUEST", "INVALID_STATE", "MALFORMED_REQUEST", "ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED",
}  # fmt: skip


def continue_run(client: "MlflowClient", uri: str, run_id: str) -> "Run":
    """Set the state of a run to RUNNING again; returns the run.

    Raises:
        RunNotFoundError: it does not exist, or was deleted.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise RunNotFoundError(f"MLflow at {mask_url(uri)} has no run {run_id!r} to continue") from None
    if run.info.lifecycle_stage == "deleted":
        raise RunNotFoundError(f"MLflow's run {run_id} was deleted: restore it, or start a new run")
    client.update_run(run_id, status="RUNNING")
    return run


def send(client: "MlflowClient", uri: str, run_id: str, entry: Entry) -> None:
    """Deliver one entry.

    Raises:
        RefusedError: MLflow refuses it and would refuse it again.
        TrackingError: it may succeed later.
    """
    from mlflow.exceptions import MlflowException

    try:
        _send(client, run_id, entry)
    except MlflowException as error:
        message = without_password(str(error), uri)
        raise RefusedError(message) if error.error_code in _FINAL else TrackingError(message) from None
    except Exception as error:
        raise TrackingError(without_password(str(error) or type(error).__name__, uri)) from None


def _send(client: "MlflowClient", run_id: str, entry: Entry) -> None:
    from mlflow.entities import Metric, Param, RunTag

    values: Any = entry.values
    if entry.kind == "metrics":
        client.log_batch(run_id, metrics=[Metric(*value) for value in values], synchronous=True)
    elif entry.kind == "params":
        client.log_batch(run_id, params=[Param(*value) for value in values], synchronous=True)
    elif entry.kind == "tags":
        client.log_batch(run_id, tags=[RunTag(*value) for value in values], synchronous=True)
    elif entry.kind == "dataset":
        datasets = [dataset_input(context, **json.loads(described)) for context, described in values]
        after_races(lambda: client.log_inputs(run_id, datasets=datasets))
    elif entry.kind == "status":
        for status, end in values:
            client.set_terminated(run_id, str(status), int(end))
    else:
        for path, content in values:
            client.log_text(run_id, str(content), str(path))
