"""The start of a training: from scratch, from step 0 again, or from its newest checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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

STATE_FILES: Final = (*continuity.FILES, thread_choice.CHOICE)
"""Small files in the folder of a training, beside the checkpoints, that its exact continuation depends on."""


@dataclass
class Start:
    """What a training starts with.

    Attributes:
        counters: the counters of the training so far.
        exact: whether everything from the first episode on equals an uninterrupted training of this configuration.
        refill: whether the replay buffer must be filled before updates continue.
        checkpoint: the checkpoint that the training resumes from, or None.
    """

    model: BaseAlgorithm
    counters: Counters
    exact: bool
    refill: bool = False
    checkpoint: Checkpoint | None = None

    def adopt_record(self, episode_indices: Mapping[int, int] | None, recorded: EpisodeTotals | None) -> None:
        """Continue from the counts on record instead of those in the checkpoint."""
        if episode_indices is not None:
            self.counters.next_index = dict(episode_indices)
        if recorded is not None:
            self.counters.episodes, self.counters.reward_sum = recorded.episodes, recorded.reward_sum


def start(config: Config, env: VecEnv, directory: Path, device: str, logger: Logger, *, resume: bool, on_record: int) -> Start:
    """Build the algorithm of `config` and restore the state of the training in `directory`.

    Args:
        resume: False deletes the checkpoints in `directory` and starts at step 0.
        on_record: the number of episodes of this training on record.

    Raises:
        CheckpointError: the checkpoint belongs to another agent or environment.
        DeviceError: `device` is "cuda" and there is none.
    """
    folder = checkpoints_folder(directory)
    remove_incomplete(folder)
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
        thread_choice.clear(directory)
        continuity.clear(directory)
    checkpoint = latest_checkpoint(directory)
    thread_choice.choose_threads(config, env, directory, resolve_device(device), checkpoint)
    if checkpoint is None:
        return _from_scratch(config, env, directory, device, logger, resume=resume, on_record=on_record)
    return _from_checkpoint(checkpoint, config, env, directory, device, logger, on_record)


def _from_scratch(
    config: Config, env: VecEnv, directory: Path, device: str, logger: Logger, *, resume: bool, on_record: int
) -> Start:
    model = build(config, env, device=device)
    exact = resume and _starts_exactly(directory, model, on_record > 0)
    if resume and on_record and not exact:
        model = build(config, env, device=device, seed=seed_of(config.seed, Stream.CONTINUATION, 0, on_record))
    model.set_logger(logger)
    return Start(model, Counters(), exact)


def _from_checkpoint(
    checkpoint: Checkpoint, config: Config, env: VecEnv, directory: Path, device: str, logger: Logger, on_record: int
) -> Start:
    # A training that does not resume exactly gets a seed that no earlier attempt had. With the same seed it would play the same
    # episodes again, and they would be on record twice.
    seed = seed_of(config.seed, Stream.CONTINUATION, checkpoint.steps, on_record)
    model = build(config, env, device=device, seed=seed)
    model.set_logger(logger)
    restored = restore(checkpoint, config, model, continuity.earlier_inexact(directory, checkpoint.steps))
    resumed = f"resuming from {checkpoint.path} at step {checkpoint.steps:,}"
    if restored.inexact is None:
        announce(f"{resumed}, exactly as without an interruption")
    else:
        continuity.mark_inexact(directory, checkpoint.steps, restored.inexact)
        announce(f"{resumed}, with new games and other random numbers: {restored.inexact}")
    return Start(model, restored.counters, restored.inexact is None, restored.refill, checkpoint)


def _starts_exactly(directory: Path, model: BaseAlgorithm, on_record: bool) -> bool:
    """Whether a training that was killed before its first checkpoint can play its recorded episodes again exactly."""
    if exactness_obstacle(model) is not None:
        return False
    reason = continuity.start_mismatch(directory, conditions(), recorded=on_record)
    reason = reason or continuity.earlier_inexact(directory, 0)
    if reason is None:
        return True
    continuity.mark_inexact(directory, 0, reason)
    announce(f"starting again at step 0, with other games than those on record: {reason}")
    return False
