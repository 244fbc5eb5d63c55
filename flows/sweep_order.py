"""The order in which the runs of a sweep start: teachers before their pupils."""

from collections.abc import Sequence

from configs.sweep import SweepRun
from flows.sweep_progress import RunState


class Waiting:
    """The runs of a sweep that have not been started.

    Each waits for its teachers, and for room where few run at a time. So a pupil comes next when its teacher is completed, and
    not behind all other teachers.

    Args:
        runs: the runs, in the order in which they should start.
        at_once: how many may be started and not ended; None: any number.
    """

    def __init__(self, runs: Sequence[SweepRun], at_once: int | None) -> None:
        self._runs = list(runs)
        self._at_once = at_once

    @property
    def names(self) -> frozenset[str]:
        """The experiments of the runs that wait."""
        return frozenset(run.experiment for run in self._runs)

    def ready(self, states: dict[str, RunState]) -> list[SweepRun]:
        """The runs to start now. They wait until they are named to :meth:`started`.

        Args:
            states: the states of all runs of the sweep. A run whose teacher has failed gets the state `failed`.
        """
        for run in self._runs:
            failed = sorted(name for name in run.teachers if name in states and states[name].state == "failed")
            if failed:
                states[run.experiment] = RunState("failed", f"its teacher {failed[0]} has failed")
        self._runs = [run for run in self._runs if not states[run.experiment].ended]
        waiting = self.names
        under_way = sum(not each.ended for name, each in states.items() if name not in waiting)
        ready = [run for run in self._runs if all(states[name].ended for name in run.teachers if name in states)]
        return ready if self._at_once is None else ready[: max(0, self._at_once - under_way)]

    def started(self, runs: Sequence[SweepRun]) -> None:
        """Note that these runs were started."""
        names = {run.experiment for run in runs}
        self._runs = [run for run in self._runs if run.experiment not in names]
