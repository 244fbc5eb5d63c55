"""A progress artifact of the training in Prefect, updated in a background thread that never delays the training."""

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
# After this number of failures, an unavailable server is not asked any more.
_MAX_FAILURES = 5


class Progress:
    """The progress of the training, which the training sets.

    Attributes:
        steps: decisions so far.
    """

    def __init__(self) -> None:
        self.steps = 0


@contextmanager
def progress_artifact(key: str, total_steps: int, seconds_between: float = SECONDS_BETWEEN) -> Iterator[Progress]:
    """Update the artifact `key` of the running task every few seconds in a thread, from the yielded `Progress`.

    Only the end of the block waits for Prefect, at most two seconds. Without a running task, or if the server is unavailable or
    refuses, nothing is shown and nothing is raised.
    """
    progress = Progress()
    try:
        get_run_context()
    except MissingContextError:
        # A request to Prefect would start a temporary server.
        yield progress
        return
    ended = threading.Event()
    # The artifact belongs to the running task, so the thread needs the task's context.
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
    while failures < _MAX_FAILURES:
        last = ended.wait(seconds)
        steps = progress.steps
        percent = min(100.0, 100.0 * steps / total)
        try:
            # `_sync`: otherwise Prefect would guess whether its functions are awaited in this thread.
            values = {"progress": percent, "description": f"{steps:,} of {total:,} steps", "_sync": True}
            if artifact is None:
                artifact = create(key=key, **values)
            elif steps != shown:
                update(artifact, **values)
            shown = steps
        except Exception as error:
            failures += 1
            logger.debug("the progress artifact was not written: %s", error)
        if last:
            return
