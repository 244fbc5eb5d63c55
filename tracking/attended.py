"""Child processes that end with their parent, even if the parent is killed.

A killed process cannot stop its children. So the child checks twice a second whether its parent is still there.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0


def attended(module: str, arguments: Sequence[str], patience: float = _PATIENCE_SECONDS) -> list[str]:
    """The command that runs `python -m MODULE ARGUMENTS` and ends with this process, as :func:`end_with` describes."""
    return [sys.executable, "-m", "tracking.with_parent", str(os.getpid()), str(patience), module, *arguments]


def end_with(parent: int, patience: float = _PATIENCE_SECONDS) -> None:
    """End this process when its parent has ended: with SIGTERM, and with SIGKILL after `patience` seconds.

    A process that leads a process group ends the whole group.

    Args:
        parent: the parent's process id.
        patience: seconds between the two signals.
    """
    threading.Thread(target=_watch, args=(parent, patience), name="parent-watch", daemon=True).start()


def _watch(parent: int, patience: float) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    _send(signal.SIGTERM)
    time.sleep(patience)
    _send(getattr(signal, "SIGKILL", signal.SIGTERM))


def _send(number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "getpgrp") and os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), number)
        else:
            os.kill(os.getpid(), number)
