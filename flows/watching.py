"""`mario watch`: show an agent playing, or replay a stored episode, in a window or as a video."""

from collections.abc import Iterator
from pathlib import Path

from configs import EvaluateConfig, Settings
from flows.models import Trust, load
from mario_env import EpisodeStart, EpisodeSummary
from reports.replay import episode_frames as replayed_frames
from reports.video import Frame
from tasks.experiment import open_store


class WatchError(RuntimeError):
    """The episode cannot be shown; the message says why."""


def episode_frames(episode_id: int, settings: Settings) -> Iterator[Frame]:
    """The frames of a stored episode, uint8 RGB of shape (240, 256, 3), one per emulator frame.

    Raises:
        StoreError: there is no such episode.
        WatchError: its actions were not stored.
    """
    from configs import from_dict

    with open_store(settings) as store:
        episode = store.episode(episode_id)
    if episode.actions is None or episode.start is None:
        raise WatchError(f"episode {episode_id} was stored without its actions (episodes.store_actions was off)")
    config = from_dict(episode.experiment.record.config, f"experiment {episode.experiment.record.name}")
    return replayed_frames(config.environment, EpisodeStart.from_json(episode.start), episode.actions, episode.delays)


def model_frames(reference: str, settings: Settings, trust: Trust, *, stochastic: bool, seed: int) -> Iterator[Frame]:
    """The frames of one episode that the model `reference` plays, uint8 RGB of shape (240, 256, 3), one per emulator frame.

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
    return replayed_frames(agent.config.environment, played[0].start, played[0].actions, played[0].delays)


def show(frames: Iterator[Frame], video: Path | None) -> Path | None:
    """Write `frames` to the MP4 file `video`, or show them in a window at the speed of the game.

    Returns:
        The file; None for the window.

    Raises:
        WindowError: there is no display.
    """
    if video is not None:
        from reports.video import render_video

        return render_video(frames, video)
    from reports.window import show_in_window

    show_in_window(frames)
    return None
