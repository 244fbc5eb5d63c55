"""What the episode store raises."""

from spool import HeldBackError, StoppedError


class StoreError(RuntimeError):
    """The episode store failed. The message says what failed, where, and what to do; it never holds a password."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached, or refuses for now: the same may succeed later."""


class RevisionError(StoreError):
    """The database's tables are of an older or newer revision than this version of the program works with."""


class RowError(StoreError):
    """A value cannot be stored in its column; the message names table, column and value."""


class ExperimentLockedError(StoreError):
    """Another process is running this experiment."""


class FencedError(StoreError, StoppedError):
    """A newer attempt at the experiment has taken over, so this one may not write any more; the message says which."""


class GuardUnavailableError(StoreUnavailableError, HeldBackError):
    """The database cannot be asked whether another attempt has taken over, so nothing is done for now."""
