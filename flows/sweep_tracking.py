"""The MLflow run of a sweep, under which MLflow shows the runs of its experiments."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from configs import RetryConfig, Settings
from configs.sweep import SweepConfig, SweepRun
from tasks.comparison import Comparison, headline_metrics
from tasks.naming import mlflow_experiment
from tasks.transient import retry_transient
from tracking import TrackedRun, resolve_tracking_uri

SWEEPS: Final = "mario-sweeps"
"""The MLflow experiment of sweeps whose runs are in several MLflow experiments."""

_COMPARISON = "comparison"


@contextmanager
def tracked_sweep(sweep: SweepConfig, runs: Sequence[SweepRun], settings: Settings) -> Iterator[TrackedRun]:
    """Open the MLflow run of a sweep in a `with` block; a sweep that is started again continues it.

    A sweep has one run, however many levels it plays. MLflow does not ask for parent and child in one experiment: its UI reads
    the parents of listed runs by their ids, so each level's list shows the runs below their sweep, and each run's page links to
    it. Only the list "Child runs" on the parent's own page is limited to the parent's experiment. So the run of a sweep on one
    level is in the level's experiment. That of any other sweep is in :data:`SWEEPS`, because its figures are about no single
    level.

    What a sweep consists of are tags, not parameters: MLflow lets no parameter change, and a sweep's file may name more seeds
    when it is started again. Nothing waits on disk for MLflow: whatever is lost is logged again by the next start.

    Args:
        sweep: the sweep; it is found again by its name.
        runs: all of its runs.
        settings: the home folder and the servers.

    Raises:
        TrackingError: MLflow cannot be reached or refuses.
    """
    places = {mlflow_experiment(run.config) for run in runs}
    place = places.pop() if len(places) == 1 else SWEEPS
    uri = resolve_tracking_uri(settings.tracking_uri, settings.home)

    def opened() -> TrackedRun:
        return TrackedRun.open(uri, place, sweep.name, key=f"sweep {sweep.name}", tags=_tags(sweep, runs), home=settings.home)

    with retry_transient(RetryConfig(), "the MLflow run of the sweep", opened) as run:
        run.log_dict(sweep.model_dump(mode="json"), "sweep.yaml")
        yield run


def nested(runs: Sequence[SweepRun], parent: TrackedRun) -> list[SweepRun]:
    """The runs with the override that MLflow shows them below `parent`. It does not affect results."""
    override = f"tracking.parent_run='{parent.run_id}'"  # in quotes: YAML reads some ids as numbers
    return [replace(run, overrides=(*run.overrides, override)) for run in runs]


def log_comparison(parent: TrackedRun, comparison: Comparison, completed: int) -> None:
    """Log the page that compares a sweep's runs, its plots and its headline figures.

    Args:
        parent: the run of the sweep.
        comparison: of its completed runs.
        completed: their number, which is the step of the figures: they change when more runs are completed.
    """
    parent.log_metrics(headline_metrics(comparison.results), completed)
    for path in (comparison.paths.html, *comparison.paths.pngs):
        parent.log_artifact(path, _COMPARISON)


def _tags(sweep: SweepConfig, runs: Sequence[SweepRun]) -> dict[str, str]:
    def distinct(values: Sequence[str]) -> str:
        return ", ".join(dict.fromkeys(values))

    presets = distinct([run.config.name for run in runs])
    levels = distinct([run.config.environment.level_name for run in runs])
    seeds = distinct([str(run.config.seed) for run in runs])
    variants = distinct([run.variant for run in runs if run.variant is not None])
    told = [
        sweep.description,
        f"A sweep of {len(runs)} runs: presets {presets}; levels {levels}; seeds {seeds}"
        + (f"; variants {variants}." if variants else "."),
        "- Its file: the artifact `sweep.yaml`\n"
        f"- The comparison by seeds, when it has ended: the artifact `{_COMPARISON}/comparison.html`\n"
        "- Continue it after an interruption: save `sweep.yaml`, and run `mario sweep sweep.yaml` as before",
    ]
    return {
        "sweep": sweep.name,
        "presets": presets,
        "levels": levels,
        "seeds": seeds,
        **({"variants": variants} if variants else {}),
        "runs": str(len(runs)),
        "mlflow.source.name": "train-mario",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": "\n\n".join(part for part in told if part),
    }
