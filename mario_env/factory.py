"""Builds the environment: the one place that fixes the order of the transforms."""

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.wrappers import StickyAction, TimeLimit

from configs.schema import EnvironmentConfig
from configs.seeds import Stream, seed_of
from mario_env.console import Console, NesPyConsole, Screen
from mario_env.observations import observation_of
from mario_env.wrappers import (
    ActionDelay,
    DemonstrationStart,
    EpisodeRecorder,
    FrameSkip,
    JoypadAction,
    LifeLossTermination,
    MemoryFacts,
    MemoryReward,
    NoopStart,
    StallTruncation,
    StickyActions,
    button_combinations,
)

__all__ = ["build", "make"]

Environment = gymnasium.Env[Screen, Any]


def make(config: EnvironmentConfig, *, seed: int | None = None) -> Environment:
    """Make the environment that `config` describes. Training, evaluation, playback and tests all use this.

    Args:
        config: the environment's section of the configuration.
        seed: of the random numbers (no-op starts, sticky actions; the game has none) and of the action space's `sample`. A
            `reset(seed=…)` seeds them again.

    Returns:
        Observations are what `environment.observation` names (:mod:`mario_env.observations`); actions are Discrete(n). For info
        see :class:`~mario_env.wrappers.MemoryFacts`, :class:`~mario_env.wrappers.MemoryReward` and
        :class:`~mario_env.wrappers.EpisodeRecorder`.

    Raises:
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
    """
    return build(make_console(config, seed=seed), config, seed=seed)


def make_console(config: EnvironmentConfig, *, seed: int | None = None) -> Console:
    """The emulator that the configuration names, with the game in it."""
    if config.emulator == "nes-py":
        return NesPyConsole(config, seed=seed)
    from mario_env.fast import FastConsole  # imports numba, which nes-py does without

    return FastConsole(config, seed=seed)


def build(
    console: Console,
    config: EnvironmentConfig,
    *,
    seed: int | None = None,
    watch: Callable[[Environment], Environment] | None = None,
) -> Environment:
    """Put the transforms around a console, in their fixed order.

    Args:
        console: what executes the game.
        config: which transforms, and how.
        seed: the environment's; that of the action space's `sample` is derived from it.
        watch: wraps the environment that is stepped frame by frame; for playback.
    """
    env: Environment = NoopStart(console, config.noop_frames)
    env = MemoryFacts(env, one_level=config.game == "level")
    if config.life_loss_ends_episode:
        env = LifeLossTermination(env)
    if watch is not None:
        env = watch(env)
    env = ActionDelay(env)
    env = JoypadAction(env, button_combinations(config))
    if config.frame_skip > 1:
        env = FrameSkip(env, config.frame_skip)
    env = observation_of(config).wrap(env)
    env = DemonstrationStart(env)
    env = MemoryReward(env, config.reward)
    env = _end(env, config)
    env = EpisodeRecorder(env)
    if config.sticky_actions:
        env = StickyActions(env, config.sticky_actions, config.frame_skip)
    if config.sticky_decisions:
        env = StickyAction(env, config.sticky_decisions)
    env.action_space.seed(None if seed is None else seed_of(seed, Stream.ACTION_SAMPLES))
    return env


def _end(env: Environment, config: EnvironmentConfig) -> Environment:
    if config.stall_after is not None:
        env = StallTruncation(env, config.stall_after)
    if config.max_steps is not None:
        env = TimeLimit(env, config.max_steps)
    return env
