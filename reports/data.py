"""What a report is made from.

The caller (a task) reads the rows from the episode store, the resources from MLflow and the phases from the flow; nothing here
knows where they came from.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from episodes.schema import TRAJECTORY_COLUMNS
from episodes.statistics import ProtocolSummary
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
"""The columns of an episode row that the report reads; rows that have an ``id`` can also be shown as a video."""


class ReportError(ValueError):
    """A report cannot be made of this; the message says what is missing."""


@dataclass(frozen=True)
class PhaseTiming:
    """How long a phase of the pipeline took; `seconds` is None while it has not ended."""

    name: str
    seconds: float | None
    status: str = "completed"


@dataclass(frozen=True)
class ResourceUse:
    """Samples of one resource over the run, in `unit`: for example ("CPU", "%", [81.0, 83.5])."""

    name: str
    unit: str
    values: Sequence[float]


@dataclass(frozen=True)
class RuleCheck:
    """One data-quality rule and whether the rows kept it."""

    name: str
    passed: bool
    column: str = ""
    expected: str = ""
    observed: str = ""
    failing_count: int = 0
    phase: str = ""
    severity: str = "error"  # or "warning"
    accepted: str = ""  # why a person has accepted that it is broken

    @property
    def verdict(self) -> str:
        """How it stands: passed, accepted, warning or failed."""
        if self.passed or self.accepted:
            return "passed" if self.passed else "accepted"
        return "warning" if self.severity == "warning" else "failed"


@dataclass(frozen=True)
class ExperimentData:
    """Everything the report says about one experiment.

    `train`, `evaluation` and `validation` (episodes of the policy of the moment in the course of the training) hold one row an
    episode with the columns of the episode store (:data:`REQUIRED_COLUMNS`, and `id`); all may be empty. `summaries` are
    computed from `evaluation` where they are not given. `replay` yields the RGB frames, uint8 (240, 256, 3), of the episode
    with the given id; without it there is no video. `command` is the line that repeats
    the run (default: from the configuration that is written beside the report).

    Raises :class:`ReportError` for a frame that lacks a column.
    """

    name: str
    id: int
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    train: pd.DataFrame
    evaluation: pd.DataFrame
    validation: pd.DataFrame = field(default_factory=pd.DataFrame)
    summaries: Mapping[str, ProtocolSummary] = field(default_factory=dict)
    phases: Sequence[PhaseTiming] = ()
    resources: Sequence[ResourceUse] = ()
    quality: Sequence[RuleCheck] = ()
    replay: Callable[[int], Iterable[Frame]] | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        for label in ("train", "evaluation", "validation"):
            frame: pd.DataFrame = getattr(self, label)
            missing = [column for column in REQUIRED_COLUMNS if column not in frame.columns]
            if missing and len(frame):
                raise ReportError(f"the {label} rows of experiment {self.name} lack the columns {', '.join(missing)}")
            if missing:  # no row, no column: an empty frame made by hand
                object.__setattr__(self, label, pd.DataFrame(columns=list(REQUIRED_COLUMNS)))

    @property
    def full_game(self) -> bool:
        """Whether the three-life game was played rather than one level."""
        return bool(self.config.get("environment", {}).get("game") == "full")

    @property
    def algorithm(self) -> str:
        """The learning algorithm's name in capitals, or "agent"."""
        return str(self.config.get("agent", {}).get("algorithm", "agent")).upper()

    @property
    def first_level(self) -> tuple[int, int]:
        """World and stage of the level in which episodes begin."""
        environment = self.config.get("environment", {})
        return (1, 1) if self.full_game else (int(environment.get("world", 1)), int(environment.get("stage", 1)))

    @property
    def level(self) -> str:
        """The level played, such as ``1-1``, or ``the full game``."""
        if self.full_game:
            return "the full game"
        return "{}-{}".format(*self.first_level)


@dataclass(frozen=True)
class ReportData:
    """One report over one or several experiments; with several the report compares them.

    Raises :class:`ReportError` if there is no experiment.
    """

    experiments: Sequence[ExperimentData]
    title: str = "Super Mario Bros training report"

    def __post_init__(self) -> None:
        if not self.experiments:
            raise ReportError("there is no experiment to report on: name at least one")


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report, all in one folder; a video is None where none could be made."""

    html: Path
    pngs: tuple[Path, ...]
    video_best: Path | None
    video_typical: Path | None
