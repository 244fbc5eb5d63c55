"""Trained agents: kept as a folder, loaded without unpickling, and asked for actions."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file
from torch.distributions import Categorical

from agents.algorithms import build_policy
from agents.checkpoints import (
    CONFIG,
    MANIFEST,
    MODEL,
    Checkpoint,
    Manifest,
    describe,
    parse_manifest,
    read_named,
    read_verified,
    verify,
    verify_file,
    write_folder,
    write_model,
)
from agents.errors import CheckpointError
from configs import Config, ConfigError, from_dict, to_dict
from configs.seeds import Stream, generator
from mario_env import observation_of

_WEIGHTS = "policy.pth"  # the member of stable-baselines3's zip that holds the policy's tensors


@dataclass
class Agent:
    """A trained policy.

    Attributes:
        model: stable-baselines3's policy, in evaluation mode.
        manifest: what it was trained with and for how long.
        config: its whole configuration.
        exploration_rate: share of random actions when a value-based agent (DQN, QR-DQN) acts stochastically: its
            `exploration_final_eps`. 0 for PPO, which draws from its policy instead.
        evaluation: the figures by protocol, as JSON types, that it was shipped with; None: it was not shipped.
    """

    model: BasePolicy
    manifest: Manifest
    config: Config
    exploration_rate: float
    random: np.random.Generator = field(default_factory=np.random.default_rng)
    evaluation: Mapping[str, Any] | None = None

    def seed(self, seed: int) -> None:
        """Fix the random choices of stochastic actions; no global generator is used."""
        self.random = generator(seed, Stream.CHOICES)

    def act(
        self,
        observations: NDArray[Any],
        *,
        deterministic: bool = True,
        random: Sequence[np.random.Generator] | None = None,
    ) -> NDArray[np.int64]:
        """Actions for a batch.

        Args:
            observations: (n, *shape), of the shape and dtype of the observations that it was trained on.
            deterministic: the best action; otherwise epsilon-greedy, each row for itself (DQN, QR-DQN), or drawn from the
                policy (PPO).
            random: of each row, what its random choices are drawn from; None: all from the agent's own.

        Returns:
            int64 (n,), indices into the configuration's actions.

        Raises:
            ValueError: the observations have another shape or dtype.
        """
        expected = self.model.observation_space
        assert expected.shape is not None
        if observations.shape[1:] != expected.shape or observations.dtype != expected.dtype:
            given = f"{observations.dtype} {observations.shape}"
            raise ValueError(f"observations are {given}; expected {expected.dtype} (n, {', '.join(map(str, expected.shape))})")
        if deterministic:
            return self._greedy(observations)
        generators = [self.random] * len(observations) if random is None else random
        if isinstance(self.model, ActorCriticPolicy):
            return self._drawn(self.model, observations, generators)
        actions = self._greedy(observations)
        for row, own in enumerate(generators):
            if own.random() < self.exploration_rate:
                actions[row] = own.integers(self.manifest.n_actions)
        return actions

    def _greedy(self, observations: NDArray[Any]) -> NDArray[np.int64]:
        actions, _ = self.model.predict(observations, deterministic=True)
        return np.array(actions, dtype=np.int64)

    def _drawn(
        self, policy: ActorCriticPolicy, observations: NDArray[Any], generators: Sequence[np.random.Generator]
    ) -> NDArray[np.int64]:
        with torch.no_grad():
            tensor, _ = policy.obs_to_tensor(observations)
            distribution = policy.get_distribution(tensor).distribution
        assert isinstance(distribution, Categorical)
        cumulative = distribution.probs.cpu().numpy().astype(np.float64).cumsum(axis=1)
        # Scaled by the last sum, which rounding leaves a little off 1, so that the last action cannot be passed over.
        drawn = np.array([[own.random()] for own in generators]) * cumulative[:, -1:]
        actions: NDArray[np.int64] = (drawn >= cumulative).sum(axis=1).astype(np.int64)
        return actions


def save_model(directory: Path, config: Config, model: BaseAlgorithm) -> Path:
    """Write the final model to ``directory/model`` (model.zip, config.json, manifest.json) and return that folder.

    One that is there already, of the same weights, stays as it is: a process that comes back to the end of the training has the
    very files that the one before may have registered.

    Raises:
        CheckpointError: it could not be written.
    """
    target = directory / "model"
    if _holds(target, config, model):
        return target

    def write(aside: Path) -> Manifest:
        write_model(aside, config, model)
        return describe("model", config, model)

    write_folder(target, write)
    return target


def _holds(folder: Path, config: Config, model: BaseAlgorithm) -> bool:
    """Whether the model in `folder` is whole, and is `model`."""
    try:
        manifest = verify(folder)
        same = json.loads((folder / CONFIG).read_text(encoding="utf-8")) == to_dict(config)
        if not same or manifest.steps != model.num_timesteps:
            return False
        _, kept, _ = load_from_zip_file(folder / MODEL, device="cpu", load_data=False)
    except (CheckpointError, ValueError, RuntimeError, OSError):
        return False
    weights, present = cast(dict[str, torch.Tensor], kept["policy"]), model.policy.state_dict()
    return weights.keys() == present.keys() and all(torch.equal(weights[name], present[name].cpu()) for name in weights)


def keep_best(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write the model of `checkpoint` to ``directory/best-model``, the same files as `save_model`, and return that folder.

    Raises:
        CheckpointError: the checkpoint has been damaged since, or the model could not be written.
    """
    target = directory / "best-model"

    def write(aside: Path) -> Manifest:
        for name in (MODEL, CONFIG):
            verify_file(checkpoint.path / name, checkpoint.manifest.files[name])
            shutil.copyfile(checkpoint.path / name, aside / name)
        return Manifest(**{**checkpoint.manifest.__dict__, "kind": "model", "files": {}})

    write_folder(target, write)
    return target


