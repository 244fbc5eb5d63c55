"""An outbox on disk for a server that may be away: a SQLite database, and the threads that fill and empty it."""

from spool.courier import Courier
from spool.lock import HeldBackError, OutboxError, OutboxLockedError, StoppedError
from spool.outage import Outage
from spool.outbox import Outbox, copy_pending, count_pending, read_pending

__all__ = [
    "Courier",
    "HeldBackError",
    "Outage",
    "Outbox",
    "OutboxError",
    "OutboxLockedError",
    "StoppedError",
    "copy_pending",
    "count_pending",
    "read_pending",
]
