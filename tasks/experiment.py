"""An experiment and its records: its row in Postgres, its run in MLflow, and its folder.

Tasks receive an :class:`Experiment` and open the store, writer and run that they need. They do not pass open resources on.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from configs import Config, Settings, from_dict
from configs.errors import ConfigError
from episodes import Claim, EpisodeStore, EpisodeWriter, FencingToken, StoreUnavailableError
from episodes.writer import refused_outbox
from spool import count_pending
from tasks.earlier_files import import_files
from tasks.naming import mlflow_experiment
from tracking import TrackedRun, resolve_tracking_uri

if TYPE_CHECKING:
    from agents import EpisodeTotals

logger = logging.getLogger(__name__)


class NotClaimedError(RuntimeError):
    """Records of an experiment were to be written by a process that does not run it."""


@dataclass(frozen=True)
class Experiment:
    """A configured training with its row, its MLflow run and its folder.

    Attributes:
        id: id of its row in the table `experiments`.
        name: its unique name, which is also the name of its folder and of its MLflow run.
        config: its configuration.
        run_id: id of its MLflow run; None before it has one.
        directory: folder of its checkpoints, model and report.
        settings: the home folder and the servers.
        claim: the right of this process to write; None: it only reads.
    """

    id: int
    name: str
    config: Config
    run_id: str | None
    directory: Path
    settings: Settings
    claim: Claim | None = field(default=None, compare=False, repr=False)

    @property
    def required_claim(self) -> Claim:
        """The right to write.

        Raises:
            NotClaimedError: this process does not run the experiment.
        """
        if self.claim is None:
            raise NotClaimedError(f"this process does not run the experiment {self.name}, so it must not write to its records")
        return self.claim

    def with_config(self, config: Config) -> "Experiment":
        """The same experiment with another configuration."""
        return replace(self, config=config)

    @property
    def spool(self) -> Path:
        """The folder of what waits for a server. Each attempt has its own: an earlier one may still have its files open."""
        return spool_of(self.directory, 0 if self.claim is None else self.claim.token.attempt)

    @property
    def episode_outbox(self) -> Path:
        """The file of rows that wait for Postgres."""
        return self.spool / "episodes.sqlite"

    @property
    def metric_outbox(self) -> Path:
        """The file of metrics that wait for MLflow. The files for tags, parameters and documents are next to it."""
        return self.spool / "metrics.sqlite"

    @property
    def owner(self) -> str:
        """A unique identity for the rows in the outbox. In another database, another experiment may have the same id."""
        return f"experiment {self.id}, MLflow run {self.run_id}"


def spool_of(directory: Path, attempt: int) -> Path:
    """The folder of what an attempt has yet to send, below the experiment's `directory`."""
    return directory / "spool" / f"attempt-{attempt:04d}"


def open_store(settings: Settings) -> EpisodeStore:
    """Open the episode store of `settings`. The caller closes it."""
    return EpisodeStore.open(settings.database_url, settings.create_home())


def open_experiment_store(experiment: Experiment) -> EpisodeStore:
    """Open the episode store for a phase of `experiment`. The caller closes it.

    Raises:
        StoreUnavailableError: Postgres is unavailable; the message says whether rows wait for it.
    """
    try:
        return open_store(experiment.settings)
    except StoreUnavailableError as error:
        failure = naming_waiting_rows(experiment, error)
    raise failure


def naming_waiting_rows(experiment: Experiment, error: StoreUnavailableError) -> StoreUnavailableError:
    """An error like `error` that also says where rows of `experiment` wait; `error` itself if none do."""
    found = rows_waiting(experiment)
    if not found:
        return error
    return StoreUnavailableError(f"{error.args[0]} {describe_waiting_rows(found)}. {_remedy(experiment)}")


@contextmanager
def open_run(experiment: Experiment, *, system_metrics: bool = False) -> Iterator[TrackedRun]:
    """Continue the experiment's MLflow run in a `with` block. The run stays open; only the end of the pipeline ends it.

    Raises:
        FencedError: another attempt has taken over.
        NotClaimedError: this process does not run the experiment.
        TrackingError: MLflow cannot be reached or refuses.
    """
    settings = experiment.settings
    with TrackedRun.open(
        resolve_tracking_uri(settings.tracking_uri, settings.home),
        mlflow_experiment(experiment.config),
        experiment.name,
        run_id=experiment.run_id,
        system_metrics=system_metrics and experiment.config.tracking.system_metrics,
        leave_running=True,
        home=settings.home,
        outbox=experiment.metric_outbox,
        guard=experiment.required_claim.guard,
    ) as run:
        yield run


@contextmanager
def open_writer(experiment: Experiment, store: EpisodeStore) -> Iterator[EpisodeWriter]:
    """Open a writer of the experiment's rows. Rows that were waiting are in Postgres when the block starts.

    Raises:
        StoreUnavailableError: rows still wait at the end of the block, because Postgres is unavailable. The message says where
            they wait, and what to do.
        FencedError: another attempt has taken over.
        NotClaimedError: this process does not run the experiment.
    """
    with store.writer(
        experiment.episode_outbox,
        experiment.owner,
        token=experiment.required_claim.token,
        store_actions=experiment.config.episodes.store_actions,
        remedy=_remedy(experiment),
    ) as writer:
        writer.flush()
        yield writer


def write_waiting_rows(experiment: Experiment, store: EpisodeStore) -> None:
    """Write rows of an earlier process that wait on disk to Postgres.

    Raises:
        StoreUnavailableError: Postgres is unavailable.
    """
    if rows_waiting(experiment):
        with open_writer(experiment, store):
            pass


def _remedy(experiment: Experiment) -> str:
    """What the user can do when rows wait."""
    return (
        "When the cause is gone, repeat the command of this run"
        f" with --experiment {experiment.name}: it writes them and continues from here."
    )


def rows_waiting(experiment: Experiment) -> dict[Path, int]:
    """The number of the experiment's rows that are not in Postgres, for each file that contains some."""
    files = (experiment.episode_outbox, refused_outbox(experiment.episode_outbox))
    return {file: number for file in files if (number := count_pending(file))}


def describe_waiting_rows(found: Mapping[Path, int]) -> str:
    """A description of the result of :func:`rows_waiting` for a message."""
    counts = ", ".join(f"{number} episode{'s' * (number != 1)} in {file}" for file, number in found.items())
    return f"{counts} wait for Postgres"


def checked_name(name: str) -> str:
    """Check that `name` can name an experiment: it becomes the name of a folder, and is used in commands. Returns `name`.

    Raises:
        ConfigError: it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(f"an experiment cannot be named {name!r}: use letters, digits, dots, dashes (at most 100)")
    return name


def load_experiment(name: str, settings: Settings) -> Experiment:
    """Load an existing experiment by its name or id, with its stored configuration, to read its records.

    Raises:
        StoreError: there is no such experiment; the message suggests the nearest name.
    """
    with open_store(settings) as store:
        stored = store.experiment(name)
        record, directory = stored.record, settings.experiment_directory(stored.record.name)
        import_files(store, FencingToken(stored.id, record.attempt), directory)
    config = from_dict(record.config, f"experiment {record.name}")
    return Experiment(stored.id, record.name, config, record.mlflow_run_id, directory, settings)


def recorded_totals(store: EpisodeStore, experiment_id: int, phase: str, protocol: str = "training") -> "EpisodeTotals":
    """The number of episodes of a phase in Postgres before the phase starts or resumes, and the sum of their rewards."""
    from agents import EpisodeTotals

    totals = store.totals(experiment_id, phase, protocol)
    return EpisodeTotals(totals.episodes, totals.reward_sum)
