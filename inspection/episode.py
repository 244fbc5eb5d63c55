"""An episode to look into: everything that playing it again takes, and what is known of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from configs import Config, from_dict
from configs.schema import EnvironmentConfig
from episodes import StoredEpisode
from mario_env import EpisodeStart, EpisodeSummary, episode_environment

__all__ = ["Episode", "EpisodeUnavailableError", "played_episode", "stored_episode"]

_FIGURES = (
    *("reward", "steps", "frames", "distance_traveled", "x_pos", "y_pos", "score", "coins", "time", "life", "status", "world"),
    *("stage", "level_completed", "end_reason"),
)


class EpisodeUnavailableError(RuntimeError):
    """An episode cannot be played again; the message says why."""


@dataclass(frozen=True)
class Episode:
    """An episode that can be played again.

    Attributes:
        key: identifies it among the episodes of this process: its id in the database, or a name for one that was played now.
        config: the configuration that it was played under.
        start, actions, delays: as in :class:`mario_env.EpisodeSummary`.
        figures: what was recorded at its end, by the names of the columns of `episodes`. Playing it again must give the same.
        origin: where it comes from, by name, to be shown.
    """

    key: str
    config: Config
    start: EpisodeStart
    actions: bytes
    delays: bytes
    figures: Mapping[str, Any]
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> EnvironmentConfig:
        """The environment of this episode: with several levels, that of its own."""
        return episode_environment(self.config.environment, self.start)


def stored_episode(stored: StoredEpisode) -> Episode:
    """The episode of a row.

    Raises:
        EpisodeUnavailableError: its actions were not stored, or have been pruned.
        ConfigError: its experiment's configuration is not understood by this version.
    """
    experiment = stored.experiment
    config = from_dict(experiment.record.config, f"experiment {experiment.record.name}")
    if stored.actions is None or stored.start is None:
        cause = "have been pruned" if config.episodes.store_actions else "were not stored (episodes.store_actions is off)"
        raise EpisodeUnavailableError(f"episode {stored.id} cannot be played again: its actions {cause}")
    row = asdict(stored.row)
    origin = {
        "id": stored.id,
        "experiment": experiment.record.name,
        "phase": stored.row.phase,
        "protocol": stored.row.protocol,
        "global_step": stored.row.global_step,
        "seed": experiment.record.seed,
        "played": stored.row.timestamp.isoformat(timespec="seconds"),
    }
    start = EpisodeStart.from_json(stored.start)
    return Episode(str(stored.id), config, start, stored.actions, stored.delays, {name: row[name] for name in _FIGURES}, origin)


def played_episode(key: str, config: Config, summary: EpisodeSummary, origin: Mapping[str, Any]) -> Episode:
    """An episode that was played just now and is in no database."""
    figures = {name: getattr(summary, name) for name in _FIGURES}
    return Episode(key, config, summary.start, summary.actions, summary.delays, figures, origin)
