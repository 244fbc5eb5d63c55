"""Prevents the machine from suspending during a training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_log = logging.getLogger(__name__)


@contextmanager
def keep_awake(wanted: bool) -> Iterator[bool]:
    """Hold the system's keep-awake lock within the block; yields whether the lock is held.

    Containers and servers usually have no such lock. This is not an error.

    Args:
        wanted: False does nothing.
    """
    with ExitStack() as stack:
        yield _acquire(stack) if wanted else False


def _acquire(stack: ExitStack) -> bool:
    # wakepy logs each method it tries at INFO and DEBUG, which fills a screen on a machine without a desktop.
    logging.getLogger("wakepy").setLevel(logging.WARNING)
    try:
        from wakepy import keep

        mode = stack.enter_context(keep.running(on_fail="pass"))
    except Exception as error:  # desktops raise errors of many types
        _log.debug("no keep-awake lock: %s", error)
        return False
    return bool(mode.active)
