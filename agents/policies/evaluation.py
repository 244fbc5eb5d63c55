"""Evaluation: an agent plays a fixed number of episodes under fixed conditions, with seeds of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.device import torch_threads
from agents.progress import PlayedEpisode
from configs import Config, EnvironmentConfig, EvaluateConfig, Protocol, RetryConfig
from configs.seeds import Stream, generator, seed_of
from mario_env import make_vec
from mario_env.processors import usable_processors
from mario_env.stable_baselines import begin_episode

_FAST_GAMES = 32  # games of the fast emulator at a time


class Player(Interface):
    """What is evaluated: an :class:`~agents.policies.models.Agent`, or a :class:`~agents.policies.team.Team` of them."""

    @property
    def steps(self) -> int:
        """The decisions that it was trained for."""

    @property
    def exploration_rate(self) -> float:
        """The share of random actions when it acts stochastically."""

    def act(
        self,
        observations: NDArray[Any],
        *,
        deterministic: bool,
        random: Sequence[np.random.Generator] | None,
        infos: Sequence[Mapping[str, Any]] | None,
    ) -> NDArray[np.int64]:
        """Choose the action of each game, by what it shows and by the infos of its last step or reset."""


def protocol_environment(config: EnvironmentConfig, protocol: Protocol, evaluate: EvaluateConfig) -> EnvironmentConfig:
    """The environment of `protocol`. The protocol alone decides about sticky actions and no-op starts, not the training."""
    return config.model_copy(
        update={
            "sticky_actions": evaluate.sticky_actions if protocol == "sticky" else 0.0,
            "sticky_decisions": evaluate.sticky_actions if protocol == "sticky_decisions" else 0.0,
            "noop_frames": evaluate.noop_frames if protocol == "noop" else 0,
        }
    )


def episodes_to_play(protocol: Protocol, evaluate: EvaluateConfig) -> int:
    """The number of episodes that an evaluation under `protocol` plays: `evaluate.episodes`, or fewer if all would be equal.

    The game is deterministic, and so is a greedy agent. So there is one trajectory under ``greedy``, and one for each number of
    idle frames under ``noop``. Further episodes would be copies of these.
    """
    if protocol == "greedy":
        return 1
    return evaluate.noop_frames if protocol == "noop" else evaluate.episodes


def evaluated_environments(config: EnvironmentConfig, evaluate: EvaluateConfig) -> dict[str, EnvironmentConfig]:
    """The environments that an evaluation plays, by level: the levels trained on, then `evaluate.levels`; or the full game."""
    trained = {level: config.at_level(level) for level in config.levels} or {config.level_name: config}
    return trained | {level: config.at_level(level) for level in evaluate.levels}


def games_at_a_time(config: EnvironmentConfig, evaluate: EvaluateConfig) -> int:
    """The number of games that an evaluation plays at a time: `evaluate.n_envs`, or the number that is fastest.

    A network chooses actions for many games at hardly more cost than for one. Beyond 32 games little is gained
    (docs/experiments.md). Each game of nes-py is a process, so more games than processors only cost time.
    """
    if evaluate.n_envs is not None:
        return evaluate.n_envs
    return _FAST_GAMES if config.emulator == "fast" else usable_processors()


def evaluation_seed(seed: int, protocol: Protocol) -> int:
    """The seed of an evaluation under `protocol`, below 2**128; independent of the training's and the validations' seeds."""
    return seed_of(seed, Stream.EVALUATION, protocol)


def episode_seed(config: Config, protocol: Protocol, env_index: int) -> int:
    """The seed of the game of an evaluated episode, below 2**128.

    Args:
        config: the experiment's.
        protocol: under which it was played.
        env_index: its number, as it is recorded. The numbers of a level follow those of the level before it.
    """
    number = env_index % episodes_to_play(protocol, config.evaluate)
    return _game_seed(evaluation_seed(config.seed, protocol), number)


def _game_seed(derived: int, number: int) -> int:
    return seed_of(derived, Stream.GAME, number)


def play_episodes(
    agent: Player | None,
    config: EnvironmentConfig,
    protocol: Protocol,
    evaluate: EvaluateConfig,
    *,
    seed: int,
    on_episode: Callable[[PlayedEpisode], None],
    processes: bool = True,
    threads: int | None = None,
    retry: RetryConfig | None = None,
    stop: Callable[[], bool] | None = None,
    first: int = 0,
) -> int:
    """Play `episodes_to_play` episodes under `protocol`, `games_at_a_time` at a time.

    Protocols:

    - ``greedy``: the best action, without any randomness.
    - ``stochastic``: PPO samples from its policy; DQN and QR-DQN act at random with probability `exploration_final_eps`.
    - ``sticky``, ``sticky_decisions``: greedy, with `evaluate.sticky_actions`.
    - ``noop``: greedy, after 1 to `evaluate.noop_frames` idle frames, each number once.
    - ``random``: uniform actions, without an agent.

    Each episode has random numbers of its own, for the game and for the actions, and is played to its end. So the number of
    games played at a time changes neither the episodes nor their indices. There is one exception: networks round differently
    for batches of different sizes, by about 1e-7, which can change an action where two are almost equally good.

    Args:
        agent: may be None only under ``random``.
        seed: the experiment's seed; `evaluation_seed` derives the seeds of games and actions from it.
        on_episode: called for each episode when it ends. `env_index` is the number of the episode, from `first` on: each is
            played as a game of its own. `global_step` is the number of decisions the agent was trained for.
        processes: False plays in this process (for tests).
        threads: the number of threads that play the games of the fast emulator; see `mario_env.make_vec`.
        retry: see `mario_env.make_vec`.
        stop: called before each decision; if it returns True, the evaluation ends and running episodes are discarded.
        first: the number of the first episode. It changes nothing but the numbers.

    Returns:
        The number of episodes passed to `on_episode`.

    Raises:
        ValueError: `agent` is None and the protocol is not ``random``.
        WorkerError: an environment's process failed, died or did not answer.
    """
    if agent is None and protocol != "random":
        raise ValueError(f"the protocol {protocol} needs an agent; only the protocol random does not")
    count = episodes_to_play(protocol, evaluate)
    n_envs = min(games_at_a_time(config, evaluate), count)
    derived = evaluation_seed(seed, protocol)
    played = protocol_environment(config, protocol, evaluate)
    env = make_vec(played, n_envs, seed=derived, processes=processes, threads=threads, retry=retry)
    try:
        # A batch of a few observations is too little work for several threads, and the games need the other cores.
        with torch_threads(1):
            player = _EpisodePlayer(env, agent, protocol, derived, iter(range(count)), first)
            return player.play(on_episode, stop)
    finally:
        env.close()


def play_levels(
    agent: Player | None,
    config: Config,
    protocol: Protocol,
    evaluate: EvaluateConfig,
    *,
    seed: int,
    on_episode: Callable[[PlayedEpisode], None],
    stop: Callable[[], bool] | None = None,
) -> None:
    """Play `play_episodes` on each of `evaluated_environments`, with the threads and retries of `config`.

    The episodes of the levels are numbered one level after the other. The other arguments are those of `play_episodes`.
    """
    for place, environment in enumerate(evaluated_environments(config.environment, evaluate).values()):
        play_episodes(
            agent,
            environment,
            protocol,
            evaluate,
            seed=seed,
            on_episode=on_episode,
            threads=config.train.game_threads,
            retry=config.retry,
            stop=stop,
            first=place * episodes_to_play(protocol, evaluate),
        )


@dataclass
class _EpisodePlayer:
    """Plays numbered episodes on the environments of `env`. An environment whose episode has ended begins the next one.

    Attributes:
        pending: the numbers of the episodes to play, from 0.
        first: is added to the numbers that episodes are recorded with.
        running: for each environment that is playing, the number of its episode.
        infos: of each environment, from its last step or reset.
        generators: for each environment, the source of its random actions.
    """

    env: VecEnv
    agent: Player | None
    protocol: Protocol
    seed: int
    pending: Iterator[int]
    first: int = 0
    running: dict[int, int] = field(default_factory=dict)
    infos: list[dict[str, Any]] = field(default_factory=list)
    generators: list[np.random.Generator] = field(default_factory=list)

    def play(self, on_episode: Callable[[PlayedEpisode], None], stop: Callable[[], bool] | None) -> int:
        played = 0
        observations, self.infos = np.asarray(self.env.reset()), list(self.env.reset_infos)
        # An environment without a further episode keeps playing, with the last generator, and is ignored.
        self.generators = [generator(self.seed, Stream.CHOICES, 0) for _ in range(self.env.num_envs)]
        for index in range(self.env.num_envs):
            self._begin_next(index, observations)
        while self.running and not (stop is not None and stop()):
            stepped = self.env.step(self._actions(observations))
            observations, dones, self.infos = np.array(stepped[0]), stepped[2], list(stepped[3])
            for index in [index for index in np.flatnonzero(dones).tolist() if index in self.running]:
                played += 1
                on_episode(self._played(self.infos[index]["episode_summary"], self.running.pop(index)))
                self._begin_next(index, observations)
        return played

    def _begin_next(self, index: int, observations: NDArray[np.uint8]) -> None:
        number = next(self.pending, None)
        if number is None:
            return
        options = {"noop_frames": number + 1} if self.protocol == "noop" else {}
        seed = _game_seed(self.seed, number)
        observations[index] = begin_episode(self.env, index, seed=seed, options=options)
        self.infos[index] = self.env.reset_infos[index]
        self.generators[index] = generator(self.seed, Stream.CHOICES, number)
        self.running[index] = number

    def _actions(self, observations: NDArray[np.uint8]) -> NDArray[np.int64]:
        if self.agent is None or self.protocol == "random":
            n_actions = int(self.env.action_space.n)  # type: ignore[attr-defined]
            return np.array([rng.integers(n_actions) for rng in self.generators])
        deterministic = self.protocol != "stochastic"
        return self.agent.act(observations, deterministic=deterministic, random=self.generators, infos=self.infos)

    def _played(self, summary: Any, number: int) -> PlayedEpisode:
        agent = None if self.protocol == "random" else self.agent
        exploration = 1.0 if agent is None else agent.exploration_rate if self.protocol == "stochastic" else 0.0
        steps = 0 if agent is None else agent.steps
        return PlayedEpisode(summary, self.first + number, 0, steps, exploration, datetime.now(UTC))
