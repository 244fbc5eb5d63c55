"""The start or continuation of an experiment, and its end. It is checked first, then claimed, then written."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from configs import Config, Settings, config_hash, from_dict, to_dict
from configs.errors import ConfigError
from episodes import AttemptRecord, EpisodeStore, ExperimentRecord, FencedError, Lease, StoreError
from episodes.attempts import attempts
from episodes.leases import acquire, retire
from mario_env.snapshots import differences
from tasks import folder, sharing
from tasks.descriptions import describe_evaluation, describe_training
from tasks.earlier_files import import_files
from tasks.experiment import Experiment, open_run, open_store, write_waiting_rows
from tasks.naming import labels, mlflow_experiment
from tasks.outboxes import adopt_outboxes, set_outboxes_aside
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
    evaluated: str | None = None,
) -> Iterator[Experiment]:
    """Start the experiment `name`, or continue it if it exists, and hold it while the block runs.

    From here on no earlier attempt at it can write. Nothing is written before that.

    Args:
        config: its configuration.
        name: its name.
        settings: the home folder and the servers.
        flow_run_id: Prefect's id of the flow run, if there is one.
        restart: start at step 0 even if it exists. The existing one is kept under another name, see
            :func:`tasks.folder.archive`. A retried flow run continues the experiment that it has started itself.
        extend: the steps that :func:`tasks.extension.apply_extension` will extend it to, for the record of this attempt.
        evaluated: the model that is only evaluated, for MLflow's description of the run; None: a training.

    Raises:
        ExperimentLockedError: another process runs it.
        FencedError: another attempt has taken over while the block ran.
        ConfigError: it was started with another configuration.
        MissingFolderError: its folder does not exist, or belongs to another experiment.
        StoreError, TrackingError: Postgres or MLflow is unavailable.
    """
    with open_store(settings) as store:
        known = store.find_experiment(name)
        started_here = (
            known is not None and flow_run_id is not None and store.experiment(known).record.prefect_flow_run_id == flow_run_id
        )
        if restart and not started_here:
            folder.archive(store, name, settings, None if known is None else retire(store, known))
            known = None
        if known is None:
            known = _create(config, name, settings, store, flow_run_id)
        _require_same_config(config, name, store, known)
        folder.require_matching(store, known, settings)
        lease = _begin_attempt(config, name, settings, store, known, flow_run_id, extend)
        experiment = _experiment(config, name, settings, lease)
        try:
            try:
                experiment = _open_attempt(experiment, lease, evaluated)
            except BaseException as error:
                _record_failed_start(experiment, error)
                raise
            yield experiment
        except FencedError:
            set_outboxes_aside(experiment)
            raise
        finally:
            lease.release()


@contextmanager
def end_recorded(experiment: Experiment) -> Iterator[None]:
    """Record how the `with` block ends: as completed, or as failed or interrupted by an exception, which is passed on.

    Raises:
        FencedError, StoreError, TrackingError: see :func:`finish_experiment`.
    """
    try:
        yield
        finish_experiment(experiment, "completed")
    except FencedError:
        raise  # the status belongs to the attempt that has taken over
    except BaseException as error:
        finish_experiment(experiment, "failed" if isinstance(error, Exception) else "interrupted")
        raise


def finish_experiment(experiment: Experiment, status: str) -> None:
    """Record the end of the whole pipeline (completed, failed or interrupted) in MLflow and Postgres.

    Raises:
        FencedError: another attempt has taken over, to which the status belongs now.
        StoreError, TrackingError: `status` is completed, and it cannot be recorded. Otherwise this is only logged, because the
            error that ended the pipeline is more important, and often has the same cause.
    """
    try:
        if experiment.run_id is not None:  # an experiment that was killed before it had a run gets none
            with open_run(experiment) as run:
                run.end(_MLFLOW_STATUS[status], pipeline_status=status)
    except FencedError:
        raise
    except Exception as error:
        if status == "completed":
            raise
        logger.warning("MLflow has not recorded that %s is %s: %s", experiment.name, status, error)
    claim = experiment.required_claim
    try:
        claim.store.update_experiment(claim.token, status=status, ended=datetime.now(UTC))
    except FencedError:
        raise
    except StoreError as error:
        if status == "completed":
            raise
        logger.warning("Postgres has not recorded that %s is %s: %s", experiment.name, status, error)


def mark_crashed(name: str, settings: Settings) -> None:
    """Record an experiment whose process has ended as failed. It can still be continued.

    A process that was only stopped cannot write any more when it goes on.

    Raises:
        StoreError: there is no such experiment.
        ConfigError: it is not recorded as running.
        ExperimentLockedError: a process runs it.
    """
    with open_store(settings) as store:
        stored = store.experiment(name)
        record = stored.record
        if record.status != "running":
            raise ConfigError(f"experiment {record.name} has ended already; its status is {record.status}")
        claim = retire(store, stored.id)
        config = from_dict(record.config, f"experiment {record.name}")
        directory = settings.experiment_directory(record.name)
        finish_experiment(
            Experiment(stored.id, record.name, config, record.mlflow_run_id, directory, settings, claim), "failed"
        )


def _record_failed_start(experiment: Experiment, error: BaseException) -> None:
    """Record that a start failed with `error`. Otherwise the experiment would stay recorded as running."""
    status = "failed" if isinstance(error, Exception) else "interrupted"
    try:
        run_id = experiment.required_claim.store.experiment(experiment.id).record.mlflow_run_id
    except StoreError as fault:
        logger.warning("Postgres has not recorded that %s is %s: %s", experiment.name, status, fault)
        return
    if isinstance(error, TrackingError):
        run_id = None  # MLflow is unavailable
    finish_experiment(replace(experiment, run_id=run_id), status)


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
    """Create the row and the folder of a new experiment, unless another process has just done so. Returns the row's id."""
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
    try:
        experiment_id = store.create_experiment(record)
    except StoreError:
        if (other := store.find_experiment(name)) is None:
            raise
        return other
    folder.create(store.experiment(experiment_id).record, settings)
    return experiment_id


