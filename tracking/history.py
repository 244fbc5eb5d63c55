"""Reads from MLflow what reports show: the history of metrics, and the pages of runs."""

from collections.abc import Sequence
from typing import Final

from tracking.client import connect, translate_errors
from tracking.location import is_server, normalise, run_url

_RUNS_PER_REQUEST: Final = 200


def metric_histories(uri: str, run_id: str, names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Time (seconds since 1970) and value of each point of each metric of a run, without metrics that the run does not have.

    The points are in the order of their steps.

    Raises:
        TrackingError: MLflow does not answer, or has no such run.
    """
    uri = normalise(uri)
    client = connect(uri)
    with translate_errors(uri, f"the metrics of run {run_id} cannot be read"):
        present = client.get_run(run_id).data.metrics
        histories = {name: client.get_metric_history(run_id, name) for name in names if name in present}
    return {
        name: [(each.timestamp / 1000, float(each.value)) for each in sorted(history, key=lambda each: each.step)]
        for name, history in histories.items()
    }


def run_pages(uri: str, run_ids: Sequence[str]) -> dict[str, str]:
    """The URL of the page of each run, without runs that MLflow does not have; none for a store without a server.

    Raises:
        TrackingError: MLflow does not answer.
    """
    uri = normalise(uri)
    if not is_server(uri):
        return {}
    client = connect(uri)
    pages: dict[str, str] = {}
    with translate_errors(uri, "the pages of runs cannot be found"):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        for start in range(0, len(run_ids), _RUNS_PER_REQUEST):
            some = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + _RUNS_PER_REQUEST])
            found = client.search_runs(experiments, f"attributes.run_id IN ({some})", max_results=_RUNS_PER_REQUEST)
            for run in found:
                pages[run.info.run_id] = run_url(uri, run.info.experiment_id, run.info.run_id)
    return pages
