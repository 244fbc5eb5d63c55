"""An outbox on disk for a server that may be away: a SQLite database, and the threads that fill and empty it."""

from spool.courier import Courier
from spool.lock import OutboxError, OutboxLockedError
from spool.outage import Outage
from spool.outbox import Outbox, count_pending

__all__ = ["Courier", "Outage", "Outbox", "OutboxError", "OutboxLockedError", "count_pending"]
