"""Archiving of evaluations that are no longer valid: their episodes move to another experiment, and none is deleted."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from episodes import EpisodeStore
from tasks.experiment import Experiment

_MAX_PREFIX = 80  # characters of the experiment's name that the new name begins with; it must be a valid name too


def archive_evaluation(store: EpisodeStore, experiment: Experiment, steps: int) -> str | None:
    """Move the evaluation's rows of `experiment` to a new experiment ``NAME-at-STEPS``, or the next free name.

    If the process is killed in between, the new experiment has no rows, and the next call uses it.

    Returns:
        A message on how many episodes belong to which experiment now; None if there were no rows.
    """
    if store.count(experiment.id, "evaluate") == 0:
        return None
    record = store.experiment(experiment.id).record
    for name in _names(experiment.name, steps):
        known = store.find_experiment(name)
        if known is None:
            target = store.create_experiment(replace(record, name=name, status="completed", ended=datetime.now(UTC), attempt=0))
            break
        if store.experiment(known).record.mlflow_run_id == record.mlflow_run_id and store.count(known) == 0:
            target = known
            break
    moved = store.move_episodes(experiment.required_claim.token, "evaluate", target)
    return f"{moved} episodes belong to the experiment {name} now"


def numbered_differently(indices: Mapping[int, int], episodes: int) -> bool:
    """Whether an earlier version played some of the episodes recorded under one protocol.

    In this version, the episodes of an evaluation have `env_index` 0 to `episodes` - 1 and `episode_index` 0. Earlier versions
    numbered the episodes of each environment.

    Args:
        indices: the next `episode_index` for each `env_index`.
        episodes: the number of episodes to play under this protocol.
    """
    return any(env_index >= episodes or following > 1 for env_index, following in indices.items())


def _names(name: str, steps: int) -> Iterator[str]:
    yield f"{name[:_MAX_PREFIX]}-at-{steps}"
    for number in count(2):
        yield f"{name[:_MAX_PREFIX]}-at-{steps}-{number}"
