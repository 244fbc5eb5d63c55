"""The input of a report.

The caller (a task) reads rows from the episode store, resources from MLflow and phases from their records. This package does
not access these systems.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from episodes.schema import TRAJECTORY_COLUMNS
from episodes.statistics import ProtocolSummary
from episodes.training import Training
from reports.style import levels_in_words
from reports.video import Frame

REQUIRED_COLUMNS = tuple(
    dict.fromkeys(
        [
            *("protocol", "timestamp", "reward", "steps", "frames", "duration_seconds", "global_step"),
            *("distance_traveled", "x_pos", "world", "stage", "level_completed", "end_reason"),
            *TRAJECTORY_COLUMNS,
        ]
    )
)
"""The columns of an evaluation episode that the report reads. Rows with an ``id`` can also be shown as a video."""


class ReportError(ValueError):
    """A report cannot be made from this input; the message says why."""


@dataclass(frozen=True)
class PhaseTiming:
    """The duration of a phase of the pipeline; `seconds` is None if it has not ended."""

    name: str
    seconds: float | None
    status: str = "completed"


@dataclass(frozen=True)
class ResourceUse:
    """Samples of the use of one resource during the run, such as ("CPU", "%", [81.0, 83.5], [10.0, 60.0]).

    `seconds` is the time that each sample stands for; empty: all stand for the same.
    """

    name: str
    unit: str
    values: Sequence[float]
    seconds: Sequence[float] = ()


@dataclass(frozen=True)
class RuleCheck:
    """The result of one data-quality rule."""

    name: str
    passed: bool
    column: str = ""
    expected: str = ""
    observed: str = ""
    failing_count: int = 0
    phase: str = ""
    severity: str = "error"  # or "warning"
    accepted: str = ""  # the reason why a user has accepted the broken rule

    @property
    def verdict(self) -> str:
        """passed, accepted, warning or failed."""
        if self.passed or self.accepted:
            return "passed" if self.passed else "accepted"
        return "warning" if self.severity == "warning" else "failed"


@dataclass(frozen=True)
class ExperimentData:
    """The data of one experiment in a report.

    Attributes:
        name, id, config, provenance: as stored in the table `experiments`.
        train: the training episodes.
        evaluation: one row per episode with :data:`REQUIRED_COLUMNS` and `id`; it may be empty. Episodes on levels that the
            agent was not trained on are not among them.
        summaries: summaries by protocol; missing ones are computed from `evaluation`.
        levels: if there are several, summaries by level and protocol, also of levels that the agent was not trained on.
        phases, resources, quality: further sections of the report.
        replay: returns the frames (uint8 RGB, shape (240, 256, 3)) of the episode with a given id; None: no videos.
        inspect: writes the episode with a given id, taken apart, to a given HTML file; None: no such files.
        command: the commands that repeat the run; None: those for the configuration file next to the report.

    Raises:
        ReportError: `evaluation` lacks a column.
    """

    name: str
    id: int
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    train: Training
    evaluation: pd.DataFrame
    summaries: Mapping[str, ProtocolSummary] = field(default_factory=dict)
    levels: Mapping[str, Mapping[str, ProtocolSummary]] = field(default_factory=dict)
    phases: Sequence[PhaseTiming] = ()
    resources: Sequence[ResourceUse] = ()
    quality: Sequence[RuleCheck] = ()
    replay: Callable[[int], Iterable[Frame]] | None = None
    inspect: Callable[[int, Path], object] | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        missing = [column for column in REQUIRED_COLUMNS if column not in self.evaluation.columns]
        if missing and len(self.evaluation):
            raise ReportError(f"the evaluation rows of experiment {self.name} lack the columns {', '.join(missing)}")
        if missing:  # an empty frame without columns
            object.__setattr__(self, "evaluation", pd.DataFrame(columns=list(REQUIRED_COLUMNS)))

    @property
    def full_game(self) -> bool:
        """Whether the environment is the three-life game instead of one level."""
        return bool(self.config.get("environment", {}).get("game") == "full")

    @property
    def algorithm(self) -> str:
        """The name of the algorithm in capitals; "AGENT" if unknown. If the agent sees no frames, what it sees: "PPO-tiles"."""
        observation = self.config.get("environment", {}).get("observation", "frames")
        name = str(self.config.get("agent", {}).get("algorithm", "agent")).upper()
        return name if observation == "frames" else f"{name}-{observation}"

    @property
    def level_names(self) -> list[str]:
        """The levels that the agent was trained on, such as ``1-1``; empty for the full game."""
        environment = self.config.get("environment", {})
        if self.full_game:
            return []
        return list(environment.get("levels") or [f"{environment.get('world', 1)}-{environment.get('stage', 1)}"])

    @property
    def held_out(self) -> list[str]:
        """The levels that the agent was evaluated on, but not trained on."""
        return list(self.config.get("evaluate", {}).get("levels", []))

    @property
    def first_level(self) -> tuple[int, int]:
        """World and stage of the level in which episodes start; of several, the first."""
        first = (self.level_names or ["1-1"])[0]
        return int(first[0]), int(first[2])

    @property
    def level(self) -> str:
        """``level 1-1``, ``the levels 1-1, 1-2`` or ``the full game``."""
        return levels_in_words(self.level_names)


@dataclass(frozen=True)
class ReportData:
    """The data of a report on one experiment, or on a comparison of several.

    Raises:
        ReportError: there is no experiment.
    """

    experiments: Sequence[ExperimentData]
    title: str = "Super Mario Bros training report"

    def __post_init__(self) -> None:
        if not self.experiments:
            raise ReportError("there is no experiment to report on: name at least one")


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report, which are all in one folder. A video is None if it could not be made."""

    html: Path
    pngs: tuple[Path, ...]
    video_best: Path | None
    video_typical: Path | None
