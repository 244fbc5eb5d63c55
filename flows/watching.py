"""`mario watch`: show an agent playing, or replay a stored episode, in a window or as a video."""

from collections.abc import Iterator
from pathlib import Path

from configs import EnvironmentConfig, EvaluateConfig, Settings
from flows.models import Trust, load
from mario_env import EpisodeStart, EpisodeSummary
from reports import replay
from reports.seen import SHAPE
from reports.video import FRAME_SHAPE, Frame
from tasks.experiment import open_store
from tasks.report import missing_actions


class WatchError(RuntimeError):
    """The episode cannot be shown; the message says why."""


def episode_frames(episode_id: int, settings: Settings, *, observation: bool = False) -> Iterator[Frame]:
    """The frames of a stored episode, one per emulator frame: uint8 RGB of shape (240, 256, 3).

    With `observation` each is enlarged, and has beside it what the agent saw: `reports.seen.SHAPE`.

    Raises:
        StoreError: there is no such episode.
        WatchError: its actions were not stored, or have been pruned.
    """
    from configs import from_dict

    with open_store(settings) as store:
        episode = store.episode(episode_id)
    config = from_dict(episode.experiment.record.config, f"experiment {episode.experiment.record.name}")
    if episode.actions is None or episode.start is None:
        raise WatchError(missing_actions(episode_id, stored=config.episodes.store_actions))
    start = EpisodeStart.from_json(episode.start)
    return replayed(config.environment, start, episode.actions, episode.delays, observation)


def model_frames(
    reference: str, settings: Settings, trust: Trust, *, stochastic: bool, seed: int, observation: bool = False
) -> Iterator[Frame]:
    """The frames of one episode that the model `reference` plays; otherwise as :func:`episode_frames`.

    Raises:
        ModelNotFoundError, CheckpointError, UntrustedModelError: as :func:`flows.models.load`.
    """
    from agents import play_episodes

    agent = load(reference, settings, trust)
    played: list[EpisodeSummary] = []
    play_episodes(
        agent,
        agent.config.environment,
        "stochastic" if stochastic else "greedy",
        EvaluateConfig(episodes=1, n_envs=1),
        seed=seed,
        on_episode=lambda episode: played.append(episode.summary),
    )
    summary = played[0]
    return replayed(agent.config.environment, summary.start, summary.actions, summary.delays, observation)


def replayed(
    config: EnvironmentConfig, start: EpisodeStart, actions: bytes, delays: bytes, observation: bool
) -> Iterator[Frame]:
    frames = replay.frames_with_observations if observation else replay.episode_frames
    return frames(config, start, actions, delays)


def show(frames: Iterator[Frame], video: Path | None, *, observation: bool = False) -> Path | None:
    """Write `frames` to the MP4 file `video`, or show them in a window at the speed of the game.

    Args:
        observation: whether the frames have beside them what the agent saw.

    Returns:
        The file; None for the window.

    Raises:
        WindowError: there is no display.
    """
    scale, shape = (1, SHAPE) if observation else (3, FRAME_SHAPE)
    if video is not None:
        from reports.video import render_video

        return render_video(frames, video, scale=scale, shape=shape)
    from reports.window import show_in_window

    show_in_window(frames, scale=scale, shape=shape)
    return None
