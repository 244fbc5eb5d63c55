"""Where along a level episodes end."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.style import END_REASON_COLOURS

BIN_WIDTH = 64  # pixels: four of the game's blocks


@dataclass(frozen=True)
class Endings:
    """How the episodes of one group end in one level.

    `shares` maps an end reason to the share of the group's episodes that end so in each bin (float64, one value a bin between
    neighbours of `edges`, in pixels). The shares of all reasons and levels sum to 1.
    """

    episodes: int
    edges: npt.NDArray[np.float64]
    shares: dict[str, npt.NDArray[np.float64]]

    def total(self) -> npt.NDArray[np.float64]:
        """The share of the episodes that end in each bin, however they end."""
        return np.sum(list(self.shares.values()), axis=0) if self.shares else np.zeros(len(self.edges) - 1)


def levels_of(rows: pd.DataFrame, most: int = 3) -> list[tuple[int, int]]:
    """The (world, stage) pairs in which most episodes end, at most `most`, in the game's order."""
    counts = rows.groupby(["world", "stage"]).size().sort_values(ascending=False, kind="stable").head(most)
    return sorted((int(world), int(stage)) for world, stage in counts.index)


def endings(rows: pd.DataFrame, level: tuple[int, int], end_x: float) -> Endings:
    """Where the episodes of `rows` end in `level`; bins of :data:`BIN_WIDTH` pixels from 0 to at least `end_x`."""
    edges = np.arange(0, end_x + BIN_WIDTH, BIN_WIDTH, dtype=np.float64)
    here = rows[(rows["world"] == level[0]) & (rows["stage"] == level[1])]
    shares: dict[str, npt.NDArray[np.float64]] = {}
    known: list[str] = list(END_REASON_COLOURS)
    for reason in [*known, *sorted({str(reason) for reason in here["end_reason"]} - set(known))]:
        x = here.loc[here["end_reason"] == reason, "x_pos"].to_numpy(dtype=np.float64)
        if len(x):
            shares[reason] = np.histogram(np.clip(x, edges[0], edges[-1]), bins=edges)[0] / len(rows)
    return Endings(episodes=len(rows), edges=edges, shares=shares)
