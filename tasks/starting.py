"""The start or continuation of an experiment, and its end. It is locked first, then checked, then written."""

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

# MLflow's run status for each end of the pipeline.
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
    """Start the experiment `name`, or continue it if it exists, and hold its lock while the block runs.

    The lock is a lock of Postgres, which ends with this process. Nothing is written before it is held.

    Args:
        config: its configuration.
        name: its name.
        settings: the home folder and the servers.
        flow_run_id: Prefect's id of the flow run, if there is one.
        restart: start at step 0 even if it exists. The existing one is kept under another name, see
            :func:`tasks.folder.archive`. A retried flow run continues the experiment that it has started itself.
        extend: the steps that :func:`tasks.extension.apply_extension` will extend it to, for the record of this attempt.

    Raises:
        ExperimentLockedError: another process runs it.
        ConfigError: it was started with another configuration.
        MissingFolderError: its folder does not exist, or belongs to another experiment.
        StoreError, TrackingError: Postgres or MLflow is unavailable.
    """
    with open_store(settings) as store, ExitStack() as held:
        # Two simultaneous first starts must not create two experiments with this name.
        with store.name_lock(name):
            known = store.find_experiment(name)
            if known is not None:
                held.enter_context(store.experiment_lock(known))
                started_here = flow_run_id is not None and store.experiment(known).record.prefect_flow_run_id == flow_run_id
                restart = restart and not started_here
            if restart:
                folder.archive(store, name, settings, known)
                known = None
            if known is None:
                known = _create(config, name, settings, store, flow_run_id)
                held.enter_context(store.experiment_lock(known))
            else:
                _require_same_config(config, name, store, known)
                folder.require_matching(store, known, settings)
                store.update_experiment(known, status="running", ended=None, prefect_flow_run_id=flow_run_id)
        try:
            experiment = _open_attempt(config, name, settings, store, known, flow_run_id, extend)
        except BaseException as error:
            _record_failed_start(config, name, settings, store, known, error)
            raise
        yield experiment


def finish_experiment(experiment: Experiment, status: str) -> None:
    """Record the end of the whole pipeline (completed, failed or interrupted) in MLflow and Postgres.

    Raises:
        StoreError, TrackingError: `status` is completed, and it cannot be recorded. Otherwise this is only logged, because the
            error that ended the pipeline is more important, and often has the same cause.
    """
    try:
        if experiment.run_id is not None:  # an experiment that was killed before it had a run gets none
            with open_run(experiment) as run:
                run.end(_MLFLOW_STATUS[status], pipeline_status=status)
    except Exception as error:
        if status == "completed":
            raise
        logger.warning("MLflow has not recorded that %s is %s: %s", experiment.name, status, error)
    try:
        with open_store(experiment.settings) as store:
            store.update_experiment(experiment.id, status=status, ended=datetime.now(UTC))
    except StoreError as error:
        if status == "completed":
            raise
        logger.warning("Postgres has not recorded that %s is %s: %s", experiment.name, status, error)


def _record_failed_start(
    config: Config, name: str, settings: Settings, store: EpisodeStore, experiment_id: int, error: BaseException
) -> None:
    """Record that a start failed with `error`. Otherwise the experiment would stay recorded as running."""
    status = "failed" if isinstance(error, Exception) else "interrupted"
    try:
        run_id = store.experiment(experiment_id).record.mlflow_run_id
    except StoreError as fault:
        logger.warning("Postgres has not recorded that %s is %s: %s", name, status, fault)
        return
    if isinstance(error, TrackingError):
        run_id = None  # MLflow is unavailable
    directory = settings.experiment_directory(name)
    finish_experiment(Experiment(experiment_id, name, config, run_id, directory, settings), status)


def _require_same_config(config: Config, name: str, store: EpisodeStore, experiment_id: int) -> None:
    record = store.experiment(experiment_id).record
    stored_hash = record.config_hash
    if stored_hash != config_hash(config):
        # Earlier versions did not have all keys. The missing keys have their defaults.
        stored_hash = config_hash(from_dict(record.config, f"experiment {name}"))
    if stored_hash != config_hash(config):
        raise ConfigError(
            f"experiment {name} was begun with another configuration (hash {record.config_hash[:12]}, now "
            f"{config_hash(config)[:12]}): to continue it, give the same preset and --set; otherwise give another "
            "--experiment, or --restart to keep the old one under another name and start again"
        )


def _create(config: Config, name: str, settings: Settings, store: EpisodeStore, flow_run_id: str | None) -> int:
    """Create the row and the folder of a new experiment. Returns the id of the row."""
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


def _open_attempt(
    config: Config,
    name: str,
    settings: Settings,
    store: EpisodeStore,
    experiment_id: int,
    flow_run_id: str | None,
    extend: int | None,
) -> Experiment:
    """Create or continue the MLflow run, record this start, and write rows that wait from an earlier one."""
    from agents import provenance

    record = store.experiment(experiment_id).record
    directory = folder.create(record, settings)
    origin = provenance(config.train.device)
    # The stored configuration contains earlier extensions; `config` does not.
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
        attempt = record_attempt(store, experiment_id, _attempt_columns(origin, total_steps, run.run_id, flow_run_id))
        run.log_dict({"total_steps": total_steps, **origin.to_json()}, f"attempts/{attempt.attempt}.json")
    experiment = Experiment(experiment_id, name, config, run.run_id, directory, settings)
    if before:
        logger.info("continuing experiment %s (row %d), attempt %d", name, experiment_id, attempt.attempt)
        _log_changes(before[-1], attempt)
    else:
        logger.info("experiment %s (row %d, MLflow run %s), files in %s", name, experiment_id, run.run_id, directory)
    write_waiting_rows(experiment, store)
    return experiment


def _attempt_columns(origin: "Provenance", total_steps: int, run_id: str, flow_run_id: str | None) -> dict[str, Any]:
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
    """MLflow tags for the newest attempt, including those of MLflow's own columns (user, source, version)."""
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


def _log_changes(before: AttemptRecord, now: AttemptRecord) -> None:
    """Log differences in code, versions and machine between this attempt and the one before."""
    # Extensions are logged when they are applied.
    left_out = ("experiment_id", "attempt", "started", "total_steps", "mlflow_run_id", "prefect_flow_run_id")
    then, present = ({key: value for key, value in asdict(each).items() if key not in left_out} for each in (before, now))
    if not before.code:  # recorded by a version without code digests
        del then["code"], present["code"]
    if changed := differences(then, present):
        logger.warning("differences from attempt %d: %s", before.attempt, "; ".join(changed))
