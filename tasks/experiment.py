"""One experiment and what it is recorded in: its row in Postgres, its run in MLflow, its folder.

Tasks get an :class:`Experiment` and open what they need; nothing that is open crosses from one task to another.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from configs import Config, Settings, from_dict
from configs.errors import ConfigError
from episodes import EpisodeStore, EpisodeWriter, StoreUnavailableError
from episodes.writer import refused_outbox
from spool import count_pending
from tracking import TrackedRun, resolve_tracking_uri

if TYPE_CHECKING:
    from agents import EpisodeTotals

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

    def with_config(self, config: Config) -> "Experiment":
        """The same experiment, configured otherwise."""
        return replace(self, config=config)

    @property
    def episode_outbox(self) -> Path:
        """The file where its rows wait for Postgres."""
        return self.directory / "spool" / "episodes.sqlite"

    @property
    def metric_outbox(self) -> Path:
        """The file where metrics wait for MLflow; those of the other kinds are beside it."""
        return self.directory / "spool" / "metrics.sqlite"

    @property
    def owner(self) -> str:
        """Whom the rows in the outbox belong to: another database may give the same id to another experiment."""
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
    """The experiment's MLflow run, continued. It is left running: how it ends is said once, by the end of the pipeline."""
    settings = experiment.settings
    with TrackedRun.open(
        resolve_tracking_uri(settings.tracking_uri, settings.home),
        experiment.config.tracking.experiment,
        experiment.name,
        run_id=experiment.run_id,
        system_metrics=system_metrics and experiment.config.tracking.system_metrics,
        leave_running=True,
        home=settings.home,
        outbox=experiment.metric_outbox,
    ) as run:
        yield run


@contextmanager
def open_writer(experiment: Experiment, store: EpisodeStore) -> Iterator[EpisodeWriter]:
    """A writer of the experiment's rows. Those that wait from before are in Postgres when the block begins.

    Raises:
        StoreUnavailableError: at the end rows still wait, because Postgres is away; the message says where, and what to do.
        OutboxLockedError: another process runs this experiment.
    """
    with store.writer(
        experiment.episode_outbox,
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
    files = (experiment.episode_outbox, refused_outbox(experiment.episode_outbox))
    return {file: number for file in files if (number := count_pending(file))}


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


def recorded(store: EpisodeStore, experiment_id: int, phase: str, protocol: str = "training") -> "EpisodeTotals":
    """What Postgres holds of a phase before it is (again) begun: episodes and the sum of their rewards."""
    from agents import EpisodeTotals

    totals = store.totals(experiment_id, phase, protocol)
    return EpisodeTotals(totals.episodes, totals.reward_sum)
