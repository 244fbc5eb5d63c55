"""The progress of a sweep's runs, for the terminal and for Prefect."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from configs.sweep import SweepRun
from episodes import EpisodeStore, ExperimentOverview

State = Literal["queued", "running", "completed", "failed"]


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        state: a state that a run does not leave in this sweep is `completed` or `failed`.
        message: why it failed, or an empty string.
    """

    state: State
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.state in ("completed", "failed")


class SweepProgress:
    """The rows of the table of a sweep, read from Postgres.

    Only the experiments that run are read each time, so a long sweep costs the database no more than a short one.
    """

    def __init__(self, runs: Sequence[SweepRun]) -> None:
        self._runs = runs
        self._first: dict[str, tuple[float, int]] = {}
        self._seen: dict[str, ExperimentOverview] = {}
        self._final: set[str] = set()

    def rows(self, states: Mapping[str, RunState], store: EpisodeStore) -> list[dict[str, str]]:
        """One row for each run, as text.

        Raises:
            StoreError: the database fails.
        """
        started = [name for name, each in states.items() if each.state != "queued" and name not in self._final]
        for each in store.overview(len(started), names=started) if started else []:
            self._seen[each.name] = each
            if states[each.name].ended:
                self._final.add(each.name)
        now = time.monotonic()
        return [self._row(run, states[run.experiment], now) for run in self._runs]

    def percent(self, states: Mapping[str, RunState]) -> float:
        """The decisions of the whole sweep that have been trained, in percent; ended runs count whole."""
        done = total = 0
        for run in self._runs:
            steps = run.config.train.total_steps
            seen = self._seen.get(run.experiment)
            total += steps
            done += steps if states[run.experiment].ended else min(steps, seen.steps if seen else 0)
        return 100.0 * done / total

    def _row(self, run: SweepRun, state: RunState, now: float) -> dict[str, str]:
        seen = self._seen.get(run.experiment)
        steps = seen.steps if seen else 0
        return {
            "run": run.experiment,
            "state": state.state,
            "steps": f"{steps:,} of {run.config.train.total_steps:,}",
            "completed": _completed(seen),
            "left": self._left(run, state, steps, now),
        }

    def _left(self, run: SweepRun, state: RunState, steps: int, now: float) -> str:
        """The time that the training still needs at its speed since it was first seen."""
        if state.state != "running" or not steps:
            return ""
        began, first = self._first.setdefault(run.experiment, (now, steps))
        if steps == first:
            return ""
        return describe_seconds((run.config.train.total_steps - steps) * (now - began) / (steps - first))


def _completed(seen: ExperimentOverview | None) -> str:
    if seen is None:
        return ""
    if seen.played:
        return f"{seen.completed} of {seen.played}"
    return "" if seen.recent is None else f"{100 * seen.recent:.0f} % in training"


def describe_seconds(seconds: float) -> str:
    """A duration in its two largest units."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
