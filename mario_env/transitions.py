"""An episode as what offline reinforcement learning reads: observations, actions, rewards and ends, one array each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete

from configs.schema import EnvironmentConfig
from mario_env.memory import FACTS
from mario_env.observations import observation_space
from mario_env.playback import PlaybackState, play_back_states
from mario_env.summary import EpisodeStart, EpisodeSummary
from mario_env.wrappers.actions import button_combinations
from mario_env.wrappers.facts import COUNTS

__all__ = ["RAM_BYTES", "RecordedObservation", "Transitions", "action_space", "play_transitions", "recorded_space"]

RecordedObservation = Literal["frames", "tiles", "ram"]
"""What is recorded: a kind of :data:`mario_env.observations.OBSERVATIONS`, or all of the console's RAM."""

RAM_BYTES: Final = 2048
_OF_STEPS: Final = ("action_delay", "frames")  # the info of a reset does not have them


@dataclass(frozen=True)
class Transitions:
    """An episode of n decisions.

    Attributes:
        observations: (n + 1, *shape): before each decision, and after the last one.
        actions: int64 (n,): the actions that were executed.
        rewards: float64 (n,).
        terminations, truncations: bool (n,): of the last decision at most one is true, of all others none.
        infos: by name, n + 1 values: of the reset and of each step. Names are those of :data:`mario_env.memory.FACTS` and
            :data:`mario_env.wrappers.facts.COUNTS`, `action_delay` and `frames` of the decision before, and `reward_NAME` for
            each component of the reward.
        summary: how the episode ended.
    """

    observations: npt.NDArray[Any]
    actions: npt.NDArray[np.int64]
    rewards: npt.NDArray[np.float64]
    terminations: npt.NDArray[np.bool_]
    truncations: npt.NDArray[np.bool_]
    infos: Mapping[str, list[Any]]
    summary: EpisodeSummary


def recorded_space(config: EnvironmentConfig, observation: RecordedObservation) -> Box:
    """The space of one observation."""
    if observation == "ram":
        return Box(0, 255, (RAM_BYTES,), np.uint8)
    return observation_space(_showing(config, observation))


def action_space(config: EnvironmentConfig) -> Discrete:
    """The space of the actions."""
    return Discrete(len(button_combinations(config)))


def play_transitions(
    config: EnvironmentConfig, start: EpisodeStart, actions: bytes, delays: bytes, observation: RecordedObservation
) -> Transitions:
    """Play an episode again and record it.

    Args:
        config, start, actions, delays: as for :func:`mario_env.play_back`.
        observation: what to record, whatever the agent saw. Frames are stacked as the configuration says.

    Raises:
        PlaybackError: it does not end with its last action, so its record or its configuration is another's.
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
    """
    space, count = recorded_space(config, observation), len(actions)
    observations = np.empty((count + 1, *space.shape), space.dtype)
    rewards, terminations, truncations = np.zeros(count), np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    infos: dict[str, list[Any]] = {}
    shown = config if observation == "ram" else _showing(config, observation)
    for number, state in enumerate(play_back_states(shown, start, actions, delays)):
        seen = np.frombuffer(state.memory, np.uint8) if observation == "ram" else state.observation
        observations[number] = seen
        for name, value in _info(state, config).items():
            infos.setdefault(name, []).append(value)
        if number:
            rewards[number - 1] = state.reward
            terminations[number - 1], truncations[number - 1] = state.terminated, state.truncated
    taken = np.frombuffer(actions, np.uint8).astype(np.int64)
    return Transitions(observations, taken, rewards, terminations, truncations, infos, state.info["episode_summary"])


def _showing(config: EnvironmentConfig, observation: str) -> EnvironmentConfig:
    return config.model_copy(update={"observation": observation})


def _info(state: PlaybackState, config: EnvironmentConfig) -> dict[str, Any]:
    components = state.info.get("reward_components", {})
    return {
        **{name: state.info[name] for name in (*FACTS, *COUNTS)},
        **{name: state.info.get(name, 0) for name in _OF_STEPS},
        **{f"reward_{name}": float(components.get(name, 0.0)) for name in config.reward.weights},
    }
