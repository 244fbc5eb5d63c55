"""`mario export`: an experiment's stored episodes as a dataset for offline reinforcement learning."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from configs import Config, ConfigError, from_dict
from configs.levels import LEVEL_NAME
from configs.schema import PROTOCOLS
from episodes import EpisodeStore, StoredEpisode, StoredExperiment
from episodes.browsing import EpisodeFilter, PlayableEpisodes, find_playable

if TYPE_CHECKING:
    from inspection import Episode
    from mario_env.transitions import RecordedObservation

BYTES_PER_DECISION: Final[Mapping[str, int]] = {"frames": 2_600, "tiles": 110, "ram": 470}
"""On disk, measured on episodes that complete 1-1, 1-2, 3-1, 5-2 and 8-1; for estimates."""


class ExportError(RuntimeError):
    """Episodes cannot be exported; the message says why."""


@dataclass(frozen=True)
class Wanted:
    """Which episodes to export; None: any.

    Attributes:
        phase, protocol, completed: as in the columns of `episodes`.
        level: where they ended, such as 1-2.
        count: at most so many, the newest ones.
    """

    phase: str | None = None
    protocol: str | None = None
    level: str | None = None
    completed: bool | None = None
    count: int | None = None

    def filter(self, experiment: str) -> EpisodeFilter:
        """As a filter of the episodes of an experiment.

        Raises:
            ConfigError: there is no such level.
        """
        if self.level is not None and not LEVEL_NAME.fullmatch(self.level):
            raise ConfigError(f"--level: a level is written as 1-2, not {self.level!r}")
        world, stage = (None, None) if self.level is None else (int(self.level[0]), int(self.level[2]))
        return EpisodeFilter(experiment, world, stage, self.phase, self.protocol, completed=self.completed)

    def describe(self) -> str:
        """What is wanted, in words; empty: everything."""
        given = {"phase": self.phase, "protocol": self.protocol, "level": self.level}
        parts = [f"{name} {value}" for name, value in given.items() if value is not None]
        if self.completed is not None:
            parts.append("completed" if self.completed else "not completed")
        return ", ".join(parts)


@dataclass
class MinariExport:
    """An export that has been checked, before any work.

    Attributes:
        experiment: whose episodes.
        config: its configuration.
        episodes: which episodes.
        observation: what is recorded.
        dataset_id: Minari's id of the dataset.
        folder: where it will be.
        wanted: how the episodes were chosen.
        left_out: the ids of episodes that could not be played again exactly, and why.
    """

    experiment: StoredExperiment
    config: Config
    episodes: PlayableEpisodes
    observation: "RecordedObservation"
    dataset_id: str
    folder: Path
    wanted: Wanted
    left_out: list[tuple[int, str]] = field(default_factory=list)

    @property
    def megabytes(self) -> float:
        """About how much the dataset will take on disk."""
        return (self.episodes.decisions + len(self.episodes.ids)) * BYTES_PER_DECISION[self.observation] / 1e6

    def write(self, store: EpisodeStore) -> Iterator[int]:
        """Write the dataset, and yield the decisions of each episode after it. It exists when the iterator has ended.

        Raises:
            ExportError: not one episode could be played again exactly.
            DatasetError: another process has written this dataset.
            EpisodeUnavailableError, StoreError: an episode has been pruned meanwhile; the database fails.
            OSError: it cannot be written.
        """
        from inspection import stored_episode
        from inspection.minari_dataset import MinariWriter
        from mario_env import PlaybackError

        environment = self.config.environment
        with MinariWriter(self.dataset_id, environment, self.observation, self._metadata()) as writer:
            for number in self.episodes.ids:
                stored = store.episode(number)
                episode = stored_episode(stored)
                try:
                    writer.add(episode, seed=self._seed(stored), metadata=self._episode_metadata(stored, episode))
                except PlaybackError as error:
                    self.left_out.append((number, str(error)))
                yield len(episode.actions)
            if len(self.left_out) == len(self.episodes.ids):
                number, reason = self.left_out[0]
                raise ExportError(f"no episode can be played again exactly; of episode {number}: {reason}")
            writer.finish()

    def _metadata(self) -> dict[str, Any]:
        from mario_env.console import rom_sha256

        record, config = self.experiment.record, self.config
        chosen = self.wanted.describe()
        return {
            "description": (
                f"Episodes of Super Mario Bros ({config.environment.level_name}) that {config.agent.algorithm.upper()} played "
                f"in the experiment {record.name}" + (f": {chosen}" if chosen else "") + f". Observations: {self.observation}."
            ),
            "algorithm_name": config.agent.algorithm,
            "observation": self.observation,
            "selection": asdict(self.wanted),
            "experiment": record.name,
            "experiment_id": self.experiment.id,
            "seed": record.seed,
            "config": record.config,
            "config_hash": record.config_hash,
            "git_commit": record.git_commit,
            "git_dirty": record.git_dirty,
            "rom_sha256": rom_sha256(config.environment.rom),
            "packages": record.packages,
            "mlflow_run_id": record.mlflow_run_id,
            "exported_by": f"train-mario {version('train-mario')}",
        }

    def _episode_metadata(self, stored: StoredEpisode, episode: "Episode") -> dict[str, Any]:
        row = stored.row
        played = f"{self.config.agent.algorithm} after {row.global_step} decisions"
        return {
            "episode_id": stored.id,
            "phase": row.phase,
            "protocol": row.protocol,
            "env_index": row.env_index,
            "episode_index": row.episode_index,
            "model": "random policy" if row.protocol == "random" else played,
            "global_step": row.global_step,
            "exploration_rate": row.exploration_rate,
            "start": stored.start,
            "played": row.timestamp.isoformat(timespec="seconds"),
            **episode.figures,
        }

    def _seed(self, stored: StoredEpisode) -> int | None:
        """The seed of the episode's game. In a training only the first episode of each game is seeded."""
        from agents import episode_seed

        row = stored.row
        # Earlier versions numbered the episodes of an evaluation otherwise; theirs are unknown.
        if row.phase != "evaluate" or row.protocol not in PROTOCOLS or row.episode_index:
            return None
        return episode_seed(self.config, row.protocol, row.env_index)


