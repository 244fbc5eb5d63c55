"""What can go wrong in this package, as classes a caller can catch."""

__all__ = ["PlaybackError", "RomUnavailableError", "SnapshotError", "WorkerError", "WorkerLostError"]


class RomUnavailableError(ValueError):
    """The configuration asks for a variant of the ROM that the installed gym-super-mario-bros does not carry."""


class PlaybackError(RuntimeError):
    """Recorded actions do not lead to the end of an episode under the given configuration."""


class SnapshotError(ValueError):
    """Games cannot go on from a snapshot: it is of another emulator, other rules, or another number of games."""


class WorkerError(RuntimeError):
    """A process that played environments failed or died; the message names its index, its process id and the cause.

    Attributes:
        index: which of the vectorised environments it was, from 0.
        pid: the process id of the worker.
        what: what happened to it, a predicate.
    """

    def __init__(self, index: int, pid: int, what: str) -> None:
        super().__init__(f"environment worker {index} (process {pid}) {what}")
        self.index = index
        self.pid = pid
        self.what = what


class WorkerLostError(WorkerError):
    """The process died, or did not answer in time and was killed. Its environment raised no error that is known."""
