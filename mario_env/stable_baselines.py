"""Several environments behind stable-baselines3's `VecEnv`: the fast emulator's in this process, nes-py's in a process each."""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Discrete
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from configs.schema import EnvironmentConfig, RetryConfig
from configs.seeds import game_seeds
from mario_env.console import check_rom
from mario_env.factory import make
from mario_env.games import Games, Outcome
from mario_env.observations import Observation
from mario_env.processes import ProcessVecEnv
from mario_env.snapshots import GamesSnapshot
from mario_env.starts import Starts
from mario_env.views import View

__all__ = ["FastVecEnv", "begin_episode", "make_vec"]


def make_vec(
    config: EnvironmentConfig,
    n_envs: int,
    *,
    seed: int,
    processes: bool = True,
    threads: int | None = None,
    retry: RetryConfig | None = None,
    starts: Starts | None = None,
    seen_besides: Observation | None = None,
) -> VecEnv:
    """Make `n_envs` environments that `config` describes; each has its own seed of `configs.seeds.game_seeds`.

    Args:
        config: the environment's section of the configuration.
        n_envs: how many.
        seed: of all of them; a later `VecEnv.seed` has the same meaning. Another seed gives other games, all of them.
        processes: for nes-py: a process each, or all in this process. The games of the fast emulator are always played by
            threads of this process.
        threads: of the fast emulator: how many threads play; None: one for each processor that this process may use
            (affinity and control groups heeded), as far as there are games. What is played does not depend on it.
        retry: for nes-py: `worker_timeout`, the seconds without an answer after which a process is killed; None: the default.
        starts: of the fast emulator: chooses where episodes begin; see :class:`~mario_env.games.Games`.
        seen_besides: of the fast emulator: a further observation, :attr:`FastVecEnv.view`.

    Raises:
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM; raised before any process starts.
        WorkerError: a process could not make its environment.
        ValueError: n_envs is below 1.
    """
    if n_envs < 1:
        raise ValueError(f"n_envs: at least 1 environment is needed, not {n_envs}")
    check_rom(config)
    envs: VecEnv
    if config.emulator == "fast":
        envs = FastVecEnv(config, n_envs, seed=seed, threads=threads, starts=starts, seen_besides=seen_besides)
    elif processes:
        timeout = (retry or RetryConfig()).worker_timeout
        envs = _SeededProcesses(config, game_seeds(seed, n_envs), timeout=timeout)
    else:
        envs = _InThisProcess([partial(make, config, seed=own) for own in game_seeds(seed, n_envs)])
    envs.seed(seed)
    return envs


@runtime_checkable
class _BeginsEpisodes(Protocol):
    def begin(self, index: int, *, seed: int | None, options: dict[str, Any]) -> npt.NDArray[np.uint8]: ...


