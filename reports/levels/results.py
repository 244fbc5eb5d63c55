"""What is kept of the levels, read from their folders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.levels import LEVELS, ROUTES, Route
from reports.data import ReportError
from reports.kept import EVALUATION, RUN
from reports.levels.keeping import LEVEL


@dataclass(frozen=True)
class LevelResult:
    """The kept result of one level and seed.

    Attributes:
        folder: where it is.
        level: such as 4-2.
        run, evaluation, facts: what run.json, evaluation.json and level.json have.
    """

    folder: Path
    level: str
    run: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.run["seed"])

    @property
    def route(self) -> Route:
        """The way through the level."""
        return route_of(self.level)

    @property
    def reached(self) -> bool:
        """Whether an evaluation episode of any protocol completed the level."""
        return bool(self.facts["shown"]["completed"])

    @property
    def picture(self) -> Path | None:
        """The flag, or the furthest moment; None: there is none."""
        path = self.folder / ("flag.png" if self.reached else "furthest.png")
        return path if path.exists() else None


def route_of(level: str) -> Route:
    """The way through a level such as 4-2."""
    return ROUTES[int(level[0]), int(level[2])]


def read_levels(folder: Path) -> list[LevelResult]:
    """The results in a folder of levels, by level and seed.

    Raises:
        ReportError: a file is missing or damaged; the message names it.
    """
    results = [_read(path.parent) for path in folder.glob(f"[!.]*/{LEVEL}")]
    return sorted(results, key=lambda each: (LEVELS.index(each.level), each.seed, each.folder.name))


def first_of_each(results: Sequence[LevelResult]) -> dict[str, LevelResult]:
    """The result of the lowest seed of each level."""
    first: dict[str, LevelResult] = {}
    for each in results:
        first.setdefault(each.level, each)
    return first


def _read(folder: Path) -> LevelResult:
    values = {}
    for name in (RUN, EVALUATION, LEVEL):
        try:
            values[name] = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ReportError(f"{folder / name} cannot be read ({error}): keep the level again, or restore the file") from None
    level = values[LEVEL].get("level")
    if level not in LEVELS:
        raise ReportError(f"{folder / LEVEL}: there is no level {level!r}: keep the level again, or restore the file")
    return LevelResult(folder, level, values[RUN], values[EVALUATION], values[LEVEL])
