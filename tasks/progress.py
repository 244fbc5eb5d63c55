"""How far a training is, as a progress artifact in Prefect; a convenience that never holds up what it shows."""

import contextvars
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import get_run_context
from prefect.exceptions import MissingContextError

logger = logging.getLogger(__name__)

SECONDS_BETWEEN = 5.0
_SECONDS_AT_END = 2.0
# A server that is away is not asked for ever.
_MOST_FAILURES = 5


class Progress:
    """Where the training is; whoever trains sets `steps`, which costs nothing.

    Attributes:
        steps: decisions so far.
    """

    def __init__(self) -> None:
        self.steps = 0


@contextmanager
def shown_progress(key: str, total_steps: int, seconds_between: float = SECONDS_BETWEEN) -> Iterator[Progress]:
    """Show what the block sets as the artifact `key` of the running task, every few seconds, from a thread.

    The block never waits for Prefect but at its end, two seconds at most. Without a task, or with a server that is away or
    refuses, nothing is shown, and nothing is raised.
    """
    progress = Progress()
    try:
        get_run_context()
    except MissingContextError:
        # To ask Prefect anything now would start a server.
        yield progress
        return
    ended = threading.Event()
    # The artifact is the running task's: the thread needs to know which that is.
    context = contextvars.copy_context()
    arguments = (key, progress, total_steps, seconds_between, ended)
    thread = threading.Thread(target=context.run, args=(_show, *arguments), name="progress artifact", daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        ended.set()
        thread.join(_SECONDS_AT_END)


def _show(key: str, progress: Progress, total: int, seconds: float, ended: threading.Event) -> None:
    create: Any = create_progress_artifact
    update: Any = update_progress_artifact
    artifact, shown, failures = None, -1, 0
    while failures < _MOST_FAILURES:
        last = ended.wait(seconds)
        steps = progress.steps
        percent = min(100.0, 100.0 * steps / total)
        try:
            # In this thread Prefect would guess whether its functions are to be awaited.
            said = {"progress": percent, "description": f"{steps:,} of {total:,} steps", "_sync": True}
            if artifact is None:
                artifact = create(key=key, **said)
            elif steps != shown:
                update(artifact, **said)
            shown = steps
        except Exception as error:
            failures += 1
            logger.debug("the progress artifact was not written: %s", error)
        if last:
            return
