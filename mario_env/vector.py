"""Several environments behind stable-baselines3's interface: nes-py's in a process each, the fast emulator's in this one."""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from configs.schema import EnvironmentConfig, RetryConfig
from configs.seeds import Stream, game_seeds, seed_of
from mario_env.console import check_rom
from mario_env.errors import WorkerLostError
from mario_env.factory import make
from mario_env.worker_process import CLOSE_SECONDS, WorkerProcess

__all__ = ["ProcessVecEnv", "begin_episode", "make_vec"]

_LOG: Final = logging.getLogger(__name__)

# What a worker answers to a step: observation, reward, done, info, info of the reset.
_Answer = tuple[Any, Any, bool, dict[str, Any], dict[str, Any]]


def make_vec(
    config: EnvironmentConfig,
    n_envs: int,
    *,
    seed: int,
    processes: bool = True,
    ahead: bool = False,
    threads: int | None = None,
    retry: RetryConfig | None = None,
) -> VecEnv:
    """Make `n_envs` environments that `config` describes; each has its own seed of `configs.seeds.game_seeds`.

    Args:
        config: the environment's section of the configuration.
        n_envs: how many.
        seed: of all of them; a later `VecEnv.seed` has the same meaning. Another seed gives other games, all of them.
        processes: for nes-py: a process each (Ctrl-C and SIGTERM are their parent's affair: they ignore them), or all in this
            process. The games of the fast emulator are always in this process, which plays them in several threads.
        ahead: of the fast emulator: games are played from `step_async` on, beside what the caller does until `step_wait`, as
            environments in processes of their own always are. Leaves a core to the caller.
        threads: of the fast emulator: how many threads play; None: one for each processor that this process may use
            (affinity and control groups heeded), as far as there are games. What is played does not depend on it.
        retry: when a process that plays is given up, and how often it is started anew; None: as by default.

    Raises:
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM; raised before any process starts.
        WorkerError: a worker could not make its environment.
        ValueError: n_envs is below 1.
    """
    if n_envs < 1:
        raise ValueError(f"n_envs: at least 1 environment is needed, not {n_envs}")
    check_rom(config)
    if config.emulator == "fast":
        from mario_env.stable_baselines import FastVecEnv

        games = FastVecEnv(config, n_envs, seed=seed, threads=threads, ahead=ahead)
        games.seed(seed)
        return games
    factories: list[Callable[[], gymnasium.Env[Any, Any]]]
    factories = [partial(make, config, seed=own) for own in game_seeds(seed, n_envs)]
    envs: VecEnv = ProcessVecEnv(config, n_envs, seed=seed, retry=retry) if processes else _InThisProcess(factories)
    envs.seed(seed)
    return envs


@runtime_checkable
class _BeginsEpisodes(Protocol):
    def begin(self, index: int, *, seed: int | None, options: dict[str, Any]) -> NDArray[np.uint8]: ...


def begin_episode(envs: VecEnv, index: int, *, seed: int | None, options: dict[str, Any]) -> NDArray[np.uint8]:
    """Begin an episode of one of the environments of :func:`make_vec`, in place of the one that is running there.

    Args:
        envs: the environments; between two steps.
        index: which of them.
        seed: of the episode's random numbers; None: they go on.
        options: as for the environment's `reset`.

    Returns:
        The first observation.

    Raises:
        TypeError: they are not of `make_vec`.
        WorkerError: its process died again and again.
    """
    if not isinstance(envs, _BeginsEpisodes):
        raise TypeError(f"{type(envs).__name__} cannot begin the episodes of one environment alone; make_vec's can")
    return envs.begin(index, seed=seed, options=options)


