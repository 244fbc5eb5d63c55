"""Checkpoints: everything that a training needs to resume. Damaged ones are skipped."""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file

from agents.checkpoints.manifests import Manifest, drop_file, now, read_manifest, remove_incomplete, verify, write_folder
from agents.checkpoints.progress_state import STATE, progress_state, set_progress_state
from agents.checkpoints.run_state import ARRAYS_FILE, RunState, exactness_obstacle
from agents.errors import CheckpointError, ContinuationError
from agents.progress import Counters, ValidationResult
from agents.replay import FrameReplayBuffer, load_replay, save_replay
from configs import Config, ConfigError, config_hash, from_dict, to_dict
from configs.schema import TrainConfig

_log = logging.getLogger(__name__)

MODEL, CONFIG, REPLAY = "model.zip", "config.json", "replay_buffer.npz"

# Excluded from the zip: attributes of the run state, and the classes of the buffers. Playing does not need them, and with them
# the model could not be loaded without this project.
_EXCLUDED = [
    "_last_obs",
    "_last_original_obs",
    "_last_episode_starts",
    "ep_info_buffer",
    "ep_success_buffer",
    "planned_steps",
    "replay_buffer_class",
    "replay_buffer_kwargs",
    "rollout_buffer_class",
]


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: its folder, the number of decisions taken, and its manifest."""

    path: Path
    steps: int
    manifest: Manifest


class Restored(NamedTuple):
    """The result of `restore`.

    Attributes:
        counters: the counters of the training at the checkpoint.
        refill: whether the replay buffer must be filled before updates continue.
        inexact: why the training does not resume exactly; None if it does.
    """

    counters: Counters
    refill: bool
    inexact: str | None


def checkpoints_folder(directory: Path) -> Path:
    """The folder of the checkpoints of the training in `directory`."""
    return directory / "checkpoints"


def describe(kind: str, config: Config, model: BaseAlgorithm) -> Manifest:
    """The manifest of `model`, without its files."""
    shape = model.observation_space.shape
    assert shape is not None
    return Manifest(
        kind=kind,
        name=config.name,
        config_hash=config_hash(config),
        algorithm=config.agent.algorithm,
        steps=model.num_timesteps,
        observation_shape=tuple(int(size) for size in shape),
        n_actions=int(model.action_space.n),  # type: ignore[attr-defined]
        created=now(),
        files={},
    )


def write_model(folder: Path, config: Config, model: BaseAlgorithm) -> None:
    """Write ``model.zip`` (stable-baselines3's format) and ``config.json`` into `folder`."""
    # Through memory: given a path, stable-baselines3 leaves the file open when the disk is full.
    archive = io.BytesIO()
    model.save(archive, exclude=_EXCLUDED)
    # Released at once: after an error a view that is collected late would keep the archive from being freed.
    with archive.getbuffer() as view:
        (folder / MODEL).write_bytes(view)
    (folder / CONFIG).write_text(json.dumps(to_dict(config), indent=1), encoding="utf-8")


def save_checkpoint(
    directory: Path, config: Config, model: BaseAlgorithm, counters: Counters, *, between_rollouts: bool = True
) -> Checkpoint:
    """Write a checkpoint of `model`, then delete older ones that are no longer needed.

    Args:
        between_rollouts: False in the middle of a rollout or a step. A training cannot resume exactly from such a checkpoint.

    Raises:
        CheckpointError: the checkpoint could not be written; earlier ones are unchanged.
    """
    folder = checkpoints_folder(directory)
    target = folder / _folder_name(model.num_timesteps)

    def write(aside: Path) -> Manifest:
        write_model(aside, config, model)
        (aside / STATE).write_text(json.dumps(progress_state(model, counters), indent=1, allow_nan=False), encoding="utf-8")
        complete = True
        if isinstance(model, OffPolicyAlgorithm):
            complete = config.train.checkpoint_replay_buffer
            assert isinstance(model.replay_buffer, FrameReplayBuffer)
            if complete:
                save_replay(model.replay_buffer, aside / REPLAY)
        run_state = RunState.capture(model) if complete and between_rollouts else None
        if run_state is not None:
            run_state.write(aside)
        return describe("checkpoint", config, model)

    manifest = write_folder(target, write)
    _retire(folder, target, config.train, counters.validation.history)
    return Checkpoint(target, manifest.steps, manifest)


def latest_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint of the training in `directory`, with every byte verified; None if there is none.

    Damaged checkpoints are skipped with a warning that names the file and the fault. Nothing is deleted.
    """
    return _first_undamaged(_newest_first(checkpoints_folder(directory)))


def best_checkpoint(directory: Path, validations: Sequence[ValidationResult]) -> Checkpoint | None:
    """The undamaged checkpoint with the best validation; None if there is none."""
    return _first_undamaged(_best_first(checkpoints_folder(directory), validations))


def _first_undamaged(paths: Iterable[Path]) -> Checkpoint | None:
    for path in paths:
        try:
            manifest = verify(path)
        except CheckpointError as error:
            _log.warning("checkpoint %s is skipped: %s", path.name, error)
            continue
        return Checkpoint(path, manifest.steps, manifest)
    return None


def restore(checkpoint: Checkpoint, config: Config, model: BaseAlgorithm, known_obstacle: str | None = None) -> Restored:
    """Load weights, optimiser, counters, replay buffer and, where possible, the run state of `checkpoint` into `model`.

    If the run state cannot be restored, the environments are left as they are; the training resets them. Tensors are read with
    torch's ``weights_only`` loader, and nothing is unpickled.

    Args:
        model: built from `config`.
        known_obstacle: why the training cannot resume exactly, whatever the checkpoint contains; None if there is no such
            reason.

    Raises:
        CheckpointError: the checkpoint belongs to a different agent or environment.
    """
    _require_same(checkpoint, config)
    state = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    _, parameters, _ = load_from_zip_file(checkpoint.path / MODEL, device=model.device, load_data=False)
    model.set_parameters(parameters, exact_match=True, device=model.device)
    counters = set_progress_state(model, state)
    if not isinstance(model, OffPolicyAlgorithm):
        return Restored(counters, False, known_obstacle or _restore_run_state(checkpoint, model))
    if not _restore_replay(checkpoint, model):
        return Restored(counters, True, "its replay buffer is missing")
    inexact = known_obstacle or _restore_run_state(checkpoint, model)
    if inexact is not None:
        # The environments are reset: the next transitions do not continue the newest ones.
        assert isinstance(model.replay_buffer, FrameReplayBuffer)
        model.replay_buffer.end_episodes()
    # Checkpoints of older versions lack this key.
    return Restored(counters, state.get("refilling", False), inexact)


def _restore_run_state(checkpoint: Checkpoint, model: BaseAlgorithm) -> str | None:
    """Restore the run state; returns the reason if that is impossible, otherwise None."""
    if reason := exactness_obstacle(model):
        return reason
    if ARRAYS_FILE not in checkpoint.manifest.files:
        return "it has no run state, because it was written in the middle of a rollout or by an older version"
    try:
        RunState.read(checkpoint.path).restore(model)
    except ContinuationError as error:
        return str(error)
    return None


def _restore_replay(checkpoint: Checkpoint, model: OffPolicyAlgorithm) -> bool:
    assert isinstance(model.replay_buffer, FrameReplayBuffer)
    if REPLAY not in checkpoint.manifest.files:
        return False
    try:
        load_replay(model.replay_buffer, checkpoint.path / REPLAY)
    except CheckpointError as error:
        _log.warning("the replay buffer cannot be restored and is filled again: %s", error)
        return False
    return True


def recorded_threads(checkpoint: Checkpoint) -> int | None:
    """The number of threads torch used on a CPU; None on a GPU, and for checkpoints of older versions."""
    state = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    return state.get("torch_threads")  # type: ignore[no-any-return]


def _require_same(checkpoint: Checkpoint, config: Config) -> None:
    path = checkpoint.path / CONFIG
    try:
        saved = to_dict(from_dict(json.loads(path.read_text(encoding="utf-8")), source=str(path)))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    current = to_dict(config)
    differing = [
        key for section in ("agent", "environment") for key in _differences(section, saved.get(section), current[section])
    ]
    if differing:
        raise CheckpointError(
            f"{checkpoint.path} belongs to another configuration (different: {', '.join(sorted(differing))}): "
            "undo these changes to resume, or train under another name"
        )


def _differences(prefix: str, saved: Any, current: Any) -> list[str]:
    if isinstance(saved, Mapping) and isinstance(current, Mapping):
        return [
            difference
            for key in saved.keys() | current.keys()
            for difference in _differences(f"{prefix}.{key}", saved.get(key), current.get(key))
        ]
    return [] if saved == current else [prefix]


def _retire(folder: Path, newest: Path, train: TrainConfig, validations: Sequence[ValidationResult]) -> None:
    """Delete older checkpoints, except the `keep_checkpoints` newest, those of `milestones`, and the best validated one.

    Only the newest keeps its replay buffer, by far the largest file.
    """
    remove_incomplete(folder)
    older = [path for path in _newest_first(folder) if path.name < newest.name]
    kept = {*older[: train.keep_checkpoints - 1], *_of_milestones([newest, *older], train.milestones)}
    kept |= set(islice(_best_first(folder, validations), 1))
    try:
        for path in older:
            if path in kept:
                _drop_replay(path)
            else:
                shutil.rmtree(path)
    except OSError as error:
        _log.warning("an older checkpoint could not be deleted: %s", error)


def _of_milestones(newest_first: Sequence[Path], milestones: Sequence[int]) -> Iterator[Path]:
    """For each milestone that was reached, the first checkpoint at or after it. It is never deleted, so it stays the first."""
    for milestone in milestones:
        reached = [path for path in newest_first if path.name >= _folder_name(milestone)]
        if reached:
            yield reached[-1]


def _best_first(folder: Path, validations: Sequence[ValidationResult]) -> Iterator[Path]:
    """The existing checkpoints of validated policies, best validation first."""
    for validated in sorted(validations, key=lambda each: each.rank, reverse=True):
        path = folder / _folder_name(validated.steps)
        if path.is_dir():
            yield path


def _folder_name(steps: int) -> str:
    return f"step-{steps:09d}"


def _drop_replay(path: Path) -> None:
    try:
        if REPLAY in read_manifest(path).files:
            drop_file(path, REPLAY)
    except CheckpointError:
        return  # damaged: latest_checkpoint reports it


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []
