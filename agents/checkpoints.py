"""Checkpoints: everything a training needs to go on, kept so that the newest good one is always found."""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file

from agents.errors import CheckpointError
from agents.frame_replay import FrameReplayBuffer
from agents.manifests import Manifest, drop_file, now, read_manifest, remove_incomplete, verify, write_folder
from agents.progress import Tally
from agents.replay import load_replay, save_replay
from configs import Config, ConfigError, config_hash, from_dict, to_dict

_log = logging.getLogger(__name__)

MODEL, CONFIG, STATE, REPLAY = "model.zip", "config.json", "state.json", "replay_buffer.npz"

# Kept out of the zip: pictures of the moment, which a training that goes on replaces by resetting its environments, and the
# classes of the buffers, which are not needed to use the model and would tie it to this project.
_LEFT_OUT = [
    "_last_obs",
    "_last_original_obs",
    "ep_info_buffer",
    "ep_success_buffer",
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


def save_checkpoint(directory: Path, config: Config, model: BaseAlgorithm, tally: Tally) -> Checkpoint:
    """Write a checkpoint of `model`, then delete what it makes superfluous.

    Raises:
        CheckpointError: it could not be written; those before are untouched.
    """
    folder = checkpoints_folder(directory)
    target = folder / f"step-{model.num_timesteps:09d}"

    def write(aside: Path) -> Manifest:
        write_model(aside, config, model)
        (aside / STATE).write_text(json.dumps(_state(model, tally), indent=1, allow_nan=False), encoding="utf-8")
        if isinstance(model, OffPolicyAlgorithm) and config.train.checkpoint_replay_buffer:
            assert isinstance(model.replay_buffer, FrameReplayBuffer)
            save_replay(model.replay_buffer, aside / REPLAY)
        return describe("checkpoint", config, model)

    manifest = write_folder(target, write)
    _retire(folder, target, config.train.keep_checkpoints)
    return Checkpoint(target, manifest.steps, manifest)


def latest_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest good checkpoint of the training in `directory`, every byte verified; None if there is none.

    Damaged ones are skipped with a warning that names file and fault; nothing is deleted.
    """
    for path in _newest_first(checkpoints_folder(directory)):
        try:
            manifest = verify(path)
        except CheckpointError as error:
            _log.warning("checkpoint %s is skipped: %s", path.name, error)
            continue
        return Checkpoint(path, manifest.steps, manifest)
    return None


def restore(checkpoint: Checkpoint, config: Config, model: BaseAlgorithm) -> tuple[Tally, bool]:
    """Put weights, optimiser, counters and replay buffer of `checkpoint` into `model`, built from `config`.

    Tensors are read by torch's ``weights_only`` loader; nothing is unpickled.

    Returns:
        The counts at that step, and whether `model` has the transitions it had (always for PPO, which keeps none).

    Raises:
        CheckpointError: the checkpoint belongs to a different agent or environment.
    """
    _require_same(checkpoint, config)
    state = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    _, parameters, _ = load_from_zip_file(checkpoint.path / MODEL, device=model.device, load_data=False)
    model.set_parameters(parameters, exact_match=True, device=model.device)
    model.num_timesteps = state["steps"]
    model._n_updates = state["updates"]
    model._episode_num = state["episodes_seen"]
    if not isinstance(model, OffPolicyAlgorithm):
        return Tally.from_json(state["tally"]), True
    model._n_calls = state["target_calls"]  # type: ignore[attr-defined]
    model.exploration_rate = state["exploration_rate"]  # type: ignore[attr-defined]
    return Tally.from_json(state["tally"]), _restore_replay(checkpoint, model)


def _restore_replay(checkpoint: Checkpoint, model: OffPolicyAlgorithm) -> bool:
    assert isinstance(model.replay_buffer, FrameReplayBuffer)
    if REPLAY not in checkpoint.manifest.files:
        return False
    try:
        load_replay(model.replay_buffer, checkpoint.path / REPLAY)
    except CheckpointError as error:
        _log.warning("the replay buffer is filled anew: %s", error)
        return False
    # The environments start anew: what is added now does not continue the newest transitions.
    model.replay_buffer.end_episodes()
    return True


def _state(model: BaseAlgorithm, tally: Tally) -> dict[str, Any]:
    return {
        "steps": int(model.num_timesteps),
        "updates": int(model._n_updates),
        "episodes_seen": int(model._episode_num),
        "target_calls": int(getattr(model, "_n_calls", 0)),
        "exploration_rate": float(getattr(model, "exploration_rate", 0.0)),
        "tally": tally.to_json(),
    }


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


def _retire(folder: Path, newest: Path, keep: int) -> None:
    """Keep the `keep` newest; the replay buffer, by far the largest file, only with the newest."""
    remove_incomplete(folder)
    older = [path for path in _newest_first(folder) if path.name < newest.name]
    try:
        for path in older[keep - 1 :]:
            shutil.rmtree(path)
        for path in older[: keep - 1]:
            _drop_replay(path)
    except OSError as error:
        _log.warning("an older checkpoint could not be deleted: %s", error)


def _drop_replay(path: Path) -> None:
    try:
        if REPLAY in read_manifest(path).files:
            drop_file(path, REPLAY)
    except CheckpointError:
        return  # damaged: latest_checkpoint names it


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []
