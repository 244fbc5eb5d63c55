"""Transient faults and their retries.

A lost connection, a full disk or a dead worker may be over in a minute. A wrong type or an unknown key is permanent, and a
retry would only hide the message.
"""

import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from configs.schema import RetryConfig

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# HTTP: timeout, too many requests, and errors of the server or of a proxy in front of it
_TRANSIENT_STATUS_CODES = (408, 429, 500, 502, 503, 504)


def is_transient(error: BaseException | None) -> bool:
    """Whether a retry may succeed.

    `OSError` covers lost connections, timeouts and full disks. A GPU that is out of memory may have enough after the failed
    attempt has been freed. A lost GPU is lost to this process. Errors in the program or its input (`TypeError`, `ValueError`,
    `KeyError`, assertions …) are permanent.
    """
    from httpx import HTTPStatusError, TransportError
    from sqlalchemy.exc import InterfaceError, OperationalError

    from agents import DeviceLostError, SharedStorageError
    from agents.errors import is_out_of_memory
    from episodes import StoreUnavailableError
    from mario_env import WorkerError
    from tracking import ModelNotFoundError, RunNotFoundError, TrackingError

    final = (ModelNotFoundError, RunNotFoundError, DeviceLostError)
    # Prefect's client uses httpx, whose TransportError is not an OSError.
    servers = (OSError, EOFError, TransportError, OperationalError, InterfaceError, StoreUnavailableError, TrackingError)
    transient = (*servers, WorkerError, SharedStorageError)
    # The original error may be the cause of an error with a message for the user.
    while error is not None:
        if isinstance(error, final):
            return False
        if isinstance(error, transient) or is_out_of_memory(error):
            return True
        if isinstance(error, HTTPStatusError) and error.response.status_code in _TRANSIENT_STATUS_CODES:
            return True
        error = error.__cause__
    return False


def retry_if_transient(task: Task[Any, Any], task_run: TaskRun, state: "State[Any]") -> bool:
    """A `retry_condition_fn` for Prefect tasks."""
    try:
        state.result()
    except BaseException as error:
        return is_transient(error)
    return False


def retry_transient(retry: RetryConfig, what: str, action: "Callable[[], Result]") -> "Result":
    """Call `action` with the same retries in a flow's body that Prefect gives to a task.

    Args:
        retry: the number of retries and their delays.
        what: a name of the action for the log.
        action: a function that may be called again after it has raised.
    """
    for attempt in range(retry.attempts):
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
            wait = retry.delay_seconds * 2**attempt
            logger.warning("%s failed; retrying in %.0f s: %s", what, wait, error)
            time.sleep(wait)
    return action()


def retry_options(retry: RetryConfig) -> dict[str, Any]:
    """Options for :meth:`prefect.Task.with_options`: the number of retries, their delays and their condition."""
    delays: Callable[[int], list[float]] | float = exponential_backoff(retry.delay_seconds) if retry.attempts else 0
    return {"retries": retry.attempts, "retry_delay_seconds": delays, "retry_condition_fn": retry_if_transient}
