"""Which faults a retry can mend.

A lost connection, a full disk or a dead worker may be over in a minute; a wrong type or an unknown key never is, and repeating
it only hides the message.
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

_BUSY = (408, 429, 500, 502, 503, 504)  # HTTP: time-out, too many requests, faults of the server or of what is before it


def is_transient(error: BaseException | None) -> bool:
    """Whether the same work may succeed when it is tried again.

    `OSError` covers lost connections, timeouts and full disks. A GPU without memory may have it when the failed attempt's is
    freed; one that is lost is lost to this process. Everything that names a fault of the program or of its input
    (`TypeError`, `ValueError`, `KeyError`, an assertion …) is final.
    """
    from httpx import HTTPStatusError, TransportError
    from sqlalchemy.exc import InterfaceError, OperationalError

    from agents import DeviceLostError
    from agents.errors import is_out_of_memory
    from episodes import StoreUnavailableError
    from mario_env import WorkerError
    from tracking import ModelNotFoundError, RunNotFoundError, TrackingError

    final = (ModelNotFoundError, RunNotFoundError, DeviceLostError)
    # Of httpx, by which Prefect's client speaks, TransportError is no OSError.
    servers = (OSError, EOFError, TransportError, OperationalError, InterfaceError, StoreUnavailableError, TrackingError)
    transient = (*servers, WorkerError)
    # What raised the error may be wrapped in an error that speaks to the person: look at its cause too.
    while error is not None:
        if isinstance(error, final):
            return False
        if isinstance(error, transient) or is_out_of_memory(error):
            return True
        if isinstance(error, HTTPStatusError) and error.response.status_code in _BUSY:
            return True
        error = error.__cause__
    return False


def retry_if_transient(task: Task[Any, Any], task_run: TaskRun, state: "State[Any]") -> bool:
    """Prefect's `retry_condition_fn`."""
    try:
        state.result()
    except BaseException as error:
        return is_transient(error)
    return False


def retried(retry: RetryConfig, what: str, action: "Callable[[], Result]") -> "Result":
    """Do in the flow's body what Prefect retries for a task: again after a fault that may pass, as often and as late.

    Args:
        retry: how often, and how long between.
        what: is tried, for the log.
        action: may be called again after it raised.
    """
    for attempt in range(retry.attempts):
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
            wait = retry.delay_seconds * 2**attempt
            logger.warning("%s failed and is tried again in %.0f s: %s", what, wait, error)
            time.sleep(wait)
    return action()


def retry_options(retry: RetryConfig) -> dict[str, Any]:
    """Options of :meth:`prefect.Task.with_options` for a phase: how often, and how long between."""
    delays: Callable[[int], list[float]] | float = exponential_backoff(retry.delay_seconds) if retry.attempts else 0
    return {"retries": retry.attempts, "retry_delay_seconds": delays, "retry_condition_fn": retry_if_transient}
