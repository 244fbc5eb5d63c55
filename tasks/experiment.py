"""One experiment and what it is recorded in: its row in Postgres, its run in MLflow, its folder.

Tasks get an :class:`Experiment` and open what they need; nothing that is open crosses from one task to another.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from configs import Config, Settings, config_hash, from_dict, to_dict
from configs.errors import ConfigError
from episodes import EpisodeStore, EpisodeWriter, ExperimentRecord, StoreUnavailableError
from episodes.writer import refused_file
from spool import waiting
from tasks.naming import labels
from tracking import TrackedRun, resolve_tracking_uri

if TYPE_CHECKING:
    from agents import Recorded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """A configured training that has its row, its run and its folder.

    Attributes:
        id: of its row in the table `experiments`.
        name: unique; also the name of its folder and of its MLflow run.
        config: what it does.
        run_id: MLflow's id of its run.
        directory: its checkpoints, model, phase records and report.
        settings: places and servers.
    """

    id: int
    name: str
    config: Config
    run_id: str | None
    directory: Path
    settings: Settings

    @property
    def episode_spool(self) -> Path:
        """The file where its rows wait for Postgres."""
        return self.directory / "spool" / "episodes.spool"

    @property
    def metric_spool(self) -> Path:
        """The file where what is logged waits for MLflow."""
        return _metric_spool(self.directory)

    @property
    def owner(self) -> str:
        """Whom the rows in the spool belong to: another database may give the same id to another experiment."""
        return f"experiment {self.id}, MLflow run {self.run_id}"


def open_store(settings: Settings) -> EpisodeStore:
    """The episode store that `settings` name; the caller closes it."""
    return EpisodeStore.open(settings.database_url, settings.create_home())


def open_experiment_store(experiment: Experiment) -> EpisodeStore:
    """The episode store for a phase of `experiment`; the caller closes it.

    Raises:
        StoreUnavailableError: Postgres is away; the message says whether rows wait for it.
    """
    try:
        return open_store(experiment.settings)
    except StoreUnavailableError as error:
        found = rows_waiting(experiment)
        if not found:
            raise
        message = f"{error.args[0]} {files_in_words(found)}. {_remedy(experiment)}"
    raise StoreUnavailableError(message)


@contextmanager
def open_run(experiment: Experiment, *, system_metrics: bool = False) -> Iterator[TrackedRun]:
    """The experiment's MLflow run, continued."""
    settings = experiment.settings
    with TrackedRun.open(
        resolve_tracking_uri(settings.tracking_uri, settings.home),
        experiment.config.tracking.experiment,
        experiment.name,
        run_id=experiment.run_id,
        system_metrics=system_metrics and experiment.config.tracking.system_metrics,
        home=settings.home,
        spool=experiment.metric_spool,
    ) as run:
        yield run


def _metric_spool(directory: Path) -> Path:
    return directory / "spool" / "metrics.spool"


@contextmanager
def open_writer(experiment: Experiment, store: EpisodeStore) -> Iterator[EpisodeWriter]:
    """A writer of the experiment's rows. Those that wait from before are in Postgres when the block begins.

    Raises:
        StoreUnavailableError: at the end rows still wait, because Postgres is away; the message says where, and what to do.
        SpoolLockedError: another process runs this experiment.
    """
    with store.writer(
        experiment.episode_spool,
        experiment.owner,
        store_actions=experiment.config.episodes.store_actions,
        remedy=_remedy(experiment),
    ) as writer:
        writer.flush()
        yield writer


def write_waiting_rows(experiment: Experiment, store: EpisodeStore) -> None:
    """Write to Postgres what waits on disk from an earlier process.

    Raises:
        StoreUnavailableError: Postgres is away.
    """
    if rows_waiting(experiment):
        with open_writer(experiment, store):
            pass


def _remedy(experiment: Experiment) -> str:
    """What the person does when rows wait."""
    return (
        "When the cause is gone, give the command of this run again"
        f" with --experiment {experiment.name}: it writes them and goes on from here."
    )


def rows_waiting(experiment: Experiment) -> dict[Path, int]:
    """The files that hold rows of the experiment that are not in Postgres, and how many each holds."""
    files = (experiment.episode_spool, refused_file(experiment.episode_spool))
    return {file: number for file in files if (number := waiting(file))}


def files_in_words(found: Mapping[Path, int]) -> str:
    """What :func:`rows_waiting` found, for a message."""
    counts = ", ".join(f"{number} episode{'s' * (number != 1)} in {file}" for file, number in found.items())
    return f"{counts} wait for Postgres"