def load_agent(path: Path, device: str = "cpu", *, sha256: str | None = None) -> Agent:
    """The agent in a checkpoint's folder, a model's folder, or a model.zip that has config.json and manifest.json beside it.

    Each file is read once, and what was read is verified against the manifest. The policy is built from the configuration, and
    only tensors are read from the zip, with torch's ``weights_only`` loader: stable-baselines3's own ``load`` executes what is
    pickled there.

    Args:
        sha256: of the manifest (`described_by`), which has the SHA-256 of all other files: it covers the whole model.

    Raises:
        CheckpointError: something is missing, damaged or does not fit together, or the model is not the one that `sha256`
            names; the message names the file.
        DeviceError: `device` is "cuda" and there is none.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    archive = folder / MODEL if path.is_dir() else path
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such model")
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{folder}: no {MANIFEST}: a model is a folder of {MODEL}, {CONFIG} and {MANIFEST}")
    manifest = parse_manifest(folder / MANIFEST, read_named(folder / MANIFEST, sha256))
    read = {}
    for file in (archive, folder / CONFIG):
        if file.name not in manifest.files:
            raise CheckpointError(f"{folder / MANIFEST}: does not list {file.name}")
        read[file] = read_verified(file, manifest.files[file.name])
    return load_weights(archive, read[archive], manifest, _read_config(folder / CONFIG, read[folder / CONFIG]), device)


def described_by(path: Path) -> Path:
    """The manifest of the model that `path` means: its SHA-256 stands for the model, its configuration and its weights."""
    if path.suffix == ".json":
        return path
    return (path if path.is_dir() else path.parent) / MANIFEST


def load_weights(file: Path, data: bytes, manifest: Manifest, config: Config, device: str = "cpu") -> Agent:
    """An agent whose weights are `data`, read from `file`: a zip of stable-baselines3's, or a policy's tensors (``.pth``).

    Only tensors are read. The data are not compared with the manifest here.

    Raises:
        CheckpointError: the file is not readable, or its weights are of another network.
        DeviceError: `device` is "cuda" and there is none.
    """
    seen = observation_of(config.environment)
    space = gym.spaces.Box(seen.low, seen.high, manifest.observation_shape, seen.dtype.type)
    policy = build_policy(config, space, manifest.n_actions, device=device)
    try:
        policy.load_state_dict(_read_weights(file, data, policy.device), strict=True)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{file}: its weights do not fit the configured network: {error}") from None
    return _agent(policy, manifest, config)


def agent_of(model: BaseAlgorithm, config: Config, manifest: Manifest) -> Agent:
    """The policy of a training, as it is at the moment: not a copy, and in evaluation mode until the next update."""
    return _agent(model.policy, manifest, config)


def _agent(policy: BasePolicy, manifest: Manifest, config: Config) -> Agent:
    policy.set_training_mode(False)
    exploration = 0.0 if config.agent.algorithm == "ppo" else config.agent.exploration_final_eps
    return Agent(policy, manifest, config, exploration)


def _read_weights(file: Path, data: bytes, device: torch.device) -> Mapping[str, Any]:
    try:
        if file.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(data)) as members:
                data = members.read(_WEIGHTS)
        weights: Mapping[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:  # zip, zlib, torch and pickle each have their own ways to say that bytes are wrong
        raise CheckpointError(f"{file}: no readable weights ({type(error).__name__}: {error})") from None
    return weights


def _read_config(path: Path, data: bytes) -> Config:
    try:
        return from_dict(json.loads(data), source=str(path))
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from None
