"""The flow `sweep-mario`: many runs of `train-mario`, on the workers of its work pool or in processes of this machine."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

import httpx
from prefect import flow, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client

from configs import ConfigError, Settings, config_hash
from configs.sweep import SweepConfig, SweepRun, plan, plan_with_teachers, sweep_from_dict
from episodes import EpisodeStore, StoreError
from flows.sweep_deployed import DEPLOYMENT, DeployedRuns
from flows.sweep_local import LocalRuns
from flows.sweep_order import Waiting
from flows.sweep_progress import RunState, SweepProgress
from flows.sweep_tracking import log_comparison, nested, tracked_sweep
from flows.worker_home import flow_settings
from mario_env.console import check_rom
from tasks.artifacts import show_markdown, show_table
from tasks.comparison import Comparison, compare
from tasks.experiment import open_store
from tracking import TrackedRun

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
_OUTAGE_SECONDS = 900.0  # a server may be restarted meanwhile
_TABLE_SECONDS = 60.0

Show = Callable[[Sequence[Mapping[str, str]]], None]

# What shows the table besides Prefect: a flow's parameters are data, and cannot hold it.
shown_by: ContextVar[Show | None] = ContextVar("shown_by", default=None)


class SweepError(RuntimeError):
    """Runs of a sweep have failed; the message names them, and says how to continue."""


class Runs(Protocol):
    """What starts the runs of a sweep, and knows their states.

    Attributes:
        at_once: how many runs to start at a time; None: any number.
    """

    at_once: int | None

    def start(self, runs: Sequence[SweepRun]) -> None:
        """Start or queue `runs`."""

    def states(self, runs: Sequence[SweepRun]) -> dict[str, RunState]:
        """The state of each of `runs`, by the name of the experiment."""


@flow(name="sweep-mario", flow_run_name="{sweep[name]}", persist_result=False)
def sweep_mario(
    sweep: dict[str, Any], local: int | None = None, deployment: str = DEPLOYMENT, poll_seconds: float = POLL_SECONDS
) -> dict[str, Any]:
    """Run every combination of a sweep's presets, levels, variants and seeds, and wait for all of them.

    If the sweep names one that trains the teachers of its runs, their teachers are trained before them.

    A sweep that is started again goes on: completed experiments are not repeated, flow runs that still run are followed, and
    failed ones are continued. A run that fails does not affect the others.

    Args:
        sweep: the keys of the sweep's file (`configs.sweep.SweepConfig`).
        local: the number of processes on this machine that run the sweep; None: the workers of the deployment's work pool.
        deployment: FLOW/DEPLOYMENT of the runs.
        poll_seconds: the time between two looks at the runs.

    Returns:
        The name of the sweep, its experiments, the page that compares them by seeds, and the page of its MLflow run.

    Raises:
        ConfigError: the sweep is refused, before any work.
        SweepError: a run has failed. All others have ended.
    """
    described = sweep_from_dict(sweep)
    own, runs = plan(described), plan_with_teachers(described)
    for environment in {run.config.environment.rom: run.config.environment for run in runs}.values():
        check_rom(environment)
    settings = flow_settings()
    states = dict.fromkeys((run.experiment for run in runs), RunState("queued"))
    with open_store(settings) as store, get_client(sync_client=True) as client:
        states |= completed_before(runs, store)
        with tracked_sweep(described, runs, settings) as parent:
            missing = [run for run in runs if not states[run.experiment].ended]
            logger.info("sweep %s: %d runs, %d of them completed before", described.name, len(runs), len(runs) - len(missing))
            with _opened(described, local, deployment, settings, client) as started:
                _run(described, runs, nested(missing, parent), states, started, store, poll_seconds)
            completed = [run.experiment for run in own if states[run.experiment].state == "completed"]
            reported = _compare(described, completed, settings, parent)
            _require_completed(described, states, reported)
    return {
        "sweep": described.name,
        "experiments": [run.experiment for run in own],
        "report": str(reported),
        "mlflow_run": parent.url,
    }


def _require_completed(described: SweepConfig, states: Mapping[str, RunState], reported: Path | None) -> None:
    """Raise a :class:`SweepError` if a run has failed."""
    failed = {name: each.message for name, each in states.items() if each.state == "failed"}
    if failed:
        listed = "\n".join(f"{name}: {message}" for name, message in failed.items())
        raise SweepError(
            f"{len(failed)} of {len(states)} runs of the sweep {described.name} failed:\n{listed}\n"
            "Start the same sweep again to continue them; completed runs are not repeated"
            + ("" if reported is None else f". The completed ones are compared in {reported}")
        )


def completed_before(runs: Sequence[SweepRun], store: EpisodeStore) -> dict[str, RunState]:
    """The runs that are completed in Postgres.

    Raises:
        ConfigError: an experiment of this name was run with another configuration.
    """
    found = {}
    for run in runs:
        known = store.find_experiment(run.experiment)
        if known is None:
            continue
        record = store.experiment(known).record
        if record.config_hash != config_hash(run.config):
            raise ConfigError(
                f"experiment {run.experiment} was begun with another configuration than the sweep has for it now: "
                "give the sweep another name, or restore its file"
            )
        if record.status == "completed":
            found[run.experiment] = RunState("completed")
    return found


def _compare(described: SweepConfig, completed: Sequence[str], settings: Settings, parent: TrackedRun) -> Path | None:
    """Compare the completed runs by seeds. Returns the page; None if there are no runs to compare."""
    if not completed:
        return None
    folder = settings.home / "reports" / f"sweep-{described.name}"
    comparison = comparison_by_seeds(completed, settings, folder, described.name, parent.run_id)
    if comparison is None:
        return None
    log_comparison(parent, comparison, len(completed))
    return comparison.paths.html


@task(name="comparison by seeds", cache_policy=NO_CACHE, persist_result=False)
def comparison_by_seeds(
    completed: Sequence[str], settings: Settings, folder: Path, sweep: str, run_id: str
) -> Comparison | None:
    """Write the page that compares the experiments `completed` into `folder`; None if none has been evaluated so.

    `run_id` is the MLflow run of the sweep.
    """
    from reports.data import ReportError

    with open_store(settings) as store:
        ids = [store.experiment(name).id for name in completed]
    try:
        comparison = compare(ids, settings, folder, title=f"Super Mario Bros: sweep {sweep}", sweep_run_id=run_id)
    except ReportError as error:
        logger.warning("the runs are not compared: %s", error)
        return None
    markdown = f"Comparison of **{sweep}** by seeds: `{comparison.paths.html}`, also in MLflow."
    show_markdown("comparison", markdown, f"Comparison of {sweep} by seeds")
    return comparison


@contextmanager
def _opened(
    described: SweepConfig, local: int | None, deployment: str, settings: Settings, client: SyncPrefectClient
) -> Iterator[Runs]:
    if local is None:
        yield DeployedRuns(described, client, deployment)
        return
    # The processes use the server of this flow, which may be a temporary one.
    with LocalRuns(settings, local, {"PREFECT_API_URL": str(client.api_url)}).opened() as processes:
        yield processes


def _run(
    described: SweepConfig,
    runs: Sequence[SweepRun],
    missing: Sequence[SweepRun],
    states: dict[str, RunState],
    started: Runs,
    store: EpisodeStore,
    poll_seconds: float,
) -> None:
    """Start those of `runs` that are `missing`, and wait until all have ended; `states` is updated."""
    progress, artifacts = SweepProgress(runs), _Artifacts(f"sweep-{described.name}")
    waiting = Waiting(missing, started.at_once)
    failing_since: float | None = None
    show = shown_by.get()
    while True:
        try:
            if ready := waiting.ready(states):
                started.start(ready)
                waiting.started(ready)
            unfinished = [run for run in runs if not states[run.experiment].ended and run.experiment not in waiting.names]
            states |= started.states(unfinished)
            rows = progress.rows(states, store)
            failing_since = None
        except (httpx.HTTPError, StoreError) as error:
            failing_since = failing_since or time.monotonic()
            if time.monotonic() - failing_since > _OUTAGE_SECONDS:
                raise
            logger.warning("the sweep waits for a server: %s", error)
        else:
            if show is not None:
                show(rows)
            artifacts.update(progress.percent(states), rows)
            if all(each.ended for each in states.values()):
                return
        time.sleep(poll_seconds)


class _Artifacts:
    """The progress of a sweep as Prefect artifacts; the table appears when a state changes, and once a minute."""

    def __init__(self, key: str) -> None:
        self._key = "".join(letter if letter.isalnum() else "-" for letter in key.lower())
        self._progress: Any = None
        self._states: list[str] = []
        self._written = 0.0

    def update(self, percent: float, rows: Sequence[Mapping[str, str]]) -> None:
        """Show the progress; a failure is only logged."""
        create: Any = create_progress_artifact
        update: Any = update_progress_artifact
        try:
            if self._progress is None:
                self._progress = create(percent, key=f"{self._key}-progress", _sync=True)
            else:
                update(self._progress, percent, _sync=True)
        except Exception as error:
            logger.debug("the progress artifact was not written: %s", error)
        states = [row["state"] for row in rows]
        if states != self._states or time.monotonic() - self._written > _TABLE_SECONDS:
            show_table(self._key, [dict(row) for row in rows], f"{states.count('completed')} of {len(rows)} runs completed")
            self._states, self._written = states, time.monotonic()
