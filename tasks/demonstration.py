"""Stored episodes as demonstrations, from which a curriculum begins episodes (`train.curriculum`)."""

from configs import Settings, from_dict
from mario_env import EpisodeStart
from mario_env.demonstrations import encode
from tasks.experiment import open_store
from tasks.report import missing_actions


class DemonstrationRefusedError(ValueError):
    """A stored episode cannot serve as a demonstration; the message says why."""


def demonstration(episode_id: int, settings: Settings) -> tuple[str, str]:
    """The level of a stored episode, and its actions as `train.curriculum.demonstrations` takes them.

    Raises:
        StoreError: there is no such episode.
        DemonstrationRefusedError: it did not complete a level, its actions are not stored, or they alone do not repeat it.
        DemonstrationError: an action presses buttons that none of the action set `complex` does.
    """
    with open_store(settings) as store:
        episode = store.episode(episode_id)
    config = from_dict(episode.experiment.record.config, f"experiment {episode.experiment.record.name}")
    environment = config.environment
    if episode.actions is None or episode.start is None:
        raise DemonstrationRefusedError(missing_actions(episode_id, stored=config.episodes.store_actions))
    if environment.game == "full" or not episode.row.level_completed:
        raise DemonstrationRefusedError(f"episode {episode_id} does not complete a level: a demonstration is one level's whole")
    if episode.delays:
        raise DemonstrationRefusedError(
            f"episode {episode_id} was played with sticky actions, which held buttons beyond its decisions: choose one without"
        )
    start = EpisodeStart.from_json(episode.start)
    decisions, left = divmod(start.noop_frames, environment.frame_skip)
    if left:
        raise DemonstrationRefusedError(
            f"episode {episode_id} began after {start.noop_frames} idle frames, which are no whole number of decisions of "
            f"{environment.frame_skip} frames: choose one without idle frames"
        )
    idle = encode(environment.model_copy(update={"actions": "complex"}), bytes(decisions))
    return start.level or environment.level_names[0], idle + encode(environment, start.demonstration + episode.actions)
