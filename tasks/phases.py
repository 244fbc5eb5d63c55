"""Records of finished phases, by which a restarted run continues where it stopped.

They are in Postgres, where every machine finds them. Prefect's task states would not do: Prefect's database may be temporary,
and a flow that was killed has no final state.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from episodes import EpisodeStore, StoreUnavailableError
from episodes.records import archive_phases, finished_phase, save_phase
from episodes.schema import RecordedPhase
from tasks.earlier_files import absolute_paths, relative_paths
from tasks.experiment import Experiment, naming_waiting_rows, open_store

PHASES: tuple[RecordedPhase, ...] = ("smoke", "integration", "train", "evaluate", "report")


@dataclass(frozen=True)
class PhaseRecord:
    """The record of a finished phase.

    Attributes:
        phase: its name.
        seconds: its wall-clock time.
        details: results for later phases and the report, as JSON types. Paths below the experiment's folder are stored
            relative to it.
    """

    phase: RecordedPhase
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict)


def save(experiment: Experiment, record: PhaseRecord) -> PhaseRecord:
    """Record a finished phase. NaN and infinities in its details become null. Returns `record`.

    Raises:
        FencedError: another attempt has taken over.
        StoreUnavailableError: Postgres is unavailable.
    """
    plain = json.loads(json.dumps(relative_paths(record.details, experiment.directory)), parse_constant=lambda _: None)
    with _open_store(experiment) as store:
        save_phase(store, experiment.required_claim.token, record.phase, record.seconds, plain)
    return record


def finished(experiment: Experiment, phase: RecordedPhase) -> PhaseRecord | None:
    """The record of `phase`; None if it has not finished.

    Raises:
        StoreUnavailableError: Postgres is unavailable.
    """
    with _open_store(experiment) as store:
        found = finished_phase(store, experiment.id, phase)
    return None if found is None else PhaseRecord(phase, found.seconds, absolute_paths(found.details, experiment.directory))


def archive(experiment: Experiment, names: Iterable[RecordedPhase], kept_as: str) -> None:
    """Keep the records of these phases under the name `kept_as`, so that the phases run again.

    Raises:
        FencedError: another attempt has taken over.
        StoreUnavailableError: Postgres is unavailable.
    """
    with _open_store(experiment) as store:
        archive_phases(store, experiment.required_claim.token, names, kept_as)


@contextmanager
def _open_store(experiment: Experiment) -> Iterator[EpisodeStore]:
    """The store of the attempt, which is open already, or a new one."""
    try:
        if experiment.claim is not None:
            yield experiment.claim.store
        else:
            with open_store(experiment.settings) as store:
                yield store
    except StoreUnavailableError as error:
        raise naming_waiting_rows(experiment, error) from None
