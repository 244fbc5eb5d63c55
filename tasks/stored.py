"""Checks apart from any run: experiments whose process is gone, and stored rows that break a rule."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs import Settings
from episodes import EpisodeStore, ExperimentOverview
from episodes.overview import ended_since
from episodes.schema import PHASES
from tasks.artifacts import show_table
from tasks.experiment import open_store

logger = logging.getLogger(__name__)

_MOST: Final = 10_000  # experiments looked at
_STARTING: Final = timedelta(minutes=1)  # an experiment has its row before its first attempt


@dataclass(frozen=True)
class BrokenRule:
    """A data-quality rule that stored rows break.

    Attributes:
        experiment, phase: whose rows.
        rule: its name.
        observed, expected: in words.
    """

    experiment: str
    phase: str
    rule: str
    observed: str
    expected: str


def stale_runs(store: EpisodeStore) -> Sequence[ExperimentOverview]:
    """The experiments that are recorded as running, and that no process holds."""
    latest = datetime.now(UTC) - _STARTING
    unheld = store.overview(_MOST, status="running", held=False)
    return [each for each in unheld if each.attempt or each.started < latest]


def held_runs(store: EpisodeStore) -> Sequence[ExperimentOverview]:
    """The experiments that are recorded as running, and whose lease has not expired."""
    return store.overview(_MOST, status="running", held=True)


@task(name="stored rows", cache_policy=NO_CACHE, persist_result=False)
def check_stored_rows(settings: Settings, hours: float) -> list[BrokenRule]:
    """Check the rows of all experiments that ended within the last `hours`, and return the rules that they break.

    Neither the trainer's counts nor MLflow's sums are compared. The run's own checks do that.

    Raises:
        StoreError: the database fails.
    """
    from episodes.expectations import validate

    broken: list[BrokenRule] = []
    checked = 0
    with open_store(settings) as store:
        for number, name in ended_since(store, datetime.now(UTC) - timedelta(hours=hours)):
            for phase in PHASES:
                if not store.count(number, phase):
                    continue
                result = validate(store, number, phase, counted=None)
                checked += result.rows_checked
                broken += [BrokenRule(name, phase, each.name, each.observed, each.expected) for each in result.failed_rules]
    rows = [vars(each) for each in broken]
    show_table("stored-rows", rows, f"{checked} rows checked; {len(rows)} rules broken")
    logger.info("%d rows of experiments that ended within %g hours: %d rules broken", checked, hours, len(broken))
    return broken
