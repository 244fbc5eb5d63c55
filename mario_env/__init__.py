"""The game: console, wrappers, environment, vectorised environment.

Importing this package registers the game with Gymnasium (`gymnasium.make("mario_env/SuperMarioBros-1-1-v0")`, see
:mod:`mario_env.registration`). The pipeline makes one environment with :func:`make` and several with
:func:`make_vec`.
"""

from typing import TYPE_CHECKING

from mario_env.errors import (
    DemonstrationError,
    PlaybackError,
    RomUnavailableError,
    SearchError,
    SnapshotError,
    WorkerError,
)
from mario_env.factory import make
from mario_env.observations import Tiles, observation_of, observation_space
from mario_env.playback import PlaybackFrame, PlaybackState, episode_environment, play_back, play_back_states
from mario_env.registration import environment_spec, register_environments
from mario_env.summary import EpisodeStart, EpisodeSummary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stable_baselines3.common.vec_env import VecEnv

    from configs.schema import Config, EnvironmentConfig, RetryConfig
    from mario_env.observations import Observation
    from mario_env.starts import Starts

__all__ = [
    "DemonstrationError",
    "EpisodeStart",
    "EpisodeSummary",
    "PlaybackError",
    "PlaybackFrame",
    "PlaybackState",
    "RomUnavailableError",
    "SearchError",
    "SnapshotError",
    "WorkerError",
    "environment_spec",
    "episode_environment",
    "make",
    "make_training_vec",
    "make_vec",
    "observation_of",
    "observation_space",
    "play_back",
    "play_back_states",
    "training_starts",
]


register_environments()


def make_vec(
    config: "EnvironmentConfig",
    n_envs: int,
    *,
    seed: int,
    processes: bool = True,
    threads: int | None = None,
    retry: "RetryConfig | None" = None,
    starts: "Starts | None" = None,
    seen_besides: "Observation | None" = None,
) -> "VecEnv":
    """Make several environments at once: see :func:`mario_env.stable_baselines.make_vec`.

    Here so that importing this package does not import stable-baselines3 and torch.
    """
    from mario_env import stable_baselines

    return stable_baselines.make_vec(
        config,
        n_envs,
        seed=seed,
        processes=processes,
        threads=threads,
        retry=retry,
        starts=starts,
        seen_besides=seen_besides,
    )


def make_training_vec(config: "Config", found: "Mapping[str, Sequence[str]] | None" = None) -> "VecEnv":
    """Make the environments that a training of `config` plays: :func:`make_vec` with its numbers, seed, limits and starts.

    With `train.teacher` they also have the tiles that the teacher sees. For `found` and what is raised, see
    :func:`training_starts`.
    """
    train = config.train
    return make_vec(
        config.environment,
        train.n_envs,
        seed=config.seed,
        threads=train.game_threads,
        retry=config.retry,
        starts=training_starts(config, found),
        seen_besides=None if train.teacher is None else Tiles(),
    )


def training_starts(config: "Config", found: "Mapping[str, Sequence[str]] | None" = None) -> "Starts | None":
    """What chooses where the episodes of a training begin; None: they all begin at the start of one level or of the full game.

    On nes-py each process chooses for itself.

    Args:
        config: the whole configuration.
        found: the demonstrations, by level, that the search of `train.curriculum.search` has found.

    Raises:
        DemonstrationError: a demonstration of the curriculum presses buttons that the environment has no action for, or
            demonstrations are to be searched for, and `found` lacks those of a level.
    """
    from mario_env.curriculum import curriculum_of
    from mario_env.demonstrations import demonstrations_of
    from mario_env.starts import Starts

    environment, train = config.environment, config.train
    if environment.emulator == "nes-py" or not (environment.levels or train.curriculum):
        return None
    curriculum = None
    if train.curriculum is not None:
        given = {level: train.curriculum.plays(level) or (found or {}).get(level, []) for level in environment.level_names}
        if train.curriculum.search and (missing := [level for level, plays in given.items() if not plays]):
            raise DemonstrationError(
                f"train.curriculum.search: there is no demonstration of {missing[0]} yet: `mario run` searches for one"
            )
        curriculum = curriculum_of(train.curriculum, demonstrations_of(environment, given))
    return Starts(environment, train.level_sampling, curriculum)
