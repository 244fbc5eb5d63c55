"""The parent's side of the processes that play one environment each (:mod:`mario_env.worker`)."""

import contextlib
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Final

from configs.schema import EnvironmentConfig
from mario_env.errors import WorkerError, WorkerLostError
from mario_env.worker import WORKER_CODE

__all__ = ["CLOSE_SECONDS", "WorkerProcess"]

CLOSE_SECONDS: Final = 5.0
_START_SECONDS: Final = 600.0  # hundreds of processes on a few cores
_SLICE_SECONDS: Final = 1.0
# A worker has one environment and one core: no library in it may start threads of its own.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1"}


class WorkerProcess:
    """The parent's side of one worker: a connection whose failures name the worker. Stands in for SB3's `remote`.

    Args:
        index: which of the vectorised environments it plays, from 0.
        config: what the environment is.
        seed: of the environment.
        timeout: seconds it may take for an answer, beside the start.

    Attributes:
        index: as given.
        pid: its process id.
    """

    def __init__(self, index: int, config: EnvironmentConfig, seed: int | None, timeout: float) -> None:
        self.index = index
        self._timeout = timeout
        self._error: WorkerError | None = None
        self._connection, far_end = multiprocessing.Pipe(duplex=True)
        arguments = json.dumps({"connection": far_end.fileno(), "path": sys.path})
        with far_end, _blocked_signals():
            self._process = subprocess.Popen(
                [sys.executable, "-c", WORKER_CODE, arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=[far_end.fileno()],
                env={**os.environ, **_ONE_THREAD},
            )
        self.pid = self._process.pid
        # For environments that nobody closed: at the latest when this process ends.
        self._end = weakref.finalize(self, _end, self._connection, self._process)
        with contextlib.suppress(WorkerError):  # `spaces` raises it
            self.send((config, seed))

    def spaces(self) -> tuple[Any, Any]:
        """Its first answer: the spaces of its observations and actions, once it has started."""
        found: tuple[Any, Any] = self.recv(_START_SECONDS)
        return found

    def send(self, request: Any) -> None:
        """Ask for something; raises WorkerLostError when it is dead."""
        self._check()
        # Bytes, not `Connection.send`: that pickles into a buffer which, held by the traceback of a failure, cannot be freed.
        data = pickle.dumps(request, pickle.HIGHEST_PROTOCOL)
        try:
            self._connection.send_bytes(data)
            return
        except OSError:
            pass
        self.recv()  # it died between two requests; if it could still say why, that is waiting here
        self._lose()

    def recv(self, timeout: float | None = None) -> Any:
        """Its answer to the oldest request.

        Args:
            timeout: seconds, instead of the usual.

        Raises:
            WorkerLostError: it is dead, or has not answered in time and was killed.
            WorkerError: the environment raised an error.
        """
        self._check()
        seconds = self._timeout if timeout is None else timeout
        try:
            if not self._answers(seconds):
                self._give_up(seconds)
            kind, value = self._connection.recv()
        except (EOFError, OSError):
            kind, value = "lost", None
        if kind == "lost":
            self._lose()
        if kind == "failed":
            cause = str(value).strip().splitlines()[-1]
            self._error = WorkerError(self.index, self.pid, f"failed: {cause}\n\nIn the worker:\n{value}")
            self._check()
        return value

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _answers(self, seconds: float) -> bool:
        """Whether there is an answer, or the end, within this time. Waited in slices: time in which this process was stopped
        itself (Ctrl-Z, a debugger), and the worker with it, counts as one slice."""
        while seconds > 0:
            if self._connection.poll(min(_SLICE_SECONDS, seconds)):
                return True
            seconds -= _SLICE_SECONDS
        return False

    def _give_up(self, seconds: float) -> None:
        self._process.kill()
        self._process.wait()
        what = f"has not answered for {seconds:g} s and was killed"
        self._error = WorkerLostError(self.index, self.pid, what)
        self._check()

    def _lose(self) -> None:
        """The connection is gone: say how the process ended."""
        try:
            code = self._process.wait(timeout=CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            what = "closed its connection but still runs"
        else:
            what = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
            if code == -signal.SIGKILL:
                what += "; the system does that when memory runs out"
        self._error = WorkerLostError(self.index, self.pid, what)
        self._check()

    def ask_to_close(self) -> None:
        """Tell it to end, without waiting for it."""
        with contextlib.suppress(OSError):
            self._connection.send(("close", None))
        self._connection.close()

    def join(self, deadline: float) -> None:
        """Wait for the end until then, and bring it about afterwards."""
        self._end.detach()
        _end(self._connection, self._process, deadline)


def _end(connection: Connection, process: subprocess.Popen[bytes], deadline: float = 0.0) -> None:
    """End a worker: it does so by itself when its connection closes, unless it is stuck."""
    connection.close()
    try:
        process.wait(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Processes started meanwhile never receive these: the mask is inherited, and no moment of their start is unprotected."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
