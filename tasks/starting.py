"""The start of an experiment, the first or a continuation, and its end: locked first, checked next, written last."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from configs import Config, Settings, config_hash, from_dict, to_dict
from configs.errors import ConfigError
from episodes import AttemptRecord, EpisodeStore, ExperimentRecord, StoreError
from episodes.attempts import attempts, record_attempt
from mario_env.snapshots import differences
from tasks import folder
from tasks.experiment import Experiment, open_run, open_store, write_waiting_rows
from tasks.naming import labels
from tracking import TrackedRun, TrackingError, resolve_tracking_uri

if TYPE_CHECKING:
    from agents import Provenance

logger = logging.getLogger(__name__)

# What MLflow calls an end of the pipeline.
_MLFLOW_STATUS: dict[str, Any] = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


@contextmanager
def running_experiment(
    config: Config,
    name: str,
    settings: Settings,
    flow_run_id: str | None,
    *,
    restart: bool = False,
    extend: int | None = None,
) -> Iterator[Experiment]:
    """Begin the experiment `name`, or go on with it if it was begun before, and hold it while the block runs.

    The lock is one of Postgres's and ends with this process. Nothing is written before it is held.

    Args:
        config: what it does.
        name: its name.
        settings: places and servers.
        flow_run_id: Prefect's id of the flow run, if there is one.
        restart: begin at step 0 even if it was begun before. What is there is kept under another name, see
            :func:`tasks.folder.set_aside`. A flow run that has begun the experiment itself goes on with it when it is retried.
        extend: the steps that :func:`tasks.extension.extended` is about to extend it to, for the record of this attempt.

    Raises:
        ExperimentLockedError: another process runs it.
        ConfigError: it was begun with another configuration.
        MissingFolderError: its folder is not there, or is another experiment's.
        StoreError, TrackingError: Postgres or MLflow cannot be reached.
    """
    with open_store(settings) as store, ExitStack() as held:
        # Two first runs of one name at once must not make two experiments.
        with store.name_lock(name):
            known = store.find_experiment(name)
            if known is not None:
                held.enter_context(store.experiment_lock(known))
                begun_here = flow_run_id is not None and store.experiment(known).record.prefect_flow_run_id == flow_run_id
                restart = restart and not begun_here
            if restart:
                folder.set_aside(store, name, settings, known)
                known = None
            if known is None:
                known = _create(config, name, settings, store, flow_run_id)
                held.enter_context(store.experiment_lock(known))
            else:
                _require_same(config, name, store, known)
                folder.require(store, known, settings)
                store.update_experiment(known, status="running", ended=None, prefect_flow_run_id=flow_run_id)
        try:
            begun = _attempt(config, name, settings, store, known, flow_run_id, extend)
        except BaseException as error:
            _end_start(config, name, settings, store, known, error)
            raise
        yield begun


def finish_experiment(experiment: Experiment, status: str) -> None:
    """Write how the experiment ended (completed, failed or interrupted) into MLflow and Postgres, once, for the whole pipeline.

    Raises:
        StoreError, TrackingError: it is completed, and Postgres or MLflow does not take it. Otherwise that is only logged: an
            error that matters more is on its way, and often has the same cause.
    """
    try:
        if experiment.run_id is not None:  # one that was killed before it had a run gets none for its end
            with open_run(experiment) as run:
                run.end(_MLFLOW_STATUS[status], pipeline_status=status)
    except Exception as error:
        if status == "completed":
            raise
        logger.warning("MLflow does not know that %s is %s: %s", experiment.name, status, error)
    try:
        with open_store(experiment.settings) as store:
            store.update_experiment(experiment.id, status=status, ended=datetime.now(UTC))
    except StoreError as error:
        if status == "completed":
            raise
        logger.warning("Postgres does not know that %s is %s: %s", experiment.name, status, error)


def _end_start(
    config: Config, name: str, settings: Settings, store: EpisodeStore, experiment_id: int, error: BaseException
) -> None:
    """Record that a start ended with `error`: without that the experiment would be on record as running."""
    status = "failed" if isinstance(error, Exception) else "interrupted"
    try:
        run_id = store.experiment(experiment_id).record.mlflow_run_id
    except StoreError as fault:
        logger.warning("Postgres does not know that %s is %s: %s", name, status, fault)
        return
    if isinstance(error, TrackingError):
        run_id = None  # MLflow would not take it either
    directory = settings.experiment_directory(name)
    finish_experiment(Experiment(experiment_id, name, config, run_id, directory, settings), status)


def _require_same(config: Config, name: str, store: EpisodeStore, experiment_id: int) -> None:
    record = store.experiment(experiment_id).record
    begun = record.config_hash
    if begun != config_hash(config):
        # An earlier version did not have all of today's keys: it meant their defaults.
        begun = config_hash(from_dict(record.config, f"experiment {name}"))
    if begun != config_hash(config):
        raise ConfigError(
            f"experiment {name} was begun with another configuration (hash {record.config_hash[:12]}, now "
            f"{config_hash(config)[:12]}): give it the same preset and the same --set to go on, begin one of another name, or "
            "say --restart to keep what is there under another name and begin again"
        )


def _create(config: Config, name: str, settings: Settings, store: EpisodeStore, flow_run_id: str | None) -> int:
    """The row and the folder of a new experiment; returns the row's id."""
    from agents import provenance

    folder.require_free(name, settings)
    origin = provenance(config.train.device)
    record = ExperimentRecord(
        name=name,
        config=to_dict(config),
        config_hash=config_hash(config),
        seed=config.seed,
        prefect_flow_run_id=flow_run_id,
        started=datetime.now(UTC),
        git_commit=origin.git_commit,
        git_dirty=origin.git_dirty,
        python_version=origin.python,
        torch_version=origin.torch,
        packages=origin.packages,
        device=origin.device,
        host=origin.host,
    )
    experiment_id = store.create_experiment(record)
    folder.create(store.experiment(experiment_id).record, settings)
    return experiment_id


