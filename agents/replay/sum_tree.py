"""Numbers kept as a binary tree of their sums: drawn in proportion, and changed, in logarithmic time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


class SumTree:
    """`capacity` numbers that are not negative, 0 at first.

    Appendix B.2.1 of Schaul et al. 2016. A node's sum is computed from its children's, never from a difference, so that
    rounding does not add up.
    """

    def __init__(self, capacity: int) -> None:
        self.leaves = _leaves(capacity)
        # Node 1 is the root, node i has the children 2i and 2i + 1; the leaves are the second half.
        self._nodes = np.zeros(2 * self.leaves)
        self.values: NDArray[np.float64] = self._nodes[self.leaves : self.leaves + capacity]

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """Memory of a tree of so many numbers."""
        return 2 * _leaves(capacity) * 8

    @property
    def nbytes(self) -> int:
        """Its memory."""
        return self._nodes.nbytes

    @property
    def total(self) -> float:
        """The sum of all numbers."""
        return float(self._nodes[1])

    def write(self, places: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Set the numbers at `places`, (n,); where a place comes twice, its last value counts."""
        _write(self._nodes, self.leaves, places, values)

    def rebuild(self) -> None:
        """Compute all sums again, after `values` have been written from outside."""
        level = self.leaves
        while level > 1:
            self._nodes[level // 2 : level] = self._nodes[level : 2 * level].reshape(-1, 2).sum(axis=1)
            level //= 2

    def find(self, heights: NDArray[np.float64]) -> NDArray[np.int64]:
        """The places at `heights`, (n,), each in [0, `total`), when all numbers are stacked; never one whose number is 0."""
        places = np.empty(len(heights), np.int64)
        _find(self._nodes, self.leaves, heights, places)
        return places


def _leaves(capacity: int) -> int:
    return 1 << max(capacity - 1, 1).bit_length()


def _compiled(function: Any) -> Any:
    return njit(nogil=True, cache=True)(function)


@_compiled
def _write(nodes: Any, leaves: Any, places: Any, values: Any) -> None:
    for row in range(len(places)):
        node = leaves + places[row]
        nodes[node] = values[row]
        node //= 2
        while node:
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]
            node //= 2


@_compiled
def _find(nodes: Any, leaves: Any, heights: Any, places: Any) -> None:
    for row in range(len(heights)):
        height, node = heights[row], 1
        while node < leaves:
            node *= 2
            # Rounding may leave a height that is not below the sum it should be in: never go where nothing is.
            if height >= nodes[node] and nodes[node + 1] > 0.0:
                height -= nodes[node]
                node += 1
        places[row] = node - leaves
