"""Whether MLflow can be written to: tried before a training depends on it."""

import time
from pathlib import Path

from configs.masking import mask_url
from tracking.client import connect, experiment_id, speaking_errors
from tracking.errors import TrackingError
from tracking.location import normalise

_EXPERIMENT = "smoke-test"


def check_writable(uri: str, home: Path) -> str:
    """Write a run with a metric and an artifact to the store at `uri`, read the metric back, and delete the run.

    Returns:
        The store's place, its password masked.

    Raises:
        TrackingError: the store cannot be reached, refuses, or gives back another value.
    """
    uri = normalise(uri)
    client = connect(uri, home)
    value = time.time()
    with speaking_errors(uri, "a run cannot be written"):
        run = client.create_run(experiment_id(client, uri, _EXPERIMENT, home), run_name="smoke test")
        try:
            client.log_metric(run.info.run_id, "value", value)
            client.log_text(run.info.run_id, "written by the smoke test", "probe.txt")
            read = client.get_run(run.info.run_id).data.metrics.get("value")
        finally:
            client.set_terminated(run.info.run_id)
            client.delete_run(run.info.run_id)
    if read != value:
        raise TrackingError(f"MLflow at {mask_url(uri)} was given {value!r} and returned {read!r}")
    return mask_url(uri)
