"""The episode store: every episode ever played, one row each in Postgres, and what can be asked of them."""

from episodes.embedded import psql_command, remove_embedded, stop_embedded
from episodes.errors import ExperimentLockedError, RowError, StoreError, StoreUnavailableError
from episodes.overview import ExperimentOverview
from episodes.schema import EpisodeRow, ExperimentRecord
from episodes.store import EpisodeStore, StoredEpisode, StoredExperiment
from episodes.writer import EpisodeWriter

__all__ = [
    "EpisodeRow",
    "EpisodeStore",
    "EpisodeWriter",
    "ExperimentLockedError",
    "ExperimentOverview",
    "ExperimentRecord",
    "RowError",
    "StoreError",
    "StoreUnavailableError",
    "StoredEpisode",
    "StoredExperiment",
    "psql_command",
    "remove_embedded",
    "stop_embedded",
]
