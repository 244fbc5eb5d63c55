"""Playing episodes to judge an agent: fixed conditions, fixed counts, seeds of their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.models import Agent
from agents.progress import PlayedEpisode
from agents.threads import torch_threads
from configs import EnvironmentConfig, EvaluateConfig, Protocol, RetryConfig
from configs.seeds import Stream, generator, seed_of
from mario_env import make_vec


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
    """`evaluate.episodes`, but 1 for greedy: the game is deterministic, and a greedy agent would repeat one trajectory."""
    return 1 if protocol == "greedy" else evaluate.episodes


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
    retry: RetryConfig | None = None,
    stop: Callable[[], bool] | None = None,
) -> int:
    """Play `episodes_to_play` episodes under `protocol`, in `evaluate.n_envs` processes.

    Protocols: ``greedy``: the best action, no randomness anywhere. ``stochastic``: PPO draws from its policy; DQN and QR-DQN
    take a random action with probability `exploration_final_eps`. ``sticky`` and ``noop``: greedy, with
    `evaluate.sticky_actions` or 1 to `evaluate.noop_frames` idle frames at the start. ``random``: uniform actions, no agent.

    Every environment plays a number of episodes fixed beforehand. Taking the first N that end would favour short ones.

    Args:
        agent: None only for ``random``.
        seed: the experiment's; `evaluation_seed` derives the environments' and the actions' from it.
        on_episode: called for each counted episode. `global_step` is the agent's age in decisions.
        processes: False plays in this process (for tests).
        retry: see `mario_env.make_vec`. An episode whose process was lost does not count; another is played.
        stop: asked before each decision; True ends the play, and episodes that have not ended are given up.

    Returns:
        The number of episodes handed over.

    Raises:
        ValueError: there is no agent and the protocol is not ``random``.
        WorkerError: an environment's process died again and again.
    """
    if agent is None and protocol != "random":
        raise ValueError(f"the protocol {protocol} needs an agent; only random does without")
    count = episodes_to_play(protocol, evaluate)
    n_envs = min(evaluate.n_envs, count)
    derived = evaluation_seed(seed, protocol)
    env = make_vec(protocol_environment(config, protocol, evaluate), n_envs, seed=derived, processes=processes, retry=retry)
    try:
        # A batch of a few observations is too little work to share, and the games want the other cores.
        with torch_threads(1):
            actions = _actions(agent, protocol, env, derived)
            return _play(env, actions, _quotas(count, n_envs), agent, protocol, on_episode, stop)
    finally:
        env.close()


def _quotas(count: int, n_envs: int) -> list[int]:
    return [count // n_envs + (index < count % n_envs) for index in range(n_envs)]


def _actions(
    agent: Agent | None, protocol: Protocol, env: VecEnv, seed: int
) -> Callable[[NDArray[np.uint8]], NDArray[np.int64]]:
    if agent is None or protocol == "random":
        choices = generator(seed, Stream.CHOICES)
        n_actions = int(env.action_space.n)  # type: ignore[attr-defined]
        return lambda observations: choices.integers(n_actions, size=len(observations))
    agent.seed(seed)
    return lambda observations: agent.act(observations, deterministic=protocol != "stochastic")


def _play(
    env: VecEnv,
    actions: Callable[[NDArray[np.uint8]], NDArray[np.int64]],
    quotas: list[int],
    agent: Agent | None,
    protocol: Protocol,
    on_episode: Callable[[PlayedEpisode], None],
    stop: Callable[[], bool] | None,
) -> int:
    played = [0] * len(quotas)
    stochastic = agent.exploration_rate if agent is not None and protocol == "stochastic" else 0.0
    exploration = 1.0 if protocol == "random" else stochastic
    steps = agent.manifest.steps if agent is not None and protocol != "random" else 0
    observations = env.reset()
    while played != quotas and not (stop is not None and stop()):
        observations, _, dones, infos = env.step(actions(np.asarray(observations)))
        for env_index in np.flatnonzero(dones):
            if played[env_index] == quotas[env_index]:
                continue  # plays on only because the others have not finished
            summary = infos[env_index].get("episode_summary")
            if summary is None:
                continue  # its process was lost
            episode = PlayedEpisode(summary, int(env_index), played[env_index], steps, exploration, datetime.now(UTC))
            played[env_index] += 1
            on_episode(episode)
    return sum(played)
