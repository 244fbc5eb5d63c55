"""A server that ends with the process that started it, even if that one is killed.

A killed process stops nothing that it started. So the server itself looks, twice a second, whether its parent is still there.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0


def attended(module: str, arguments: Sequence[str], patience: float = _PATIENCE_SECONDS) -> list[str]:
    """The command that runs `python -m MODULE ARGUMENTS` and ends it with the present process, as :func:`end_with` does."""
    return [sys.executable, "-m", "tracking.with_parent", str(os.getpid()), str(patience), module, *arguments]


def end_with(parent: int, patience: float = _PATIENCE_SECONDS) -> None:
    """End this process when `parent`, the process that started it, has ended.

    It gets SIGTERM, and SIGKILL after `patience` seconds. A process that leads a group ends with its whole group.
    """
    threading.Thread(target=_attend, args=(parent, patience), name="attend the parent", daemon=True).start()


def _attend(parent: int, patience: float) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    _send(signal.SIGTERM)
    time.sleep(patience)
    _send(getattr(signal, "SIGKILL", signal.SIGTERM))


def _send(number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "getpgrp") and os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), number)
        else:
            os.kill(os.getpid(), number)