def prepare_minari(
    store: EpisodeStore,
    experiment: str,
    wanted: Wanted,
    observation: "RecordedObservation | None" = None,
    dataset_id: str | None = None,
) -> MinariExport:
    """Check everything that can be checked before the work.

    Args:
        store: the episodes.
        experiment: name or id.
        wanted: which of its episodes.
        observation: what is recorded; None: what the agent saw.
        dataset_id: None: :func:`inspection.minari_dataset.default_dataset_id`.

    Raises:
        DatasetError: Minari is not installed, it is no id of a dataset, or there is such a dataset.
        StoreError: there is no such experiment, or the database fails.
        ConfigError, RowError: there is no such level, phase or protocol.
        ExportError: no episode is wanted, an episode is too long, or the disk is too small.
    """
    from inspection.minari_dataset import dataset_folder, default_dataset_id, require_minari

    require_minari()
    found = store.experiment(experiment)
    config = from_dict(found.record.config, f"experiment {found.record.name}")
    recorded = observation or config.environment.observation
    name = dataset_id or default_dataset_id(found.record.name, recorded)
    folder = dataset_folder(name)
    episodes = find_playable(store, wanted.filter(found.record.name), wanted.count)
    export = MinariExport(found, config, episodes, recorded, name, folder, wanted)
    _require_episodes(export)
    _require_room(export)
    return export


def _require_episodes(export: MinariExport) -> None:
    from inspection.minari_dataset import largest_episode

    name, episodes = export.experiment.record.name, export.episodes
    chosen = export.wanted.describe()
    which = f"episodes of {name}" + (f" ({chosen})" if chosen else "")
    if episodes.longest is None and episodes.without_actions:
        raise ExportError(
            f"{episodes.without_actions:,} {which} cannot be played again: their actions were not stored "
            "(episodes.store_actions), or have been pruned"
        )
    if episodes.longest is None:
        raise ExportError(f"there are no {which}; `mario episodes --experiment {name}` lists what there is")
    number, decisions = episodes.longest
    most = largest_episode(export.config.environment, export.observation)
    if decisions > most:
        raise ExportError(
            f"episode {number} has {decisions:,} decisions; with the observation {export.observation}, Minari can read "
            f"{most:,} of an episode. Choose another observation, or other episodes"
        )


def _require_room(export: MinariExport) -> None:
    place = next(each for each in export.folder.parents if each.exists())
    free = shutil.disk_usage(place).free / 1e6
    if export.megabytes > free:
        raise ExportError(
            f"the dataset takes about {export.megabytes:,.0f} MB, and {place} has {free:,.0f} MB left: choose fewer episodes "
            "(--count, --phase), another observation, or another place (MINARI_DATASETS_PATH)"
        )


def describe_left_out(left_out: Sequence[tuple[int, str]]) -> str:
    """Which episodes are not in the dataset, and why the first of them is not."""
    number, reason = left_out[0]
    return f"left out: {len(left_out)} that cannot be played again exactly; episode {number}: {reason}"
