"""Several environments behind stable-baselines3's interface: nes-py's in a process each, the fast emulator's in this one."""

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
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final

import gymnasium
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from configs.schema import EnvironmentConfig
from mario_env.console import check_rom
from mario_env.errors import WorkerError
from mario_env.factory import make
from mario_env.worker import WORKER_CODE

__all__ = ["ProcessVecEnv", "make_vec"]

_CLOSE_SECONDS: Final = 5.0
# A worker has one environment and one core: no library in it may start threads of its own.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1"}


def make_vec(config: EnvironmentConfig, n_envs: int, *, seed: int, processes: bool = True, ahead: bool = False) -> VecEnv:
    """Make `n_envs` environments that `config` describes; environment i is seeded with seed + i.

    Args:
        config: the environment's section of the configuration.
        n_envs: how many.
        seed: of the first; a later `VecEnv.seed` has the same meaning.
        processes: for nes-py: a process each (they ignore Ctrl-C, which is their parent's affair), or all in this process. The
            games of the fast emulator are always in this process, which plays them in several threads.
        ahead: of the fast emulator: games are played from `step_async` on, beside what the caller does until `step_wait`, as
            environments in processes of their own always are. Leaves a core to the caller.

    Raises:
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM; raised before any process starts.
        WorkerError: a worker could not make its environment.
        ValueError: n_envs is below 1.
    """
    if n_envs < 1:
        raise ValueError(f"n_envs: at least 1 environment is needed, not {n_envs}")
    check_rom(config)
    if config.emulator == "fast":
        from mario_env.fast_vector import FastVecEnv

        games = FastVecEnv(config, n_envs, seed=seed, ahead=ahead)
        games.seed(seed)
        return games
    factories: list[Callable[[], gymnasium.Env[Any, Any]]]
    factories = [partial(make, config, seed=seed + index) for index in range(n_envs)]
    envs: VecEnv = ProcessVecEnv(config, n_envs, seed=seed) if processes else DummyVecEnv(factories)
    envs.seed(seed)
    return envs


class _Worker:
    """The parent's side of one worker: a connection whose failures name the worker. Stands in for SB3's `remote`."""

    def __init__(self, index: int) -> None:
        self.index = index
        self._failure: str | None = None
        self._connection, far_end = multiprocessing.Pipe(duplex=True)
        arguments = json.dumps({"connection": far_end.fileno(), "path": sys.path})
        with far_end, _blocked_sigint():
            self._process = subprocess.Popen(
                [sys.executable, "-c", WORKER_CODE, arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=[far_end.fileno()],
                env={**os.environ, **_ONE_THREAD},
            )
        self.pid = self._process.pid
        # For environments that nobody closed: at the latest when this process ends.
        self._end = weakref.finalize(self, _end, self._connection, self._process)

    def send(self, request: Any) -> None:
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

    def recv(self) -> Any:
        self._check()
        try:
            kind, value = self._connection.recv()
        except (EOFError, OSError):
            kind, value = "lost", None
        if kind == "lost":
            self._lose()
        if kind == "failed":
            cause = str(value).strip().splitlines()[-1]
            self._failure = f"failed: {cause}\n\nIn the worker:\n{value}"
            self._check()
        return value

    def _check(self) -> None:
        if self._failure is not None:
            raise WorkerError(self.index, self.pid, self._failure)

    def _lose(self) -> None:
        """The connection is gone: say how the process ended."""
        try:
            code = self._process.wait(timeout=_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._failure = "closed its connection but still runs"
        else:
            self._failure = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
            if code == -signal.SIGKILL:
                self._failure += "; the system does that when memory runs out"
        self._check()

    def ask_to_close(self) -> None:
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


class ProcessVecEnv(SubprocVecEnv):
    """stable-baselines3's SubprocVecEnv with workers that start fast, ignore Ctrl-C, and whose failure has a name.

    Any method raises :class:`~mario_env.errors.WorkerError` when a worker died or an environment raised; after that only
    `close` is of use, which neither raises nor waits longer than five seconds.

    Args:
        config: what each environment is.
        n_envs: how many.
        seed: environment i is made with seed + i.
    """

    def __init__(self, config: EnvironmentConfig, n_envs: int, *, seed: int | None = None) -> None:
        self.waiting = False
        self.closed = False
        self.remotes: tuple[Any, ...] = ()
        try:
            for index in range(n_envs):
                self.remotes = (*self.remotes, _Worker(index))
            for index, worker in enumerate(self.remotes):
                worker.send((config, None if seed is None else seed + index))
            spaces = [worker.recv() for worker in self.remotes]
        except BaseException:
            self.close()
            raise
        VecEnv.__init__(self, n_envs, *spaces[0])

    @property
    def pids(self) -> list[int]:
        """The workers' process ids, in order."""
        return [worker.pid for worker in self.remotes]

    def close(self) -> None:
        """End the workers; those that do not end by themselves are killed."""
        if self.closed:
            return
        self.closed = True
        for worker in self.remotes:
            worker.ask_to_close()
        deadline = time.monotonic() + _CLOSE_SECONDS
        for worker in self.remotes:
            worker.join(deadline)


@contextlib.contextmanager
def _blocked_sigint() -> Iterator[None]:
    """Processes started meanwhile never receive SIGINT: the mask is inherited, and no moment of their start is unprotected."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
