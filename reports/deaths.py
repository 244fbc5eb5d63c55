"""The positions in a level where episodes end."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.style import END_REASON_COLOURS

BIN_WIDTH = 64  # pixels: four of the game's blocks


@dataclass(frozen=True)
class Endings:
    """The endings of a group of episodes in one level.

    Attributes:
        episodes: episodes in the group, in all levels.
        edges: edges of the bins in pixels, float64 of shape (bins + 1,).
        shares: for each end reason the share of the group's episodes that end in each bin, float64 of shape (bins,). The
            shares of all reasons and levels sum to 1.
    """

    episodes: int
    edges: npt.NDArray[np.float64]
    shares: dict[str, npt.NDArray[np.float64]]

    def total(self) -> npt.NDArray[np.float64]:
        """The share of the episodes that end in each bin for any reason, float64 of shape (bins,)."""
        return np.sum(list(self.shares.values()), axis=0) if self.shares else np.zeros(len(self.edges) - 1)


def levels_of(rows: pd.DataFrame, most: int = 3) -> list[tuple[int, int]]:
    """The at most `most` levels (world, stage) in which most episodes end, in the order of the game."""
    counts = rows.groupby(["world", "stage"]).size().sort_values(ascending=False, kind="stable").head(most)
    return sorted((int(world), int(stage)) for world, stage in counts.index)


def endings(rows: pd.DataFrame, level: tuple[int, int], end_x: float) -> Endings:
    """The endings of the episodes `rows` in `level`, in bins of :data:`BIN_WIDTH` pixels from 0 to at least `end_x`."""
    edges = np.arange(0, end_x + BIN_WIDTH, BIN_WIDTH, dtype=np.float64)
    here = rows[(rows["world"] == level[0]) & (rows["stage"] == level[1])]
    shares: dict[str, npt.NDArray[np.float64]] = {}
    known: list[str] = list(END_REASON_COLOURS)
    for reason in [*known, *sorted({str(reason) for reason in here["end_reason"]} - set(known))]:
        x = here.loc[here["end_reason"] == reason, "x_pos"].to_numpy(dtype=np.float64)
        if len(x):
            shares[reason] = np.histogram(np.clip(x, edges[0], edges[-1]), bins=edges)[0] / len(rows)
    return Endings(episodes=len(rows), edges=edges, shares=shares)
