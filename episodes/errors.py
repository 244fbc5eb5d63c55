"""What the episode store raises."""


class StoreError(RuntimeError):
    """The episode store cannot do what was asked; the message says what failed, where, and what to do. Never a password."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached, or not for now: the same may succeed later."""


class RevisionError(StoreError):
    """The database's tables are of an older or newer revision than this version of the program works with."""


class RowError(StoreError):
    """A value cannot be stored in its column; the message names table, column and value."""


class ExperimentLockedError(StoreError):
    """Another process is running this experiment."""
