"""Reads the history of metrics from MLflow."""

from collections.abc import Sequence

from tracking.client import connect, translate_errors
from tracking.location import normalise


def metric_histories(uri: str, run_id: str, names: Sequence[str]) -> dict[str, list[float]]:
    """All values of each metric of a run, in the order of their steps, without metrics that the run does not have.

    Raises:
        TrackingError: MLflow does not answer, or has no such run.
    """
    uri = normalise(uri)
    client = connect(uri)
    with translate_errors(uri, f"the metrics of run {run_id} cannot be read"):
        present = client.get_run(run_id).data.metrics
        histories = {name: client.get_metric_history(run_id, name) for name in names if name in present}
    return {
        name: [float(each.value) for each in sorted(history, key=lambda each: each.step)] for name, history in histories.items()
    }