def _begin_attempt(
    config: Config,
    name: str,
    settings: Settings,
    store: EpisodeStore,
    experiment_id: int,
    flow_run_id: str | None,
    extend: int | None,
) -> Lease:
    """Claim the experiment, and record this start."""
    from agents import provenance

    record = store.experiment(experiment_id).record
    origin = provenance(config.train.device)
    columns = {
        "started": datetime.now(UTC),
        # The stored configuration contains earlier extensions; `config` does not.
        "total_steps": extend or from_dict(record.config, f"experiment {name}").train.total_steps,
        "git_commit": origin.git_commit,
        "git_dirty": origin.git_dirty,
        "code": origin.code,
        "python_version": origin.python,
        "torch_version": origin.torch,
        "packages": origin.packages,
        "device": origin.device,
        "host": origin.host,
        "prefect_flow_run_id": flow_run_id,
        "folder": str(settings.experiment_directory(name)),
    }
    return acquire(store, experiment_id, columns, seconds=config.retry.lease_seconds)


def _experiment(config: Config, name: str, settings: Settings, lease: Lease) -> Experiment:
    return Experiment(lease.token.experiment_id, name, config, None, settings.experiment_directory(name), settings, lease)


def _open_attempt(experiment: Experiment, lease: Lease, evaluated: str | None) -> Experiment:
    """Create or continue the MLflow run, and send what waits from earlier attempts."""
    from agents import provenance

    store, config, settings = lease.store, experiment.config, experiment.settings
    record = store.experiment(experiment.id).record
    experiment = replace(experiment, run_id=record.mlflow_run_id)
    folder.create(record, settings)
    import_files(store, lease.token, experiment.directory)
    starts = attempts(store, experiment.id)
    sharing.fetch(experiment, starts)
    adopt_outboxes(experiment, starts)
    sharing.publish(experiment)
    origin = provenance(config.train.device)
    with TrackedRun.open(
        resolve_tracking_uri(settings.tracking_uri, settings.home),
        # Of the stored configuration: a run whose id was not stored is looked for where it was created.
        mlflow_experiment(from_dict(record.config, f"experiment {experiment.name}")),
        experiment.name,
        run_id=record.mlflow_run_id,
        key=f"{experiment.name}, begun {record.started.isoformat()}",
        tags=_tags(config, experiment, origin, lease.token.attempt),
        leave_running=True,
        home=settings.home,
        outbox=experiment.metric_outbox,
        guard=lease.guard,
    ) as run:
        if record.mlflow_run_id is None:
            store.update_experiment(lease.token, mlflow_run_id=run.run_id)
            run.log_config(to_dict(config))
            run.log_dict(origin.to_json(), "provenance.json")
        if evaluated is None:
            description = describe_training(experiment, run.run_id, lease.record.total_steps, origin.host)
        else:
            description = describe_evaluation(experiment, evaluated, origin.host)
        run.set_tags({"mlflow.note.content": description})
        lease.record_run(run.run_id)
        document = {"total_steps": lease.record.total_steps, **origin.to_json()}
        run.log_dict(document, f"attempts/{lease.token.attempt}.json")
    experiment = replace(experiment, run_id=run.run_id)
    if len(starts) > 1:
        logger.info("continuing experiment %s (row %d), attempt %d", experiment.name, experiment.id, lease.token.attempt)
        _log_changes(starts[-2], lease.record)
    else:
        logger.info(
            "experiment %s (row %d, MLflow run %s), files in %s",
            *(experiment.name, experiment.id, run.run_id, experiment.directory),
        )
    write_waiting_rows(experiment, store)
    return experiment


def _tags(config: Config, experiment: Experiment, origin: "Provenance", attempt: int) -> dict[str, str]:
    """MLflow tags for the newest attempt, including those of MLflow's own columns (user, source, version)."""
    parent = config.tracking.parent_run
    return {
        **({"mlflow.parentRunId": parent} if parent is not None else {}),
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
    }


def _log_changes(before: AttemptRecord, now: AttemptRecord) -> None:
    """Log differences in code, versions and machine between this attempt and the one before."""
    # Extensions are logged when they are applied.
    left_out = {"experiment_id", "attempt", "started", "total_steps", "mlflow_run_id", "prefect_flow_run_id"}
    left_out |= {"folder", "holder", "expires"}
    then, present = ({key: value for key, value in asdict(each).items() if key not in left_out} for each in (before, now))
    if not before.code:  # recorded by a version without code digests
        del then["code"], present["code"]
    if changed := differences(then, present):
        logger.warning("differences from attempt %d: %s", before.attempt, "; ".join(changed))