def begin_episode(envs: VecEnv, index: int, *, seed: int | None, options: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Begin an episode of one of the environments of :func:`make_vec`, in place of the one that is running there.

    Args:
        envs: the environments; between two steps.
        index: which of them.
        seed: of the episode's random numbers; None: they go on.
        options: as for the environment's `reset`.

    Returns:
        The first observation. `envs.reset_infos` has the info.

    Raises:
        TypeError: they are not of `make_vec`.
        WorkerError: its process failed, died or did not answer.
    """
    if not isinstance(envs, _BeginsEpisodes):
        raise TypeError(f"{type(envs).__name__} cannot begin the episodes of one environment alone; make_vec's can")
    return envs.begin(index, seed=seed, options=options)


class _SeedsApart(VecEnv):
    """Gives each environment a seed of `game_seeds`; stable-baselines3 itself counts up from the seed."""

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Give each environment a seed of its own at the next reset; None: a random one."""
        self._seeds = game_seeds(secrets.randbits(128) if seed is None else seed, self.num_envs)
        return self._seeds


class _SeededProcesses(_SeedsApart, ProcessVecEnv):
    """An environment a process."""


class _InThisProcess(_SeedsApart, DummyVecEnv):
    """All environments in this process."""

    def begin(self, index: int, *, seed: int | None, options: dict[str, Any]) -> npt.NDArray[np.uint8]:
        """See :func:`begin_episode`."""
        observation: npt.NDArray[np.uint8]
        observation, self.reset_infos[index] = self.envs[index].reset(seed=seed, options=options)
        return observation


class FastVecEnv(_SeedsApart):
    """The games of the fast emulator, played by threads of this process.

    Args:
        config: what each game is.
        n_envs: how many.
        seed: of all games; each has its own of `game_seeds`.
        threads, starts, seen_besides: see :class:`~mario_env.games.Games`.
    """

    def __init__(
        self,
        config: EnvironmentConfig,
        n_envs: int,
        *,
        seed: int | None = None,
        threads: int | None = None,
        starts: Starts | None = None,
        seen_besides: Observation | None = None,
    ) -> None:
        self.games = Games(config, n_envs, seed=seed, threads=threads, starts=starts, seen_besides=seen_besides)
        super().__init__(n_envs, self.games.observation_space, Discrete(self.games.actions))

    @property
    def starts(self) -> Starts | None:
        """What chooses where episodes begin; None: they all begin at the same place."""
        return self.games.starts

    @property
    def view(self) -> View | None:
        """The games' present states as the further observation; None: there is none."""
        return self.games.view

    @property
    def levels(self) -> list[str]:
        """The level that each game plays now."""
        return self.games.levels

    def reset(self) -> npt.NDArray[np.uint8]:
        """Start a new episode of every game."""
        for index in range(self.num_envs):
            options = self._options[index] or None
            self.reset_infos[index] = self.games.reset(index, seed=self._seeds[index], options=options)
        self._reset_seeds()
        self._reset_options()
        return self.games.fleet.observations.copy()

    def begin(self, index: int, *, seed: int | None, options: dict[str, Any]) -> npt.NDArray[np.uint8]:
        """See :func:`begin_episode`."""
        self.reset_infos[index] = self.games.reset(index, seed=seed, options=options)
        observation: npt.NDArray[np.uint8] = self.games.fleet.observations[index].copy()
        return observation

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Keep the actions; `step_wait` plays them."""
        self._actions = actions

    def step_wait(self) -> Any:
        """The end of one decision; a game that ended is reset, its last observation is in info's `terminal_observation`."""
        observations, rewards, dones, infos = self._after_resets(0, self.games.step(self._actions))
        return observations.copy(), rewards, dones, infos

    def send(self, first: int, actions: npt.NDArray[np.int64]) -> None:
        """Begin to play one decision in the games from `first` on, as many as there are actions; `recv` ends it.

        Threads play them, and the caller can do something else meanwhile. Each game plays as with `step`.

        Raises:
            ValueError: an action is not between 0 and the number of actions.
            RuntimeError: one of these games is being played.
        """
        self.games.send(first, actions)

    def recv(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Wait for the decision that was sent first; returns what `step` returns, of its games.

        The next decision that is sent to these games overwrites the observations.

        Raises:
            RuntimeError: no games are being played.
        """
        first, outcome = self.games.recv()
        return self._after_resets(first, outcome)

    @property
    def playing(self) -> bool:
        """Whether a decision was sent that was not received."""
        return self.games.playing

    def _after_resets(
        self, first: int, outcome: Outcome
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Reset the games that ended; `first` is the first of the games that have this outcome."""
        observations, rewards, terminated, truncated, infos = outcome
        dones = [ended or cut for ended, cut in zip(terminated, truncated, strict=True)]
        for at, info in enumerate(infos):
            info["TimeLimit.truncated"] = truncated[at] and not terminated[at]
            self.reset_infos[first + at] = {}
            if dones[at]:
                info["terminal_observation"] = observations[at].copy()
                self.reset_infos[first + at] = self.games.reset(first + at)
        return observations, np.array(rewards), np.array(dones), infos

    def snapshot(self) -> GamesSnapshot:
        """The present state of the games; see :class:`~mario_env.snapshots.Snapshots`."""
        return self.games.snapshot()

    def restore(self, snapshot: GamesSnapshot) -> npt.NDArray[np.uint8]:
        """Restore the games, and return their observations.

        Raises:
            SnapshotError: it is of other games.
        """
        self.games.restore(snapshot)
        # Seeds and options for the next reset were meant for the reset that this replaces.
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self.games.fleet.observations.copy()

    def close(self) -> None:
        """End the threads; closing twice is no error."""
        self.games.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the games."""
        return [getattr(self.games.slots[index], attr_name) for index in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the games."""
        for index in self._get_indices(indices):
            setattr(self.games.slots[index], attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the games."""
        methods = [getattr(self.games.slots[index], method_name) for index in self._get_indices(indices)]
        return [method(*method_args, **method_kwargs) for method in methods]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:
        """No: there are no wrappers here."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[Any]:
        """The current screens."""
        return [slot.render() for slot in self.games.slots]
