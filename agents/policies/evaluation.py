"""Playing episodes to judge an agent: fixed conditions, fixed counts, seeds of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.device import torch_threads
from agents.policies.models import Agent
from agents.progress import PlayedEpisode
from configs import EnvironmentConfig, EvaluateConfig, Protocol, RetryConfig
from configs.seeds import Stream, generator, seed_of
from mario_env import make_vec
from mario_env.processors import usable_processors
from mario_env.stable_baselines import begin_episode

_QUICK = 32  # games of the fast emulator at a time


def protocol_environment(config: EnvironmentConfig, protocol: Protocol, evaluate: EvaluateConfig) -> EnvironmentConfig:
    """The environment of `protocol`: sticky actions and no-op starts as the protocol says, whatever the training had."""
    return config.model_copy(
        update={
            "sticky_actions": evaluate.sticky_actions if protocol == "sticky" else 0.0,
            "sticky_decisions": evaluate.sticky_actions if protocol == "sticky_decisions" else 0.0,
            "noop_frames": evaluate.noop_frames if protocol == "noop" else 0,
        }
    )


def episodes_to_play(protocol: Protocol, evaluate: EvaluateConfig) -> int:
    """How many episodes tell all that a protocol can tell, or `evaluate.episodes`.

    The game is deterministic, and so is a greedy agent: under ``greedy`` it has one trajectory, and under ``noop`` one for each
    number of idle frames. More episodes would be copies of these.
    """
    if protocol == "greedy":
        return 1
    return evaluate.noop_frames if protocol == "noop" else evaluate.episodes


def games_at_a_time(config: EnvironmentConfig, evaluate: EvaluateConfig) -> int:
    """How many games an evaluation plays at a time: `evaluate.n_envs`, or as many as are quick.

    Networks choose for many games at once at hardly more cost than for one, and beyond 32 little is gained
    (docs/experiments.md). Each game of nes-py is a process, which only costs time where no processor is free for it.
    """
    if evaluate.n_envs is not None:
        return evaluate.n_envs
    return _QUICK if config.emulator == "fast" else usable_processors()


def evaluation_seed(seed: int, protocol: Protocol) -> int:
    """The seed of an evaluation under `protocol`, below 2**128: its own, apart from the training's and the validations'."""
    return seed_of(seed, Stream.EVALUATION, protocol)


def play_episodes(
    agent: Agent | None,
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
) -> int:
    """Play `episodes_to_play` episodes under `protocol`, `games_at_a_time` at a time.

    Protocols: ``greedy``: the best action, no randomness anywhere. ``stochastic``: PPO draws from its policy; DQN and QR-DQN
    take a random action with probability `exploration_final_eps`. ``sticky``, ``sticky_decisions`` and ``noop``: greedy, with
    `evaluate.sticky_actions`, or after 1 to `evaluate.noop_frames` idle frames, each number once. ``random``: uniform actions,
    no agent.

    Each episode has random numbers of its own, for the game and for the actions, and is played to its end. So how many are
    played at a time changes neither the episodes nor their indices, but for one thing: networks round differently for batches
    of different sizes, by about 1e-7, and an action that hangs on that may be another one.

    Args:
        agent: None only for ``random``.
        seed: the experiment's; `evaluation_seed` derives the environments' and the actions' from it.
        on_episode: called for each episode as it ends. `env_index` is its number, from 0: each is a game of its own.
            `global_step` is the agent's age in decisions.
        processes: False plays in this process (for tests).
        threads: that play the games of the fast emulator; see `mario_env.make_vec`.
        retry: see `mario_env.make_vec`.
        stop: asked before each decision; True ends the play, and episodes that have not ended are given up.

    Returns:
        The number of episodes handed over.

    Raises:
        ValueError: there is no agent and the protocol is not ``random``.
        WorkerError: an environment's process failed, died or did not answer.
    """
    if agent is None and protocol != "random":
        raise ValueError(f"the protocol {protocol} needs an agent; only random does without")
    count = episodes_to_play(protocol, evaluate)
    n_envs = min(games_at_a_time(config, evaluate), count)
    derived = evaluation_seed(seed, protocol)
    played = protocol_environment(config, protocol, evaluate)
    env = make_vec(played, n_envs, seed=derived, processes=processes, threads=threads, retry=retry)
    try:
        # A batch of a few observations is too little work to share, and the games want the other cores.
        with torch_threads(1):
            player = _Player(env, agent, protocol, derived, iter(range(count)))
            return player.play(on_episode, stop)
    finally:
        env.close()


@dataclass
class _Player:
    """Plays numbered episodes on the environments of `env`, the next one wherever one has ended."""

    env: VecEnv
    agent: Agent | None
    protocol: Protocol
    seed: int
    waiting: Iterator[int]
    running: dict[int, int] = field(default_factory=dict)  # environment: the number of its episode
    choices: list[np.random.Generator] = field(default_factory=list)  # of each environment's actions

    def play(self, on_episode: Callable[[PlayedEpisode], None], stop: Callable[[], bool] | None) -> int:
        played = 0
        observations = np.asarray(self.env.reset())
        # Environments that have no episode left play on with the last one's.
        self.choices = [generator(self.seed, Stream.CHOICES, 0) for _ in range(self.env.num_envs)]
        for index in range(self.env.num_envs):
            self._next(index, observations)
        while self.running and not (stop is not None and stop()):
            stepped = self.env.step(self._actions(observations))
            observations, dones, infos = np.array(stepped[0]), stepped[2], stepped[3]
            for index in [index for index in np.flatnonzero(dones).tolist() if index in self.running]:
                played += 1
                on_episode(self._episode(infos[index]["episode_summary"], self.running.pop(index)))
                self._next(index, observations)
        return played

    def _next(self, index: int, observations: NDArray[np.uint8]) -> None:
        number = next(self.waiting, None)
        if number is not None:
            self._begin(index, number, observations)

    def _begin(self, index: int, number: int, observations: NDArray[np.uint8]) -> None:
        options = {"noop_frames": number + 1} if self.protocol == "noop" else {}
        seed = seed_of(self.seed, Stream.GAME, number)
        observations[index] = begin_episode(self.env, index, seed=seed, options=options)
        self.choices[index] = generator(self.seed, Stream.CHOICES, number)
        self.running[index] = number

    def _actions(self, observations: NDArray[np.uint8]) -> NDArray[np.int64]:
        if self.agent is None or self.protocol == "random":
            n_actions = int(self.env.action_space.n)  # type: ignore[attr-defined]
            return np.array([choices.integers(n_actions) for choices in self.choices])
        return self.agent.act(observations, deterministic=self.protocol != "stochastic", random=self.choices)

    def _episode(self, summary: Any, number: int) -> PlayedEpisode:
        agent = None if self.protocol == "random" else self.agent
        exploration = 1.0 if agent is None else agent.exploration_rate if self.protocol == "stochastic" else 0.0
        steps = 0 if agent is None else agent.manifest.steps
        return PlayedEpisode(summary, number, 0, steps, exploration, datetime.now(UTC))
