"""Begin the command again in a new process, where this one cannot go on: a GPU that failed is lost to it.

The program is replaced when everything else has ended in order: records are written, locks given back, Prefect's temporary
server stopped. Whoever started the command waits for the same process as before.
"""

import atexit
import os
import sys
import time
from collections.abc import Sequence

_COUNT = "MARIO_NEW_PROCESSES"
_MOST_FILES = 65_536

_next: list[tuple[Sequence[str], float]] = []


def so_far() -> int:
    """How many processes this one has come after in this way."""
    return int(os.environ.get(_COUNT, "0"))


def prepare() -> None:
    """To be called first of all: what was registered first is done last when a process ends."""
    atexit.register(_begin_anew)


def at_exit(arguments: Sequence[str], delay_seconds: float) -> None:
    """Have `mario` begin again with `arguments` when this process has ended, after a while.

    Works only where `prepare` has been called.
    """
    _next[:] = [(arguments, delay_seconds)]


def _begin_anew() -> None:
    if not _next:
        return
    arguments, delay_seconds = _next[0]
    time.sleep(delay_seconds)
    sys.stdout.flush()
    sys.stderr.flush()
    # A driver's files would keep what it has on the GPU.
    os.closerange(3, _MOST_FILES)
    environment = os.environ | {_COUNT: str(so_far() + 1)}
    os.execve(sys.executable, [sys.executable, sys.argv[0], *arguments], environment)
