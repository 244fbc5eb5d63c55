"""The files of experiments that are pruned."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from configs import Settings
from episodes.pruning import Prunable, Rule, find, prune
from tasks.experiment import open_store
from tasks.folder import folder_of
from tasks.sharing import shared_folder


@dataclass(frozen=True)
class Found:
    """What a rule finds of one experiment, and its files.

    Attributes:
        rows: its rows in Postgres.
        folder: its folder, which is deleted with it; None: the rule deletes no files, or the folder is not on this machine.
        files: how many files there are in it.
        bytes: of these files.
    """

    rows: Prunable
    folder: Path | None
    files: int
    bytes: int


def find_prunable(settings: Settings, rules: Sequence[Rule], days: int) -> list[Found]:
    """What the rules find of experiments that ended more than `days` days ago.

    Raises:
        StoreError: the database fails.
    """
    with open_store(settings) as store:
        return [_found(each, settings) for each in find(store, rules, timedelta(days=days))]


def prune_all(settings: Settings, found: Sequence[Found], days: int) -> Iterator[tuple[Found, bool]]:
    """Delete what :func:`find_prunable` found; gives each with whether it was deleted: it may have been continued meanwhile.

    Raises:
        StoreError: the database fails.
        OSError, SharedStorageError: a file cannot be deleted.
    """
    with open_store(settings) as store:
        for each in found:
            remove = partial(_remove, each, settings)
            yield each, prune(store, each.rows, timedelta(days=days), remove)


def _found(rows: Prunable, settings: Settings) -> Found:
    folder = None if rows.rule == "actions" else folder_of(rows.name, rows.started, settings)
    files = [] if folder is None else [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return Found(rows, folder, len(files), sum(path.stat().st_size for path in files))


def _remove(found: Found, settings: Settings) -> None:
    """Delete what is on this machine, and what machines share."""
    if found.rows.rule == "actions":
        return
    if (shared := shared_folder(settings, found.rows.id, found.rows.started)) is not None:
        shared.remove()
    if found.folder is not None:
        shutil.rmtree(found.folder)
