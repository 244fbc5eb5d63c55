"""Keeping the machine from suspending while it trains."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_log = logging.getLogger(__name__)


@contextmanager
def keep_awake(wanted: bool) -> Iterator[bool]:
    """Hold the system's keep-awake lock where it has one; yields whether it does.

    A container or a server has no such facility: that is no fault, and a training never fails of it.
    """
    with ExitStack() as stack:
        yield _acquire(stack) if wanted else False


def _acquire(stack: ExitStack) -> bool:
    # wakepy reports each method it tries at INFO and DEBUG: a screenful on a machine without a desktop.
    logging.getLogger("wakepy").setLevel(logging.WARNING)
    try:
        from wakepy import keep

        mode = stack.enter_context(keep.running(on_fail="pass"))
    except Exception as error:  # whatever a desktop's bus may answer
        _log.debug("no keep-awake lock: %s", error)
        return False
    return bool(mode.active)
