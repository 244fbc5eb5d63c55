"""A further observation of games: what a teacher sees while its pupil sees something else."""

from typing import Any

import numpy as np
from numba import njit

from mario_env.nes.kernel import STAMP
from mario_env.nes.machine import Fleet
from mario_env.observations import Observation

__all__ = ["View"]


class View:
    """An observation of a fleet's machines, besides the one that the fleet itself computes.

    Args:
        fleet: the machines.
        observation: what is computed of them. It must not need pictures.

    Attributes:
        observations: of the observation's dtype, (count, *shape): the present one of each machine. The next call overwrites it.

    Raises:
        ValueError: the observation is made from pictures.
    """

    def __init__(self, fleet: Fleet, observation: Observation) -> None:
        if observation.draws:
            raise ValueError(
                f"the observation {observation.name} is made from pictures; a view is computed from the memory alone"
            )
        writer = observation.load_compiled()
        self.name = observation.name
        self.observations = np.zeros((fleet.count, *observation.shape), observation.dtype)
        self._machines, self._tables = fleet.machines, writer.make_tables(observation)
        self._before, self._scratch = np.zeros_like(self.observations), np.zeros(fleet.count, writer.SCRATCH)
        self._write = _make(STAMP, writer)

    def begin(self, index: int) -> None:
        """Write the first observation of a machine's episode."""
        self._call(index, index + 1, True)

    def go_on(self, first: int, last: int) -> None:
        """Write the observations of the machines from `first` up to `last`, which have played a decision."""
        self._before[first:last] = self.observations[first:last]
        self._call(first, last, False)

    def _call(self, first: int, last: int, begins: bool) -> None:
        self._write(first, last, begins, self._machines, self._tables, self._scratch, self._before, self.observations)


def _make(stamp: str, writer: Any) -> Any:
    # Numba's key holds what the function closes over: see `mario_env.nes.kernel`.
    @njit(nogil=True, cache=True, error_model="numpy")
    def write(
        first: int, last: int, begins: bool, machines: Any, tables: Any, scratch: Any, before: Any, observations: Any
    ) -> int:
        if len(stamp) == 0:
            return 0
        for i in range(first, last):
            # The observation looks at no screens; the scratch stands in for them.
            if begins:
                writer.write_first(machines[i], scratch, tables[0], scratch[i], observations[i])
            else:
                writer.write_next(machines[i], scratch, 0, tables[0], scratch[i], before[i], observations[i])
        return 0

    return write
