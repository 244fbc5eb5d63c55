"""The record of a running episode."""

import time
from typing import Any, Self

from mario_env.summary import EpisodeStart

__all__ = ["EpisodeRecord"]


class EpisodeRecord:
    """The record of a running episode.

    Attributes:
        start: where it began.
        actions, delays: of each decision so far, see :class:`~mario_env.summary.EpisodeSummary`.
        started: the reading of `time.perf_counter` at its start.
    """

    def __init__(self, start: EpisodeStart) -> None:
        self.start = start
        self.actions, self.delays = bytearray(), bytearray()
        self.started = time.perf_counter()

    def to_json(self) -> dict[str, Any]:
        """Everything but actions and delays, which are stored apart. `decisions` is how many there are."""
        seconds = time.perf_counter() - self.started
        return {"start": self.start.to_json(), "decisions": len(self.actions), "seconds": seconds}

    @classmethod
    def from_json(cls, value: dict[str, Any], actions: bytes, delays: bytes) -> Self:
        """The inverse of :meth:`to_json`. The wall-clock time goes on from now."""
        record = cls(EpisodeStart.from_json(value["start"]))
        record.actions, record.delays = bytearray(actions), bytearray(delays)
        record.started -= value["seconds"]
        return record
