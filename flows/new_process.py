"""Restart the command in a new process, where this one cannot continue: a GPU that has failed is lost to its process.

The program is replaced after everything else has ended in order: records are written, locks released, Prefect's temporary
server stopped. The process keeps its id, so whoever started the command keeps waiting for it.
"""

import atexit
import os
import sys
import time
from collections.abc import Sequence

_RESTARTS = "MARIO_NEW_PROCESSES"  # variable that counts the restarts
_MAX_FILES = 65_536

_environment: dict[str, str] = {}
_scheduled: list[tuple[Sequence[str], float]] = []


def restarts() -> int:
    """How often this command has been restarted so far."""
    return int(os.environ.get(_RESTARTS, "0"))


def prepare() -> None:
    """Remember the environment, and make a restart possible. Call this first: exit handlers run in reverse order."""
    _environment.update(os.environ)
    atexit.register(_restart)


def restart_at_exit(arguments: Sequence[str], delay_seconds: float) -> None:
    """Restart `mario` with `arguments` when this process has ended, after `delay_seconds`.

    Works only after `prepare` has been called.
    """
    _scheduled[:] = [(arguments, delay_seconds)]


def _restart() -> None:
    if not _scheduled:
        return
    arguments, delay_seconds = _scheduled[0]
    time.sleep(delay_seconds)
    sys.stdout.flush()
    sys.stderr.flush()
    # Open files of the GPU's driver would keep this process's memory on the GPU.
    os.closerange(3, _MAX_FILES)
    # The environment of the start: since then Prefect's plugin may have set the URL and secret of a server that has ended.
    environment = _environment | {_RESTARTS: str(restarts() + 1)}
    os.execve(sys.executable, [sys.executable, sys.argv[0], *arguments], environment)
