"""What can go wrong in this package, as classes a caller can catch."""

__all__ = ["DemonstrationError", "PlaybackError", "RomUnavailableError", "SearchError", "SnapshotError", "WorkerError"]


class RomUnavailableError(ValueError):
    """The configuration asks for a variant of the ROM that the installed gym-super-mario-bros does not carry."""


class DemonstrationError(ValueError):
    """A demonstration does not complete its level, or presses buttons that the environment has no action for."""


class PlaybackError(RuntimeError):
    """Recorded actions do not lead to the end of an episode under the given configuration."""


class SearchError(ValueError):
    """A search has found no play that completes a level; the message says how far it came, and what to change."""


class SnapshotError(ValueError):
    """Games cannot go on from a snapshot: it is of another emulator, other rules, or another number of games."""


class WorkerError(RuntimeError):
    """A process that played an environment failed, died or did not answer; the message names it and what happened.

    Attributes:
        index: which of the vectorised environments it was, from 0.
        pid: the process id.
        what: what happened to it, a predicate.
    """

    def __init__(self, index: int, pid: int | None, what: str) -> None:
        super().__init__(f"environment worker {index} (process {pid}) {what}")
        self.index = index
        self.pid = pid
        self.what = what