def _attempt(
    config: Config,
    name: str,
    settings: Settings,
    store: EpisodeStore,
    experiment_id: int,
    flow_run_id: str | None,
    extend: int | None,
) -> Experiment:
    """Open the MLflow run, or make it, record this start, and write the rows that wait from an earlier one."""
    from agents import provenance

    record = store.experiment(experiment_id).record
    directory = folder.create(record, settings)
    origin = provenance(config.train.device)
    # What is stored has earlier extensions; `config` has not.
    total_steps = extend or from_dict(record.config, f"experiment {name}").train.total_steps
    before = attempts(store, experiment_id)
    experiment = Experiment(experiment_id, name, config, record.mlflow_run_id, directory, settings)
    with TrackedRun.open(
        resolve_tracking_uri(settings.tracking_uri, settings.home),
        config.tracking.experiment,
        name,
        run_id=record.mlflow_run_id,
        key=f"{name}, begun {record.started.isoformat()}",
        tags=_tags(config, experiment, origin, len(before) + 1),
        leave_running=True,
        home=settings.home,
        outbox=experiment.metric_outbox,
    ) as run:
        if record.mlflow_run_id is None:
            store.update_experiment(experiment_id, mlflow_run_id=run.run_id)
            run.log_config(to_dict(config))
            run.log_dict(origin.to_json(), "provenance.json")
        attempt = record_attempt(store, experiment_id, _columns(origin, total_steps, run.run_id, flow_run_id))
        run.log_dict({"total_steps": total_steps, **origin.to_json()}, f"attempts/{attempt.attempt}.json")
    experiment = Experiment(experiment_id, name, config, run.run_id, directory, settings)
    if before:
        logger.info("going on with experiment %s (row %d), attempt %d", name, experiment_id, attempt.attempt)
        _tell_changes(before[-1], attempt)
    else:
        logger.info("experiment %s (row %d, MLflow run %s), files in %s", name, experiment_id, run.run_id, directory)
    write_waiting_rows(experiment, store)
    return experiment


def _columns(origin: "Provenance", total_steps: int, run_id: str, flow_run_id: str | None) -> dict[str, Any]:
    return {
        "started": datetime.now(UTC),
        "total_steps": total_steps,
        "git_commit": origin.git_commit,
        "git_dirty": origin.git_dirty,
        "code": origin.code,
        "python_version": origin.python,
        "torch_version": origin.torch,
        "packages": origin.packages,
        "device": origin.device,
        "host": origin.host,
        "mlflow_run_id": run_id,
        "prefect_flow_run_id": flow_run_id,
    }


def _tags(config: Config, experiment: Experiment, origin: "Provenance", attempt: int) -> dict[str, str]:
    """What MLflow's table of runs shows of the newest attempt; its own columns among it (user, source, version)."""
    return {
        "git_commit": origin.git_commit or "unknown",
        "git_dirty": str(origin.git_dirty).lower(),
        "config_hash": config_hash(config),
        **labels(config),
        "device": origin.device,
        "host": origin.host,
        "python": origin.python,
        "torch": origin.torch,
        "attempt": str(attempt),
        "pipeline_status": "running",
        "mlflow.user": origin.user,
        "mlflow.source.name": "train-mario",
        "mlflow.source.type": "LOCAL",
        **({"mlflow.source.git.commit": origin.git_commit} if origin.git_commit else {}),
        "mlflow.note.content": f"{config.description}\n\nExperiment `{experiment.name}` (row {experiment.id}), "
        f"files in `{experiment.directory}` on {origin.host}.",
    }


def _tell_changes(before: AttemptRecord, now: AttemptRecord) -> None:
    """Say what this attempt has that the one before had not: code, versions, machine."""
    # An extension is told where it is applied.
    left_out = ("experiment_id", "attempt", "started", "total_steps", "mlflow_run_id", "prefect_flow_run_id")
    then, present = ({key: value for key, value in asdict(each).items() if key not in left_out} for each in (before, now))
    if not before.code:  # recorded by a version that did not keep them
        del then["code"], present["code"]
    if changed := differences(then, present):
        logger.warning("since attempt %d other things have changed: %s", before.attempt, "; ".join(changed))