class _SeedsApart(VecEnv):
    """Seeds its environments apart; stable-baselines3 counts on from the seed."""

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Give each environment a seed of its own at the next reset; None: a random one."""
        self._seeds = game_seeds(secrets.randbits(128) if seed is None else seed, self.num_envs)
        return self._seeds


class _InThisProcess(_SeedsApart, DummyVecEnv):
    """All environments in this process."""

    def begin(self, index: int, *, seed: int | None, options: dict[str, Any]) -> NDArray[np.uint8]:
        """See :func:`begin_episode`."""
        observation: NDArray[np.uint8] = self.envs[index].reset(seed=seed, options=options)[0]
        return observation


class ProcessVecEnv(_SeedsApart, SubprocVecEnv):
    """stable-baselines3's SubprocVecEnv with workers that start fast, ignore Ctrl-C, and are replaced when lost.

    A worker that died, or has not answered for `retry.worker_timeout` seconds (it is killed then), is started anew, with other
    random numbers. Its episode ends there, truncated: the last observation once more as `terminal_observation`, reward 0, no
    frames, `worker_lost` (why) in info, and no `episode_summary`, so that it counts nowhere. A worker that is lost more than
    `retry.worker_restarts` times without an ended episode between is given up.

    Any method raises :class:`~mario_env.errors.WorkerError` when an environment raised, when a worker was given up, or was lost
    in a call other than `reset` and `step`; after that only `close` is of use, which neither raises nor waits longer than five
    seconds.

    Args:
        config: what each environment is.
        n_envs: how many.
        seed: of all of them; each has its own of `game_seeds`.
        retry: its keys that begin with `worker_`; None: as by default.
    """

    def __init__(
        self, config: EnvironmentConfig, n_envs: int, *, seed: int | None = None, retry: RetryConfig | None = None
    ) -> None:
        self.waiting = False
        self.closed = False
        self.remotes: tuple[Any, ...] = ()
        self._config = config
        self._retry = retry or RetryConfig()
        self._seed = seed
        self._lost: dict[int, WorkerLostError] = {}  # not replaced yet
        self._deaths = [0] * n_envs  # since an episode ended there
        self._replacements = [0] * n_envs
        self._observations: Sequence[Any] = ()
        try:
            for index, own in enumerate(game_seeds(seed, n_envs)):
                self.remotes = (*self.remotes, self._worker(index, own))
            spaces = [worker.spaces() for worker in self.remotes]
        except BaseException:
            self.close()
            raise
        VecEnv.__init__(self, n_envs, *spaces[0])

    @property
    def pids(self) -> list[int]:
        """The workers' process ids, in order."""
        return [worker.pid for worker in self.remotes]

    def reset(self) -> VecEnvObs:
        """Begin an episode in each environment."""
        for index in range(self.num_envs):
            self._ask(index, ("reset", (self._seeds[index], self._options[index])))
        answers = [self._answer(index) for index in range(self.num_envs)]
        begun = self._replace_lost()
        found = [begun[index] if answer is None else answer for index, answer in enumerate(answers)]
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [info for _, info in found]
        return self._stacked([observation for observation, _ in found])

    def begin(self, index: int, *, seed: int | None, options: dict[str, Any]) -> NDArray[np.uint8]:
        """See :func:`begin_episode`. A process that is lost meanwhile is started anew."""
        while True:
            self._ask(index, ("reset", (seed, options)))
            answer = self._answer(index)
            if answer is not None:
                observation: NDArray[np.uint8] = answer[0]
                self._observations = [*self._observations[:index], observation, *self._observations[index + 1 :]]
                return observation
            self._replace_lost()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take a step in each environment."""
        for index, action in enumerate(actions):
            self._ask(index, ("step", action))
        self.waiting = True

    def step_wait(self) -> VecEnvStepReturn:
        """What came of the step."""
        answers = [self._answer(index) for index in range(self.num_envs)]
        self.waiting = False
        if self._lost:
            ends = {index: self._end_of(index, error) for index, error in self._lost.items()}
            begun = self._replace_lost()
            answers = [
                (begun[index][0], 0.0, True, ends[index], begun[index][1]) if answer is None else answer
                for index, answer in enumerate(answers)
            ]
        observations, rewards, dones, infos, self.reset_infos = zip(*answers, strict=True)  # type: ignore[assignment]
        for index, info in enumerate(infos):
            if "episode_summary" in info:
                self._deaths[index] = 0
        return self._stacked(observations), np.stack(rewards), np.stack(dones), infos  # type: ignore[return-value]

    def close(self) -> None:
        """End the workers; those that do not end by themselves are killed."""
        if self.closed:
            return
        self.closed = True
        for worker in self.remotes:
            worker.ask_to_close()
        deadline = time.monotonic() + CLOSE_SECONDS
        for worker in self.remotes:
            worker.join(deadline)

    def _worker(self, index: int, seed: int | None) -> WorkerProcess:
        return WorkerProcess(index, self._config, seed, self._retry.worker_timeout)

    def _stacked(self, observations: Sequence[Any]) -> NDArray[np.uint8]:
        self._observations = observations
        return np.stack(observations)

    def _ask(self, index: int, request: Any) -> None:
        try:
            self.remotes[index].send(request)
        except WorkerLostError as error:
            self._lost[index] = error

    def _answer(self, index: int) -> Any:
        """The worker's answer; None when it is lost."""
        if index in self._lost:
            return None
        try:
            return self.remotes[index].recv()
        except WorkerLostError as error:
            self._lost[index] = error
            return None

    def _end_of(self, index: int, error: WorkerLostError) -> dict[str, Any]:
        """The info of an episode's end of which the environment cannot tell."""
        last = self._observations[index]
        return {"worker_lost": str(error), "frames": 0, "TimeLimit.truncated": True, "terminal_observation": last}

    def _replace_lost(self) -> dict[int, tuple[Any, dict[str, Any]]]:
        """Start lost workers anew, all at once, until they all play; returns their first observations and infos.

        Raises:
            WorkerError: one was lost too often.
        """
        begun = {}
        while self._lost:
            indices = sorted(self._lost)
            for index in indices:
                self._replace(index, self._lost[index])
            self._lost.clear()
            for index in indices:
                try:
                    self.remotes[index].spaces()
                except WorkerLostError as error:
                    self._lost[index] = error
                    continue
                self._ask(index, ("reset", (None, {})))
                if (answer := self._answer(index)) is not None:
                    begun[index] = answer
        return begun

    def _replace(self, index: int, error: WorkerLostError) -> None:
        self._deaths[index] += 1
        restarts = self._retry.worker_restarts
        if self._deaths[index] > restarts:
            times = f"{restarts} time{'s' * (restarts != 1)}"
            if restarts:
                error = WorkerLostError(
                    index, error.pid, f"{error.what}. It had been started anew {times} without ending an episode"
                )
            raise error
        _LOG.warning("%s; it is started anew, its episode is dropped", error)
        self.remotes[index].join(time.monotonic())
        self._replacements[index] += 1
        # Not the same seed again: it would play what was played before.
        again = self._replacements[index]
        seed = None if self._seed is None else seed_of(self._seed, Stream.GAME, index, again)
        workers = list(self.remotes)
        workers[index] = self._worker(index, seed)
        self.remotes = tuple(workers)
