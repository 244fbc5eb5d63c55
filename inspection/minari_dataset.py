"""Stored episodes as a dataset of Minari, Farama's standard for offline reinforcement learning (https://minari.farama.org).

The data are in Parquet: without loss, and compressed. Minari's other compressed format, HDF5, turns what it takes for pictures
into JPEG in the release for Python 3.11 and 3.12. Minari is an extra of this project, so it is imported only where it is used.
"""

import fcntl
import importlib.util
import math
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from configs.schema import EnvironmentConfig
from inspection.analysis import differences
from inspection.episode import Episode
from mario_env import PlaybackError, environment_spec
from mario_env.transitions import RecordedObservation, action_space, play_transitions, recorded_space

__all__ = [
    "MOST_OBSERVATIONS",
    "DatasetError",
    "MinariWriter",
    "dataset_folder",
    "default_dataset_id",
    "largest_episode",
    "require_minari",
]

_ID: Final = re.compile(r"(?:[-\w]{2,}/)*[-\w]+-v[0-9]+", re.ASCII)
_LARGEST: Final = 2**31
"""Bytes of one episode's observations: Arrow counts the values of an array in 32 bits."""
MOST_OBSERVATIONS: Final = 32_768
"""Of an episode. Minari takes each batch that pyarrow reads for an episode, and pyarrow's batches have no more rows."""


class DatasetError(RuntimeError):
    """A dataset cannot be written; the message says why."""


def require_minari() -> None:
    """Refuse to go on where Minari is not installed.

    Raises:
        DatasetError: it, or pyarrow, is missing.
    """
    missing = [name for name in ("minari", "pyarrow") if importlib.util.find_spec(name) is None]
    if missing:
        raise DatasetError(
            f"a Minari dataset needs {' and '.join(missing)}, which is not installed: pip install 'train-mario[minari]'"
        )


def default_dataset_id(experiment: str, observation: RecordedObservation) -> str:
    """The id of an experiment's dataset: namespace, name and version."""
    return f"super-mario-bros/{re.sub(r'[^-A-Za-z0-9_]', '-', experiment)}-{observation}-v0"


def dataset_folder(dataset_id: str) -> Path:
    """Where Minari looks for a dataset: below `MINARI_DATASETS_PATH`, or else `~/.minari/datasets`.

    Raises:
        DatasetError: it is no id of a dataset, or there is a dataset with this id.
    """
    from minari.storage import get_dataset_path

    if not _ID.fullmatch(dataset_id):
        raise DatasetError(
            f"{dataset_id!r} is no id of a dataset: it is written as NAME-v0, or NAMESPACE/NAME-v0, with letters, digits, "
            "- and _; a namespace has two of them or more"
        )
    folder = Path(get_dataset_path(dataset_id))
    if folder.exists():
        name, _, version = dataset_id.rpartition("-v")
        raise DatasetError(
            f"there is a dataset {dataset_id} already, in {folder}. Choose another id, such as --dataset "
            f"{name}-v{int(version) + 1}, or delete it: minari delete {dataset_id}"
        )
    return folder


