"""Trained agents: saved as a folder, loaded without unpickling, and asked for actions."""

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

from agents.algorithms import AlgorithmBase, build_policy, evaluation_epsilon
from agents.checkpoints import (
    CONFIG,
    MANIFEST,
    MODEL,
    Checkpoint,
    Manifest,
    describe,
    parse_manifest,
    read_pinned,
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

# The members of stable-baselines3's zip with the tensors of the policy, and of its average.
_WEIGHTS, _AVERAGE = "policy.pth", "average.pth"
_OF_AVERAGE = "module."  # prefix of the names in the latter, which has the number of updates besides


@dataclass
class Agent:
    """A trained policy.

    Attributes:
        model: stable-baselines3's policy, in evaluation mode.
        manifest: what the agent was trained with and for how long.
        config: the whole configuration.
        exploration_rate: the share of random actions when DQN or QR-DQN act stochastically: `exploration_final_eps`. 0 for
            PPO, which samples from its policy instead.
        random: the default source of random actions.
        evaluation: for a shipped agent the figures by protocol, as JSON types; otherwise None.
        origin: for a shipped agent where it comes from, as JSON types; otherwise None.
    """

    model: BasePolicy
    manifest: Manifest
    config: Config
    exploration_rate: float
    random: np.random.Generator = field(default_factory=np.random.default_rng)
    evaluation: Mapping[str, Any] | None = None
    origin: Mapping[str, Any] | None = None

    @property
    def steps(self) -> int:
        """The decisions that it was trained for."""
        return self.manifest.steps

    def seed(self, seed: int) -> None:
        """Seed the random choices of stochastic actions; no global generator is used."""
        self.random = generator(seed, Stream.CHOICES)

    def act(
        self,
        observations: NDArray[Any],
        *,
        deterministic: bool = True,
        random: Sequence[np.random.Generator] | None = None,
        infos: Sequence[Mapping[str, Any]] | None = None,
    ) -> NDArray[np.int64]:
        """Choose actions for a batch of observations.

        Args:
            observations: (n, *shape), with the shape and dtype of the observations in training.
            deterministic: True takes the best actions. False acts epsilon-greedily, independently in each row (DQN, QR-DQN),
                or samples from the policy (PPO).
            random: one generator for each row; None uses the agent's own for all rows.
            infos: of each row's environment. They are not looked at; :class:`~agents.policies.team.Team` goes by them.

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
            return self._sampled(self.model, observations, generators)
        actions = self._greedy(observations)
        for row, own in enumerate(generators):
            if own.random() < self.exploration_rate:
                actions[row] = own.integers(self.manifest.n_actions)
        return actions

    def _greedy(self, observations: NDArray[Any]) -> NDArray[np.int64]:
        actions, _ = self.model.predict(observations, deterministic=True)
        return np.array(actions, dtype=np.int64)

    def _sampled(
        self, policy: ActorCriticPolicy, observations: NDArray[Any], generators: Sequence[np.random.Generator]
    ) -> NDArray[np.int64]:
        with torch.no_grad():
            tensor, _ = policy.obs_to_tensor(observations)
            distribution = policy.get_distribution(tensor).distribution
        assert isinstance(distribution, Categorical)
        cumulative = distribution.probs.cpu().numpy().astype(np.float64).cumsum(axis=1)
        # Rounding leaves the last sum a little off 1. Scaling by it makes sure that one of the actions is chosen.
        drawn = np.array([[own.random()] for own in generators]) * cumulative[:, -1:]
        actions: NDArray[np.int64] = (drawn >= cumulative).sum(axis=1).astype(np.int64)
        return actions


def save_model(directory: Path, config: Config, model: BaseAlgorithm) -> Path:
    """Write the final model to ``directory/model`` (model.zip, config.json, manifest.json) and return that folder.

    If the folder already has the same model, its files stay as they are: an earlier process may have registered them.

    Raises:
        CheckpointError: the model could not be written.
    """
    target = directory / "model"
    if _is_saved(target, config, model):
        return target

    def write(aside: Path) -> Manifest:
        write_model(aside, config, model)
        return describe("model", config, model)

    write_folder(target, write)
    return target


def _is_saved(folder: Path, config: Config, model: BaseAlgorithm) -> bool:
    """Whether `folder` is undamaged and contains `model`."""
    try:
        manifest = verify(folder)
        same = json.loads((folder / CONFIG).read_text(encoding="utf-8")) == to_dict(config)
        if not same or manifest.steps != model.num_timesteps:
            return False
        _, saved, _ = load_from_zip_file(folder / MODEL, device="cpu", load_data=False)
    except (CheckpointError, ValueError, RuntimeError, OSError):
        return False
    # The policy's weights decide: its average follows from them.
    weights, present = cast(dict[str, torch.Tensor], saved["policy"]), model.policy.state_dict()
    return weights.keys() == present.keys() and all(torch.equal(weights[name], present[name].cpu()) for name in weights)


def keep_best(directory: Path, checkpoint: Checkpoint) -> Path:
    """Copy the model of `checkpoint` to ``directory/best-model`` and return that folder. It has the files of `save_model`.

    Raises:
        CheckpointError: the checkpoint is damaged, or the model could not be written.
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
    """Load an agent.

    Each file is read once, and the bytes that were read are verified against the manifest. The policy is built from the
    configuration. Only tensors are read from the zip, with torch's ``weights_only`` loader. stable-baselines3's own ``load``
    would execute pickled code.

    Args:
        path: the folder of a checkpoint or a model, or a model.zip with config.json and manifest.json beside it.
        sha256: the expected SHA-256 (hex) of the manifest (`manifest_path`). The manifest has the SHA-256 of all other files,
            so this covers the whole model.

    Raises:
        CheckpointError: a file is missing or damaged, files do not belong together, or the SHA-256 is another one; the message
            names the file.
        DeviceError: `device` is "cuda" and there is none.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    archive = folder / MODEL if path.is_dir() else path
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such model")
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{folder}: no {MANIFEST} here; a model is a folder of {MODEL}, {CONFIG} and {MANIFEST}")
    manifest = parse_manifest(folder / MANIFEST, read_pinned(folder / MANIFEST, sha256))
    read = {}
    for file in (archive, folder / CONFIG):
        if file.name not in manifest.files:
            raise CheckpointError(f"{folder / MANIFEST}: does not list {file.name}")
        read[file] = read_verified(file, manifest.files[file.name])
    return load_weights(archive, read[archive], manifest, _read_config(folder / CONFIG, read[folder / CONFIG]), device)


def manifest_path(path: Path) -> Path:
    """The manifest of the model at `path`. Its SHA-256 identifies the model with its configuration and weights."""
    if path.suffix == ".json":
        return path
    return (path if path.is_dir() else path.parent) / MANIFEST


def load_weights(file: Path, data: bytes, manifest: Manifest, config: Config, device: str = "cpu") -> Agent:
    """Build an agent from weights in memory.

    Only tensors are read. The weights are not verified against the manifest here.

    Args:
        file: where `data` was read from: a zip of stable-baselines3, or a policy's tensors (``.pth``).
        data: the bytes of `file`.

    Raises:
        CheckpointError: `data` is unreadable, or the weights belong to another network.
        DeviceError: `device` is "cuda" and there is none.
    """
    observation = observation_of(config.environment)
    bounds = observation.low, observation.high
    space = gym.spaces.Box(*bounds, manifest.observation_shape, observation.dtype.type)
    policy = build_policy(config, space, manifest.n_actions, device=device)
    try:
        averaged = config.agent.average_decay is not None
        policy.load_state_dict(_read_weights(file, data, policy.device, averaged=averaged), strict=True)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{file}: the weights do not fit the configured network: {error}") from None
    return _agent(policy, manifest, config)


def agent_of(model: BaseAlgorithm, config: Config, manifest: Manifest) -> Agent:
    """The current policy of a training (averaged, if it is): not a copy, and in evaluation mode until the next update."""
    return _agent(playing_policy(model), manifest, config)


def _agent(policy: BasePolicy, manifest: Manifest, config: Config) -> Agent:
    policy.set_training_mode(False)
    return Agent(policy, manifest, config, evaluation_epsilon(config))


def playing_policy(model: BaseAlgorithm) -> BasePolicy:
    """The policy of a training that plays in evaluations: the averaged one, if it keeps an average."""
    return model.playing_policy if isinstance(model, AlgorithmBase) else model.policy


def _read_weights(file: Path, data: bytes, device: torch.device, *, averaged: bool) -> Mapping[str, Any]:
    averaged = averaged and file.suffix == ".zip"  # other files have the tensors of one policy, the one that plays
    try:
        if file.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(data)) as members:
                data = members.read(_AVERAGE if averaged else _WEIGHTS)
        weights: Mapping[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
        if averaged:
            weights = {name[len(_OF_AVERAGE) :]: each for name, each in weights.items() if name.startswith(_OF_AVERAGE)}
    except Exception as error:  # zip, zlib, torch and pickle each raise their own errors for damaged bytes
        raise CheckpointError(f"{file}: no readable weights ({type(error).__name__}: {error})") from None
    return weights


def _read_config(path: Path, data: bytes) -> Config:
    try:
        return from_dict(json.loads(data), source=str(path))
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from None
