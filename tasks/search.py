"""The search for demonstrations, before the training (`train.curriculum.search`).

What was found is in the file `demonstrations.json` in the experiment's folder, which machines share, and in MLflow. The file
is written after each demonstration, so a search that was interrupted goes on behind it. If the file is missing or damaged, the
same play is found again, because the search depends on nothing but the configuration and its seed.
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any, TypeAlias

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.seeds import Stream, seed_of
from mario_env.demonstrations import encode
from tasks import phases
from tasks.artifacts import show_table
from tasks.experiment import Experiment, open_run
from tasks.sharing import SEARCHED

logger = logging.getLogger(__name__)

Demonstrations: TypeAlias = dict[str, list[str]]
"""Demonstrations by level, as `train.curriculum.demonstrations` takes them."""

_Documents: TypeAlias = dict[str, list[dict[str, Any]]]


@task(name="demonstration search", cache_policy=NO_CACHE, persist_result=False)
def search_demonstrations(experiment: Experiment) -> Demonstrations:
    """Search for demonstrations of the levels that have none in the configuration, unless they were found before.

    Raises:
        SearchError: nothing was found within the budget.
        FencedError: another attempt has taken over.
    """
    if phases.finished(experiment, "train"):
        return {}  # nobody needs them any more
    file = experiment.directory / SEARCHED
    documents = _read(file)
    for level, number in _missing(experiment, documents):
        experiment.required_claim.require_current()
        documents.setdefault(level, []).append(_search(experiment, level, number))
        _write(file, documents)
    with open_run(experiment) as run:
        run.log_dict(documents, SEARCHED)
    _show(experiment, documents)
    return {level: [str(each["actions"]) for each in found] for level, found in documents.items()}


def _missing(experiment: Experiment, documents: _Documents) -> list[tuple[str, int]]:
    """Levels, and which demonstration of each, that are yet to be searched for."""
    config = experiment.config
    curriculum = config.train.curriculum
    if curriculum is None or curriculum.search is None:
        return []
    levels = [level for level in config.environment.level_names if not curriculum.plays(level)]
    numbers = {level: range(len(documents.get(level, [])), curriculum.search.demonstrations) for level in levels}
    return [(level, number) for level in levels for number in numbers[level]]


def _search(experiment: Experiment, level: str, number: int) -> dict[str, Any]:
    """Search for one demonstration. Returns what the file has of it."""
    from mario_env.search import changes, find

    config, started = experiment.config, time.perf_counter()
    assert config.train.curriculum is not None
    assert config.train.curriculum.search is not None
    seed = seed_of(config.seed, Stream.SEARCH, level, number)
    found = find(config.environment, level, config.train.curriculum.search, seed)
    document = {
        "actions": encode(config.environment, found.actions),
        "decisions": len(found.actions),
        "changes": changes(found.actions),
        "decisions_first": len(found.first),
        "changes_first": changes(found.first),
        "searched": found.searched,
        "played": found.played,
        "seconds": time.perf_counter() - started,
    }
    logger.info(
        "demonstration %d of %s: %d decisions, %d changes of action (as first found: %d, %d), %d decisions played in %.0f s",
        *(number + 1, level, document["decisions"], document["changes"], document["decisions_first"]),
        *(document["changes_first"], document["played"], document["seconds"]),
    )
    return document


def _read(file: Path) -> _Documents:
    """What was found before. A damaged file counts as missing."""
    try:
        documents = json.loads(file.read_text(encoding="utf-8"))
        return {str(level): [{**each, "actions": str(each["actions"])} for each in found] for level, found in documents.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s is damaged (%r): the search is repeated, and finds the same play", file, error)
        return {}


def _write(file: Path, documents: _Documents) -> None:
    """Rewrite the file atomically."""
    scratch = file.with_name(file.name + ".part")
    scratch.write_text(json.dumps(documents, indent=1), encoding="utf-8")
    os.replace(scratch, file)


def _show(experiment: Experiment, documents: _Documents) -> None:
    rows = [
        {"level": level, **{name.replace("_", ", "): value for name, value in each.items() if name != "actions"}}
        for level, found in documents.items()
        for each in found
    ]
    show_table("demonstrations", rows, f"Demonstrations that the search of {experiment.name} has found")
