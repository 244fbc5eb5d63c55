"""Checkpoints: everything a training needs to go on, kept so that the newest good one is always found."""

from __future__ import annotations

import io
import json
import logging
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file

from agents.errors import CheckpointError, ContinuationError
from agents.frame_replay import FrameReplayBuffer
from agents.manifests import Manifest, drop_file, now, read_manifest, remove_incomplete, verify, write_folder
from agents.moment import MOMENT_ARRAYS, MOMENT_VALUES, obstacle, put_back, read_moment, take, write_moment
from agents.progress import Tally, Validated
from agents.replay import load_replay, save_replay
from configs import Config, ConfigError, config_hash, from_dict, to_dict
from configs.schema import TrainConfig

_log = logging.getLogger(__name__)

MODEL, CONFIG, STATE, REPLAY = "model.zip", "config.json", "state.json", "replay_buffer.npz"

# Kept out of the zip: what belongs to the moment (`agents.moment`), and the classes of the buffers, which are not needed to use
# the model and would tie it to this project.
_LEFT_OUT = [
    "_last_obs",
    "_last_original_obs",
    "_last_episode_starts",
    "_due",
    "_unread",
    "latest_loss",
    "ep_info_buffer",
    "ep_success_buffer",
    "planned_steps",
    "replay_buffer_class",
    "replay_buffer_kwargs",
    "rollout_buffer_class",
]


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: its folder, the decisions taken until then, its manifest."""

    path: Path
    steps: int
    manifest: Manifest


class Restored(NamedTuple):
    """What a training goes on with.

    Attributes:
        tally: the counts at the checkpoint's step.
        refill: the replay memory is to be filled before updates go on.
        inexact: why the training does not go on exactly as it would have; None if it does.
    """

    tally: Tally
    refill: bool
    inexact: str | None


def checkpoints_folder(directory: Path) -> Path:
    """Where the checkpoints of a training in `directory` are."""
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
    """Put ``model.zip`` (stable-baselines3's format) and ``config.json`` into `folder`."""
    # By way of memory: given a path, the library leaves the file open when the disk is full.
    archive = io.BytesIO()
    model.save(archive, exclude=_LEFT_OUT)
    (folder / MODEL).write_bytes(archive.getbuffer())
    (folder / CONFIG).write_text(json.dumps(to_dict(config), indent=1), encoding="utf-8")


def save_checkpoint(
    directory: Path, config: Config, model: BaseAlgorithm, tally: Tally, *, between_rollouts: bool = True
) -> Checkpoint:
    """Write a checkpoint of `model`, then delete what it makes superfluous.

    Args:
        between_rollouts: False in the midst of one, or of a step: from such a checkpoint a training does not go on exactly.

    Raises:
        CheckpointError: it could not be written; those before are untouched.
    """
    folder = checkpoints_folder(directory)
    target = folder / _folder_name(model.num_timesteps)

    def write(aside: Path) -> Manifest:
        write_model(aside, config, model)
        (aside / STATE).write_text(json.dumps(counters(model, tally), indent=1, allow_nan=False), encoding="utf-8")
        complete = True
        if isinstance(model, OffPolicyAlgorithm):
            complete = config.train.checkpoint_replay_buffer
            assert isinstance(model.replay_buffer, FrameReplayBuffer)
            if complete:
                save_replay(model.replay_buffer, aside / REPLAY)
        moment = take(model) if complete and between_rollouts else None
        if moment is not None:
            write_moment(moment, aside)
        return describe("checkpoint", config, model)

    manifest = write_folder(target, write)
    _retire(folder, target, config.train, tally.validation.history)
    return Checkpoint(target, manifest.steps, manifest)


def latest_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest good checkpoint of the training in `directory`, every byte verified; None if there is none.

    Damaged ones are skipped with a warning that names file and fault; nothing is deleted.
    """
    return _first_good(_newest_first(checkpoints_folder(directory)))


def best_checkpoint(directory: Path, validations: Sequence[Validated]) -> Checkpoint | None:
    """Of the good checkpoints that are there the one that did best in a validation; None if there is none."""
    return _first_good(_best_first(checkpoints_folder(directory), validations))


def _first_good(paths: Iterable[Path]) -> Checkpoint | None:
    for path in paths:
        try:
            manifest = verify(path)
        except CheckpointError as error:
            _log.warning("checkpoint %s is skipped: %s", path.name, error)
            continue
        return Checkpoint(path, manifest.steps, manifest)
    return None


def restore(checkpoint: Checkpoint, config: Config, model: BaseAlgorithm, obstacle_known: str | None = None) -> Restored:
    """Put weights, optimiser, counters, replay buffer and, where possible, the moment of `checkpoint` into `model`.

    `model` is one built from `config`; its environments become what they were, or are left alone, to be reset. Tensors are read
    by torch's ``weights_only`` loader; nothing is unpickled.

    Args:
        obstacle_known: why the training cannot go on exactly, whatever is in the checkpoint; None if nothing is known.

    Raises:
        CheckpointError: the checkpoint belongs to a different agent or environment.
    """
    _require_same(checkpoint, config)
    state = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    _, parameters, _ = load_from_zip_file(checkpoint.path / MODEL, device=model.device, load_data=False)
    model.set_parameters(parameters, exact_match=True, device=model.device)
    tally = set_counters(model, state)
    if not isinstance(model, OffPolicyAlgorithm):
        return Restored(tally, False, obstacle_known or _restore_moment(checkpoint, model))
    if not _restore_replay(checkpoint, model):
        return Restored(tally, True, "its replay memory is not there")
    inexact = obstacle_known or _restore_moment(checkpoint, model)
    if inexact is not None:
        # The environments start anew: what is added now does not continue the newest transitions.
        assert isinstance(model.replay_buffer, FrameReplayBuffer)
        model.replay_buffer.end_episodes()
    # Checkpoints of older versions do not say.
    return Restored(tally, state.get("refilling", False), inexact)


def _restore_moment(checkpoint: Checkpoint, model: BaseAlgorithm) -> str | None:
    """Go back to the moment itself; returns why that is impossible, None if it was done."""
    if reason := obstacle(model):
        return reason
    if MOMENT_ARRAYS not in checkpoint.manifest.files:
        return "it was not written between two rollouts, or by an older version: the games in their midst are not in it"
    try:
        put_back(model, read_moment(checkpoint.path))
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
        _log.warning("the replay buffer is filled anew: %s", error)
        return False
    return True


def counters(model: BaseAlgorithm, tally: Tally) -> dict[str, Any]:
    """How far `model` is, as JSON types."""
    return {
        "steps": int(model.num_timesteps),
        "updates": int(model._n_updates),
        "episodes_seen": int(model._episode_num),
        "target_calls": int(getattr(model, "_n_calls", 0)),
        "exploration_rate": float(getattr(model, "exploration_rate", 0.0)),
        "refilling": getattr(model, "gradient_steps", None) == 0,  # see `agents.callbacks.RefillFirst`
        "tally": tally.to_json(),
        "unwritten": _unwritten(model),
        "torch_threads": torch.get_num_threads() if model.device.type == "cpu" else None,
    }


def recorded_threads(checkpoint: Checkpoint) -> int | None:
    """With how many threads torch worked on a CPU; None if it was not on one, or the checkpoint does not say."""
    state = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    if "torch_threads" in state or MOMENT_VALUES not in checkpoint.manifest.files:
        return state.get("torch_threads")  # type: ignore[no-any-return]
    # Earlier versions wrote it only where a training can go on exactly.
    moment = json.loads((checkpoint.path / MOMENT_VALUES).read_text(encoding="utf-8"))
    return moment["surroundings"].get("torch's threads")  # type: ignore[no-any-return]


def set_counters(model: BaseAlgorithm, values: Mapping[str, Any]) -> Tally:
    """The inverse of `counters`."""
    model.num_timesteps = values["steps"]
    model._n_updates = values["updates"]
    model._episode_num = values["episodes_seen"]
    if isinstance(model, OffPolicyAlgorithm):
        model._n_calls = values["target_calls"]  # type: ignore[attr-defined]
        model.exploration_rate = values["exploration_rate"]  # type: ignore[attr-defined]
    if hasattr(model, "_logger"):
        for name, value in values.get("unwritten", {}).items():
            model.logger.record(name, value)
    return Tally.from_json(values["tally"])


def _unwritten(model: BaseAlgorithm) -> dict[str, float]:
    """Metrics of the last update (losses, its rate) that are written with the next ones, but for NaN and infinities."""
    values: Mapping[str, Any] = model.logger.name_to_value if hasattr(model, "_logger") else {}
    return {name: float(value) for name, value in values.items() if isinstance(value, Real) and math.isfinite(value)}


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
            "undo these changes to go on, or train under another name"
        )


def _differences(prefix: str, saved: Any, current: Any) -> list[str]:
    if isinstance(saved, Mapping) and isinstance(current, Mapping):
        return [
            difference
            for key in saved.keys() | current.keys()
            for difference in _differences(f"{prefix}.{key}", saved.get(key), current.get(key))
        ]
    return [] if saved == current else [prefix]


def _retire(folder: Path, newest: Path, train: TrainConfig, validations: Sequence[Validated]) -> None:
    """Keep the `keep_checkpoints` newest, those of `milestones`, and the one that did best in a validation; the replay buffer,
    by far the largest file, only with the newest.
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
    """Of each milestone that was reached, the first checkpoint from it on. It is kept from then on, so it stays the first."""
    for milestone in milestones:
        reached = [path for path in newest_first if path.name >= _folder_name(milestone)]
        if reached:
            yield reached[-1]


def _best_first(folder: Path, validations: Sequence[Validated]) -> Iterator[Path]:
    """The checkpoints that are there of policies that were validated."""
    for validated in sorted(validations, key=lambda each: each.merit, reverse=True):
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
        return  # damaged: latest_checkpoint names it


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []
