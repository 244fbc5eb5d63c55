"""What waits on disk for a server that is away: framed records in a file, and the threads that file and deliver them."""

from spool.courier import Courier
from spool.file import Spool, SpoolError, SpoolLockedError, waiting
from spool.outage import Outage

__all__ = ["Courier", "Outage", "Spool", "SpoolError", "SpoolLockedError", "waiting"]
