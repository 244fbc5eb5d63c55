"""Transient faults are retried; errors in the program or its input are not."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness

from agents import DeviceLostError
from configs import PROJECT, Settings, load
from configs.schema import RetryConfig
from episodes import RowError, StoreError, StoreUnavailableError
from mario_env import WorkerError
from tasks.smoke import smoke_test
from tasks.transient import is_transient, retry_options, retry_transient
from tracking import ModelNotFoundError, TrackingError

PASSING = [ConnectionResetError(), TimeoutError(), OSError(28, "No space left"), EOFError()]
PASSING += [StoreUnavailableError("away"), TrackingError("away")]
PASSING += [httpx.ConnectError("refused"), httpx.RemoteProtocolError("Server disconnected"), httpx.ReadTimeout("slow")]
PASSING += [torch.OutOfMemoryError("CUDA out of memory"), torch.AcceleratorError("CUDA error: out of memory")]
PASSING += [RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")]
LASTING = [TypeError(), ValueError(), KeyError("x"), AssertionError(), None]
LASTING += [RowError("column"), StoreError("wrong password"), ModelNotFoundError("x")]
LASTING += [httpx.InvalidURL("no host")]
LASTING += [DeviceLostError("gone"), torch.AcceleratorError("CUDA error: an illegal memory access was encountered")]


@pytest.mark.parametrize("error", PASSING)
def test_a_passing_fault_is_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", LASTING)
def test_a_lasting_fault_is_not_transient(error: Exception | None) -> None:
    assert not is_transient(error)


def test_an_error_with_a_transient_cause_is_transient() -> None:
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


def test_prefect_retries_only_transient_faults(prefect_server: None) -> None:
    assert attempts(ConnectionResetError("gone"), 2) == 3
    assert attempts(TypeError("a programming error"), 2) == 1
    assert attempts(ConnectionResetError("gone"), 0) == 1


@pytest.mark.parametrize(("status", "transient"), [(503, True), (429, True), (404, False), (401, False)])
def test_some_http_status_codes_are_transient(status: int, transient: bool) -> None:
    request = httpx.Request("POST", "http://127.0.0.1/api")
    assert is_transient(httpx.HTTPStatusError("no", request=request, response=httpx.Response(status))) is transient


def test_the_flows_body_retries_only_transient_faults(caplog: pytest.LogCaptureFixture) -> None:
    faults: list[Exception] = [StoreUnavailableError("away"), TrackingError("away too")]

    def action() -> str:
        if faults:
            raise faults.pop(0)
        return "done"

    assert retry_transient(RetryConfig(attempts=2, delay_seconds=0.01), "the start", action) == "done"
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == ["away", "away too"]
    faults[:] = [TrackingError("away")] * 3
    with pytest.raises(TrackingError):
        retry_transient(RetryConfig(attempts=2, delay_seconds=0.01), "the start", action)
    assert not faults, "there were too few attempts"
    faults[:] = [ValueError("wrong"), ValueError("wrong")]
    with pytest.raises(ValueError, match="wrong"):
        retry_transient(RetryConfig(attempts=2, delay_seconds=0.01), "the start", action)
    assert len(faults) == 1


@pytest.mark.parametrize(("overrides", "transient"), [([], True), (["agent.buffer_size=100_000_000"], False)])
def test_a_smoke_test_is_retried_if_all_its_faults_are_transient(
    overrides: list[str], transient: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_away: None
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = Settings(tmp_path, "postgresql://mario:x@127.0.0.1:1/mario", "http://127.0.0.1:1")
    preset = "dqn" if overrides else str(PROJECT / "tests" / "data" / "tiny.yaml")
    smoke: Any = smoke_test.fn
    with pytest.raises(RuntimeError, match="the smoke test failed") as caught:
        smoke(load(preset, [*overrides, "train.n_envs=2", "train.device=cpu"]), away)
    assert is_transient(caught.value) is transient
