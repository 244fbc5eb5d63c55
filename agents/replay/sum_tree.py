"""A sum tree: it samples indices in proportion to their values, and updates values, in logarithmic time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


class SumTree:
    """A binary tree over `capacity` values >= 0, all 0 at first, whose nodes hold the sums of their children.

    See appendix B.2.1 of Schaul et al. 2016. Each sum is computed from both children, never from a difference, so that
    rounding errors do not accumulate.

    Attributes:
        values: float64 (capacity,), a view of the leaves.
    """

    def __init__(self, capacity: int) -> None:
        self.leaves = _leaves(capacity)
        # Node 1 is the root. Node i has the children 2i and 2i + 1. The leaves are the second half.
        self._nodes = np.zeros(2 * self.leaves)
        self.values: NDArray[np.float64] = self._nodes[self.leaves : self.leaves + capacity]

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """`nbytes` of a tree of this capacity."""
        return 2 * _leaves(capacity) * 8

    @property
    def nbytes(self) -> int:
        """Bytes of all nodes."""
        return self._nodes.nbytes

    @property
    def total(self) -> float:
        """The sum of all values."""
        return float(self._nodes[1])

    def write(self, indices: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Set the values at `indices`, (n,); of several values for one index the last one counts."""
        _write(self._nodes, self.leaves, indices, values)

    def rebuild(self) -> None:
        """Recompute all sums, after `values` has been written to directly."""
        level = self.leaves
        while level > 1:
            self._nodes[level // 2 : level] = self._nodes[level : 2 * level].reshape(-1, 2).sum(axis=1)
            level //= 2

    def find(self, prefix_sums: NDArray[np.float64]) -> NDArray[np.int64]:
        """For each of `prefix_sums`, (n,) in [0, `total`), the first index up to which the values sum to more than it.

        An index whose value is 0 is never returned, whatever the rounding.
        """
        indices = np.empty(len(prefix_sums), np.int64)
        _find(self._nodes, self.leaves, prefix_sums, indices)
        return indices


def _leaves(capacity: int) -> int:
    return 1 << max(capacity - 1, 1).bit_length()


def _compiled(function: Any) -> Any:
    return njit(nogil=True, cache=True)(function)


@_compiled
def _write(nodes: Any, leaves: Any, indices: Any, values: Any) -> None:
    for row in range(len(indices)):
        node = leaves + indices[row]
        nodes[node] = values[row]
        node //= 2
        while node:
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]
            node //= 2


@_compiled
def _find(nodes: Any, leaves: Any, prefix_sums: Any, indices: Any) -> None:
    for row in range(len(prefix_sums)):
        remaining, node = prefix_sums[row], 1
        while node < leaves:
            node *= 2
            # Rounding may leave a remainder that is not below the sum of its subtree: never enter an empty one.
            if remaining >= nodes[node] and nodes[node + 1] > 0.0:
                remaining -= nodes[node]
                node += 1
        indices[row] = node - leaves