def checked_name(name: str) -> str:
    """`name` if it can name an experiment: it becomes a folder's name, and stands in commands.

    Raises:
        ConfigError: it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(f"an experiment cannot be named {name!r}: use letters, digits, dots, dashes (at most 100)")
    return name


def start_experiment(config: Config, name: str, settings: Settings, flow_run_id: str | None) -> Experiment:
    """Begin the experiment `name`, or go on with it if it was begun before.

    Raises:
        ConfigError: an experiment of this name was begun with another configuration.
        StoreError, TrackingError: Postgres or MLflow cannot be reached.
    """
    # Two first runs of one name at once must not make two experiments.
    with open_store(settings) as store, store.name_lock(name):
        known = store.find_experiment(name)
        if known is not None:
            return _continue(config, name, settings, store, known, flow_run_id)
        return _begin(config, name, settings, store, flow_run_id)


@contextmanager
def experiment_held(experiment: Experiment) -> Iterator[None]:
    """Keep every other process from running the same experiment, by a lock in Postgres that ends with this process.

    Raises:
        ExperimentLockedError: another process runs it.
    """
    with open_store(experiment.settings) as store, store.experiment_lock(experiment.id):
        yield


def finish_experiment(experiment: Experiment, status: str) -> None:
    """Write how the experiment ended: completed, failed or interrupted.

    Raises:
        StoreUnavailableError: it is completed, and Postgres is away. Otherwise that is only logged: an error that matters more
            is on its way, and often has the same cause.
    """
    try:
        with open_store(experiment.settings) as store:
            store.update_experiment(experiment.id, status=status, ended=datetime.now(UTC))
    except StoreUnavailableError as error:
        if status == "completed":
            raise
        logger.warning("Postgres does not know that %s is %s: %s", experiment.name, status, error)


def load_experiment(name: str, settings: Settings) -> Experiment:
    """An experiment that was begun before, by its name or id, with the configuration it was begun with.

    Raises:
        StoreError: there is none of this name; the message names the nearest.
    """
    with open_store(settings) as store:
        stored = store.experiment(name)
    record = stored.record
    config = from_dict(record.config, f"experiment {record.name}")
    return Experiment(
        stored.id, record.name, config, record.mlflow_run_id, settings.experiment_directory(record.name), settings
    )


def _begin(config: Config, name: str, settings: Settings, store: EpisodeStore, flow_run_id: str | None) -> Experiment:
    from agents import provenance

    origin = provenance(config.train.device)
    values = to_dict(config)
    run = TrackedRun.open(
        resolve_tracking_uri(settings.tracking_uri, settings.home),
        config.tracking.experiment,
        name,
        tags={
            "git_commit": origin.git_commit or "unknown",
            "git_dirty": str(origin.git_dirty).lower(),
            "config_hash": config_hash(config),
            **labels(config),
            "device": origin.device,
            "host": origin.host,
            "python": origin.python,
            "torch": origin.torch,
        },
        home=settings.home,
        spool=_metric_spool(settings.experiment_directory(name)),
    )
    with run:
        run.log_config(values)
        run.log_dict(origin.to_json(), "provenance.json")
    record = ExperimentRecord(
        name=name,
        config=values,
        config_hash=config_hash(config),
        seed=config.seed,
        mlflow_run_id=run.run_id,
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
    directory = settings.experiment_directory(name)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(values, indent=2))
    logger.info("experiment %s (row %d, MLflow run %s), files in %s", name, experiment_id, run.run_id, directory)
    return Experiment(experiment_id, name, config, run.run_id, directory, settings)


def _continue(
    config: Config, name: str, settings: Settings, store: EpisodeStore, experiment_id: int, flow_run_id: str | None
) -> Experiment:
    record = store.experiment(experiment_id).record
    begun = record.config_hash
    if begun != config_hash(config):
        # An earlier version did not have all of today's keys: it meant their defaults.
        begun = config_hash(from_dict(record.config, f"experiment {name}"))
    if begun != config_hash(config):
        raise ConfigError(
            f"experiment {name} was begun with another configuration (hash {record.config_hash[:12]}, now "
            f"{config_hash(config)[:12]}): give it the same preset and the same --set to go on, or begin one of another name"
        )
    store.update_experiment(experiment_id, status="running", ended=None, prefect_flow_run_id=flow_run_id)
    logger.info("going on with experiment %s (row %d)", name, experiment_id)
    experiment = Experiment(experiment_id, name, config, record.mlflow_run_id, settings.experiment_directory(name), settings)
    write_waiting_rows(experiment, store)
    return experiment


def recorded(store: EpisodeStore, experiment_id: int, phase: str, protocol: str = "training") -> "Recorded":
    """What Postgres holds of a phase before it is (again) begun: episodes and the sum of their rewards."""
    from agents import Recorded

    rows = store.episodes(experiment_id, phase=phase, protocol=protocol)
    return Recorded(len(rows), float(rows["reward"].sum()))