def largest_episode(environment: EnvironmentConfig, observation: RecordedObservation) -> int:
    """The most decisions that an episode may have for Minari to read it."""
    space = recorded_space(environment, observation)
    size = space.dtype.itemsize * math.prod(space.shape)
    return min(MOST_OBSERVATIONS, _LARGEST // size) - 1


class MinariWriter:
    """Writes a dataset, one episode after the other. A context manager: the dataset exists from :meth:`finish` on.

    Until then it is a hidden folder next to Minari's datasets, which Minari does not see. It is removed when the block ends
    without :meth:`finish`. What a killed process leaves is removed by the next export of the same dataset.

    Args:
        dataset_id: as :func:`dataset_folder` takes it.
        environment: that of the experiment.
        observation: what is recorded.
        metadata: of the dataset, JSON types.

    Raises:
        DatasetError: see :func:`dataset_folder`; or another process writes this dataset.
        OSError: the folder cannot be written.
    """

    def __init__(
        self, dataset_id: str, environment: EnvironmentConfig, observation: RecordedObservation, metadata: Mapping[str, Any]
    ) -> None:
        self.folder = dataset_folder(dataset_id)
        self._id, self._environment, self._observation, self._metadata = dataset_id, environment, observation, metadata
        root = Path(str(self.folder).removesuffix(dataset_id))
        self._unfinished = root / f".unfinished-{dataset_id.replace('/', '-')}"
        self._count = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._hold(stack)
            self._storage = self._new_storage()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _hold(self, stack: ExitStack) -> None:
        """Take the folder for this process, empty."""
        self._unfinished.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._unfinished, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(f"another process writes the dataset {self._id} at this moment") from None
        # Before the lock is released, so that nobody else's folder is removed.
        stack.callback(shutil.rmtree, self._unfinished, ignore_errors=True)
        dataset_folder(self._id)  # it may have been finished until the lock was free
        for left in self._unfinished.iterdir():
            shutil.rmtree(left)

    def _new_storage(self) -> Any:
        import minari
        from minari.dataset.minari_storage import MinariStorage

        data = self._unfinished / "data"
        data.mkdir()
        storage = MinariStorage.new(
            data,
            observation_space=recorded_space(self._environment, self._observation),
            action_space=action_space(self._environment),
            env_spec=environment_spec(self._environment),
            data_format="parquet",
        )
        storage.update_metadata({"dataset_id": self._id, "minari_version": minari.__version__, **self._metadata})
        # Minari measures the whole dataset after each episode, which takes longer and longer. Here it is measured at the end.
        storage.get_size = lambda: 0.0
        return storage

    def add(self, episode: Episode, *, seed: int | None, metadata: Mapping[str, Any]) -> None:
        """Play an episode again and write it. In memory there is one episode at a time.

        Args:
            episode: the episode.
            seed: of its game's random numbers, if it had its own.
            metadata: of the episode, JSON types.

        Raises:
            PlaybackError: it cannot be played again, or playing it again does not give what was recorded.
            OSError: it cannot be written.
        """
        from minari.data_collector.episode_buffer import EpisodeBuffer

        config = episode.environment.model_copy(update={"emulator": "fast"})
        played = play_transitions(config, episode.start, episode.actions, episode.delays, self._observation)
        if differing := differences(episode, played.summary):
            raise PlaybackError(f"playing it again does not give what was recorded: {'; '.join(differing)}")
        buffer = EpisodeBuffer(
            seed=seed,
            options=self._reset_options(episode),
            observations=played.observations,
            actions=played.actions,
            rewards=played.rewards,
            terminations=played.terminations,
            truncations=played.truncations,
            infos=dict(played.infos),
        )
        self._storage.update_episodes([buffer])
        self._storage.update_episode_metadata([dict(metadata)], [self._count])
        self._count += 1

    def _reset_options(self, episode: Episode) -> dict[str, Any] | None:
        """With which a reset of the dataset's environment begins the episode; None: it cannot."""
        start = episode.start
        if start.demonstration or not (start.level is None or start.level in self._environment.level_names):
            return None
        return {"noop_frames": start.noop_frames, **({} if start.level is None else {"level": start.level})}

    def finish(self) -> Path:
        """Let the dataset exist, whole; return its folder.

        Raises:
            DatasetError: somebody else has written this dataset meanwhile.
            OSError: it cannot be written.
        """
        from minari.namespace import create_namespace, list_local_namespaces

        del self._storage.get_size
        self._storage.update_metadata({"dataset_size": float(self._storage.get_size())})
        namespace = self._id.rpartition("/")[0]
        if namespace and namespace not in list_local_namespaces():
            create_namespace(namespace)
        dataset_folder(self._id)
        self._unfinished.rename(self.folder)
        return self.folder
