"""The start of a training: from nothing, from its beginning once more, or from its newest checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms import build
from agents.announce import announce
from agents.checkpoints import (
    Checkpoint,
    checkpoints_folder,
    conditions,
    continuity,
    exactness_obstacle,
    latest_checkpoint,
    remove_incomplete,
    restore,
)
from agents.device import resolve_device
from agents.progress import Counters, EpisodeTotals
from agents.training import thread_choice
from configs import Config
from configs.seeds import Stream, seed_of


@dataclass
class Start:
    """What a training starts with.

    Attributes:
        counters: of the training so far.
        exact: whether it plays what an uninterrupted training of this configuration plays, from its first episode on.
        refill: whether the replay buffer must be filled before updates go on.
        checkpoint: the one it resumes from, or None.
    """

    model: BaseAlgorithm
    counters: Counters
    exact: bool
    refill: bool = False
    checkpoint: Checkpoint | None = None

    def adopt_record(self, episode_indices: Mapping[int, int] | None, recorded: EpisodeTotals | None) -> None:
        """Continue the counts of the record instead of the checkpoint's."""
        if episode_indices is not None:
            self.counters.next_index = dict(episode_indices)
        if recorded is not None:
            self.counters.episodes, self.counters.reward_sum = recorded.episodes, recorded.reward_sum


def start(config: Config, env: VecEnv, directory: Path, device: str, logger: Logger, *, resume: bool, on_record: int) -> Start:
    """Build the algorithm of `config` and bring it to where the training in `directory` is.

    Args:
        resume: False deletes the checkpoints in `directory` and begins at step 0.
        on_record: how many episodes of this training the record has.

    Raises:
        CheckpointError: the checkpoint belongs to another agent or environment.
        DeviceError: `device` is "cuda" and there is none.
    """
    folder = checkpoints_folder(directory)
    remove_incomplete(folder)
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
        thread_choice.forget(directory)
        continuity.forget(directory)
    checkpoint = latest_checkpoint(directory)
    thread_choice.choose_threads(config, env, directory, resolve_device(device), checkpoint)
    if checkpoint is None:
        return _from_nothing(config, env, directory, device, logger, resume=resume, on_record=on_record)
    return _from_checkpoint(checkpoint, config, env, directory, device, logger, on_record)


def _from_nothing(
    config: Config, env: VecEnv, directory: Path, device: str, logger: Logger, *, resume: bool, on_record: int
) -> Start:
    model = build(config, env, device=device)
    exact = resume and _begins_exactly(directory, model, on_record > 0)
    if resume and on_record and not exact:
        model = build(config, env, device=device, seed=seed_of(config.seed, Stream.CONTINUATION, 0, on_record))
    model.set_logger(logger)
    return Start(model, Counters(), exact)


def _from_checkpoint(
    checkpoint: Checkpoint, config: Config, env: VecEnv, directory: Path, device: str, logger: Logger, on_record: int
) -> Start:
    # A training that does not resume exactly gets a seed that no earlier attempt had. With the same one it would play the same
    # episodes, and they would be on record twice.
    seed = seed_of(config.seed, Stream.CONTINUATION, checkpoint.steps, on_record)
    model = build(config, env, device=device, seed=seed)
    model.set_logger(logger)
    restored = restore(checkpoint, config, model, continuity.inexact_before(directory, checkpoint.steps))
    resumed = f"going on from {checkpoint.path} at step {checkpoint.steps:,}"
    if restored.inexact is None:
        announce(f"{resumed}, exactly as without an interruption")
    else:
        continuity.note_inexact(directory, checkpoint.steps, restored.inexact)
        announce(f"{resumed}, with new games and other random numbers: {restored.inexact}")
    return Start(model, restored.counters, restored.inexact is None, restored.refill, checkpoint)


def _begins_exactly(directory: Path, model: BaseAlgorithm, on_record: bool) -> bool:
    """Whether a training that was killed before its first checkpoint plays once more what it has on record."""
    if exactness_obstacle(model) is not None:
        return False
    reason = continuity.differs_from_beginning(directory, conditions(), recorded=on_record)
    reason = reason or continuity.inexact_before(directory, 0)
    if reason is None:
        return True
    continuity.note_inexact(directory, 0, reason)
    announce(f"beginning again at step 0, beside what is on record: {reason}")
    return False
