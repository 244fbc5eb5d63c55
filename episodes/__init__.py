"""The episode store: every episode ever played, one row each in Postgres, and what can be asked of them."""

from episodes.backup import back_up, restore
from episodes.embedded import psql_command, remove_embedded, stop_embedded
from episodes.errors import ExperimentLockedError, FencedError, RevisionError, RowError, StoreError, StoreUnavailableError
from episodes.fencing import FencingToken
from episodes.leases import Claim, Lease
from episodes.overview import ExperimentOverview
from episodes.schema import AttemptRecord, EpisodeRow, ExperimentRecord
from episodes.store import EpisodeStore, StoredEpisode, StoredExperiment
from episodes.upgrading import upgrade_database
from episodes.writer import EpisodeWriter

__all__ = [
    "AttemptRecord",
    "Claim",
    "EpisodeRow",
    "EpisodeStore",
    "EpisodeWriter",
    "ExperimentLockedError",
    "ExperimentOverview",
    "ExperimentRecord",
    "FencedError",
    "FencingToken",
    "Lease",
    "RevisionError",
    "RowError",
    "StoreError",
    "StoreUnavailableError",
    "StoredEpisode",
    "StoredExperiment",
    "back_up",
    "psql_command",
    "remove_embedded",
    "restore",
    "stop_embedded",
    "upgrade_database",
]
