"""Shipped policies: `NAME.pth` has the weights of a policy, `NAME.json` everything else about it.

The model of a training is a folder that also has the optimiser's state, three times the size of the weights. A shipped policy
has only what is needed to play, and to check that it plays as well as stated.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from agents.checkpoints import Manifest, file_entry, read_pinned, read_verified
from agents.errors import CheckpointError
from agents.policies.models import Agent, load_agent, load_weights
from configs import ConfigError, from_dict, to_dict

MAX_WEIGHT_BYTES: Final = 8_000_000
"""The largest weights that may be shipped; larger ones do not belong in a repository."""

_OWN = ("config", "evaluation", "origin")


def ship(
    model: Path, target: Path, *, evaluation: Mapping[str, Any], origin: Mapping[str, Any], half_precision: bool = False
) -> Path:
    """Write the policy of a model as ``target.pth`` and ``target.json``, and return the path of the latter.

    Existing files are replaced, the manifest last. If only one of them was replaced, `load_shipped` refuses the pair.

    Args:
        model: the folder of the model.
        target: the path of both files without a suffix.
        evaluation: the figures by protocol, as JSON types, which `mario evaluate` should reproduce.
        origin: where the model comes from, as JSON types.
        half_precision: round the weights to float16, which takes half the space. They are float32 again when they are loaded,
            and play with the rounding: `evaluation` has to be that of the rounded policy.

    Raises:
        CheckpointError: the model is damaged, its weights take more than 8 MB or cannot be rounded, or the files cannot be
            written.
    """
    agent = load_agent(model)
    policy_weights: Mapping[str, torch.Tensor] = agent.model.state_dict()
    if half_precision:
        policy_weights = _rounded(policy_weights, model)
    buffer = io.BytesIO()
    torch.save(policy_weights, buffer)
    if buffer.tell() > MAX_WEIGHT_BYTES:
        raise CheckpointError(
            f"{model}: the weights take {buffer.tell() / 1e6:.1f} MB, but shipped models may take at most "
            f"{MAX_WEIGHT_BYTES / 1e6:.0f} MB: train a smaller network (agent.network)"
        )
    weights, description = (target.parent / f"{target.name}{suffix}" for suffix in (".pth", ".json"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(weights, buffer.getvalue())
        manifest = Manifest(**{**agent.manifest.__dict__, "kind": "policy", "files": {weights.name: file_entry(weights)}})
        own = {"config": to_dict(agent.config), "evaluation": dict(evaluation), "origin": dict(origin)}
        text = json.dumps({**manifest.to_json(), **own}, indent=1, allow_nan=False) + "\n"
        _replace(description, text.encode())
    except OSError as error:
        raise CheckpointError(f"{target} could not be written: {error.strerror or error}") from error
    return description


def load_shipped(description: Path, device: str = "cpu", *, sha256: str | None = None) -> Agent:
    """Load a shipped agent from its manifest `description`.

    Each file is read once, and the bytes that were read are verified. Only tensors are read from the weights.

    Args:
        sha256: the expected SHA-256 (hex) of `description`. The manifest has configuration, figures and the SHA-256 of the
            weights, so this covers the whole model.

    Raises:
        CheckpointError: a file is missing or damaged, the files do not belong together, or the SHA-256 is another one; the
            message names the file.
        DeviceError: `device` is "cuda" and there is none.
    """
    manifest, values = _read(description, sha256)
    name, entry = next(iter(manifest.files.items()))
    weights = description.parent / name
    data = read_verified(weights, entry)
    try:
        config = from_dict(values["config"], str(description))
    except ConfigError as error:
        raise CheckpointError(f"{description}: {error}") from None
    agent = load_weights(weights, data, manifest, config, device)
    return replace(agent, evaluation=values["evaluation"], origin=values["origin"])


def _read(description: Path, sha256: str | None = None) -> tuple[Manifest, dict[str, Any]]:
    if not description.is_file():
        raise CheckpointError(f"{description}: there is no such model")
    data = read_pinned(description, sha256)
    try:
        values = json.loads(data)
        own = {name: values.pop(name) for name in _OWN}
        manifest = Manifest.from_json(values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{description}: damaged, or not a model of this project ({type(error).__name__}: {error})"
        ) from None
    names = list(manifest.files)
    if len(names) != 1 or Path(names[0]).name != names[0]:
        raise CheckpointError(
            f"{description}: the manifest must name one file of weights in the same folder, not {', '.join(names) or 'none'}"
        )
    return manifest, own


def _rounded(weights: Mapping[str, torch.Tensor], model: Path) -> dict[str, torch.Tensor]:
    """The weights as float16. Names that share a tensor, such as those of PPO's feature extractor, share the rounded one."""
    rounded: dict[tuple[int, torch.Size], torch.Tensor] = {}
    for name, tensor in weights.items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if tensor.isfinite().all() and not half.isfinite().all():
            raise CheckpointError(
                f"{model}: {name} has values beyond 65 504, which half precision cannot represent: ship it without --half"
            )
        rounded.setdefault((tensor.data_ptr(), tensor.shape), half)
    return {name: rounded[tensor.data_ptr(), tensor.shape] for name, tensor in weights.items()}


def _replace(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".incomplete-{path.name}-", delete=False) as file:
        aside = Path(file.name)
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            aside.chmod(0o644)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
