"""stable-baselines3's `SubprocVecEnv` for nes-py: a process that dies or hangs is named, and its episode counts nowhere."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, Final, NoReturn

import cv2
import gymnasium
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import SubprocVecEnv

from configs.schema import EnvironmentConfig
from mario_env.errors import WorkerError
from mario_env.factory import make

__all__ = ["ProcessVecEnv"]

_CLOSE_SECONDS: Final = 5.0


class ProcessVecEnv(SubprocVecEnv):
    """Environments in a process each, which ignore Ctrl-C and SIGTERM: ending them is their parent's affair.

    Processes are forked from a server that has loaded stable-baselines3 once. It imports the main module of the program, so a
    script needs `if __name__ == "__main__":`, as for any `SubprocVecEnv`.

    Args:
        config: what each environment is.
        seeds: one for each environment.
        timeout: seconds that a process may take for an answer, before it is killed.

    Raises:
        WorkerError: from any method: a process failed, died or did not answer in time. After that only `close` is of use.
    """

    def __init__(self, config: EnvironmentConfig, seeds: Sequence[int | None], *, timeout: float) -> None:
        self.processes: list[BaseProcess] = []
        # Ours first: it silences the notice that stable-baselines3's import of the old Gym prints.
        multiprocessing.set_forkserver_preload(["__main__", __name__])
        try:
            super().__init__([partial(_start, config, seed) for seed in seeds], start_method="forkserver")
        except (EOFError, OSError):
            try:
                _raise_lost(0, self.processes[0])
            finally:
                _end(self.remotes, self.processes)
        # Also for environments that nobody closes. At exit multiprocessing waits for its processes, which ignore its SIGTERM.
        self._end = Finalize(self, _end, (self.remotes, self.processes), exitpriority=1)
        self.remotes = tuple(
            _Remote(index, connection, process, timeout)
            for index, (connection, process) in enumerate(zip(self.remotes, self.processes, strict=True))
        )

    def begin(self, index: int, *, seed: int | None, options: dict[str, Any]) -> npt.NDArray[np.uint8]:
        """See :func:`~mario_env.stable_baselines.begin_episode`."""
        self.remotes[index].send(("reset", (seed, options)))
        observation: npt.NDArray[np.uint8]
        infos = list(self.reset_infos)  # a tuple, after a reset of stable-baselines3
        observation, infos[index] = self.remotes[index].recv()
        self.reset_infos = infos
        return observation

    def close(self) -> None:
        """End the processes; those that do not end by themselves are killed. Neither raises nor waits longer than 5 seconds."""
        self.closed = True
        self._end()


def _end(connections: Sequence[Connection], processes: Sequence[BaseProcess]) -> None:
    for connection in connections:
        connection.close()  # a process ends when its connection does
    deadline = time.monotonic() + _CLOSE_SECONDS
    for process in processes:
        process.join(max(0.1, deadline - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()


def _start(config: EnvironmentConfig, seed: int | None) -> gymnasium.Env[Any, Any]:
    """Make the environment, in its process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)  # a process has one environment and one core
    return make(config, seed=seed)


class _Remote:
    """The connection to a process, as `SubprocVecEnv` uses it, with errors that name the process."""

    def __init__(self, index: int, connection: Connection, process: BaseProcess, timeout: float) -> None:
        self._index, self._connection, self._process, self._timeout = index, connection, process, timeout

    def send(self, request: Any) -> None:
        self._named(lambda: self._connection.send(request))

    def recv(self) -> Any:
        # A second look: time in which this process and the other were suspended (Ctrl-Z) is no time without an answer.
        if not self._named(lambda: self._connection.poll(self._timeout) or self._connection.poll(1.0)):
            self._process.kill()
            self._process.join()
            raise WorkerError(self._index, self._process.pid, f"has not answered for {self._timeout:g} s and was killed")
        return self._named(self._connection.recv)

    def _named(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (EOFError, OSError):
            _raise_lost(self._index, self._process)


def _raise_lost(index: int, process: BaseProcess) -> NoReturn:
    """Say how a process ended whose connection is gone."""
    process.join(_CLOSE_SECONDS)
    code = process.exitcode
    if code is None:
        what = "closed its connection but still runs"
    elif code < 0:
        what = f"was killed by {_signal_name(-code)}"
        if code == -signal.SIGKILL:
            what += "; the system does that when memory runs out"
    else:
        what = f"ended with exit code {code}; if its environment raised an error, the traceback is on the standard error"
    error = WorkerError(index, process.pid, what)
    try:
        raise error
    finally:
        # The traceback of the connection's error would hold the buffer that was being sent, and freeing both at once is a
        # BufferError from Python 3.13 on.
        error.__context__ = None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
