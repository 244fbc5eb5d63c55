"""A retry is for faults that pass; what is wrong in the program or its input is not repeated."""

import time
from typing import Any

import pytest
import torch
from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness

from agents import DeviceLostError
from configs.schema import RetryConfig
from episodes import RowError, StoreError, StoreUnavailableError
from mario_env import WorkerError
from tasks.transient import is_transient, retry_options
from tracking import ModelNotFoundError, TrackingError

PASSING = [ConnectionResetError(), TimeoutError(), OSError(28, "No space left"), EOFError()]
PASSING += [StoreUnavailableError("away"), TrackingError("away")]
PASSING += [torch.OutOfMemoryError("CUDA out of memory"), torch.AcceleratorError("CUDA error: out of memory")]
PASSING += [RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")]
LASTING = [TypeError(), ValueError(), KeyError("x"), AssertionError(), None]
LASTING += [RowError("column"), StoreError("wrong password"), ModelNotFoundError("x")]
LASTING += [DeviceLostError("gone"), torch.AcceleratorError("CUDA error: an illegal memory access was encountered")]


@pytest.mark.parametrize("error", PASSING)
def test_what_may_pass_is_retried(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", LASTING)
def test_what_stays_is_not(error: Exception | None) -> None:
    assert not is_transient(error)


def test_the_cause_counts() -> None:
    try:
        try:
            raise BrokenPipeError
        except BrokenPipeError as cause:
            raise RuntimeError("the phase failed") from cause
    except RuntimeError as error:
        assert is_transient(error)


def test_a_lost_worker_is_transient() -> None:
    error = WorkerError.__new__(WorkerError)
    assert is_transient(error)


@pytest.fixture(scope="module")
def prefect_server() -> Any:
    with prefect_test_harness(server_startup_timeout=90):
        yield


def attempts(error: Exception, retries: int) -> int:
    """How often Prefect tries a task that always raises `error`."""
    tried = []

    @task
    def fail() -> None:
        tried.append(time.monotonic())
        raise error

    @flow
    def run() -> None:
        fail.with_options(**retry_options(RetryConfig(attempts=retries, delay_seconds=0.01)))()

    with pytest.raises(type(error)):
        run()
    return len(tried)


def test_prefect_retries_what_may_pass_and_nothing_else(prefect_server: None) -> None:
    assert attempts(ConnectionResetError("gone"), 2) == 3
    assert attempts(TypeError("a programming error"), 2) == 1
    assert attempts(ConnectionResetError("gone"), 0) == 1
