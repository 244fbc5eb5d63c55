"""The training loop: from an untrained agent, or its newest checkpoint, to a model on disk."""

from __future__ import annotations

import gc
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms import OnPolicy
from agents.announce import announce
from agents.checkpoints import Checkpoint, RunState, best_checkpoint, progress_state, save_checkpoint, set_progress_state
from agents.device import StopLearning, StopRequest, keep_awake, keep_freed_memory, torch_threads
from agents.errors import CheckpointError, DeviceLostError, NonFiniteError, is_device_lost
from agents.policies import Teachers, save_model
from agents.progress import EpisodeTotals, PlayedEpisode, Progress
from agents.training.callbacks import (
    EpisodeSink,
    FiniteGuard,
    PeriodicCheckpoint,
    RefillFirst,
    RolloutStart,
    StopWhenAsked,
    require_finite_weights,
)
from agents.training.reporting import ProgressBar, Statistics
from agents.training.result import TrainingInterrupted, TrainingResult
from agents.training.start import Start, start
from agents.training.validation import Validation, Validator
from configs import Config
from mario_env import WorkerError

_log = logging.getLogger(__name__)

# A signal to the whole process group may end the environments' processes before the handler in this process has run.
_SIGNAL_GRACE_SECONDS = 1.0
_WORKER_FAILURES = (WorkerError, EOFError, ConnectionError)


def train(
    config: Config,
    *,
    env: VecEnv,
    directory: Path,
    on_episode: Callable[[PlayedEpisode], None],
    total_steps: int,
    device: str | None = None,
    writers: Sequence[KVWriter] = (),
    episode_indices: Mapping[int, int] | None = None,
    recorded: EpisodeTotals | None = None,
    until: Callable[[Progress], bool] | None = None,
    on_start: Callable[[], None] = lambda: None,
    before_checkpoint: Callable[[], None] | None = None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
    validation: Validation | None = None,
    teachers: Teachers | None = None,
    resume: bool = True,
) -> TrainingResult:
    """Train `config.agent` on `env` until `total_steps` decisions (of all environments) have been taken.

    The training resumes from the newest undamaged checkpoint in ``directory/checkpoints``, if there is one. It resumes exactly
    if there is no obstacle (`agents.checkpoints.run_state`): episodes that ended after the checkpoint are played again and
    passed to `on_episode` again, with the same indices. Otherwise the games are reset and get other random numbers, and the log
    says so.

    SIGINT and SIGTERM end the training after the current step, with a checkpoint. A second signal aborts at once. PPO abandons
    its rollout: the checkpoint has the state at the start of the rollout or, if that cannot be restored, the current state with
    the steps of the rollout counted. `env` stays open: it belongs to the caller.

    Args:
        env: its observations are uint8 (n, channels, height, width), its infos those of `mario_env`.
        on_episode: called for each ended episode, in the training thread; it must not block.
        total_steps: rounded up to a multiple of the number of environments.
        device: overrides `config.train.device`.
        writers: receive the metrics; `write` is called at most once in 1 000 steps.
        episode_indices: the next episode index of each environment, for a training that does not resume exactly. Default:
            those of the checkpoint.
        recorded: the totals of the episodes on record, for the cumulative metrics of a training that does not resume exactly.
            Default: those of the checkpoint. After a kill the record has episodes that are not in the checkpoint's counts.
        until: called after every step; the training ends early when it returns True.
        on_start: called before the first step, when the files in `directory` describe this start (`STATE_FILES`).
        before_checkpoint: called before each checkpoint. It must make sure that episodes and metrics so far are on record: a
            training that resumes from the checkpoint does not play them again.
        on_checkpoint: called after each complete checkpoint.
        validation: receives the episodes of validations. Without it there are none, whatever `train.validation` says.
        teachers: advise PPO at each decision. `env` must have the tiles that they see (`mario_env.make_training_vec`).
        resume: False deletes the checkpoints and starts at step 0; episodes on record are not affected.

    Raises:
        TrainingInterrupted: a signal arrived; the exception has the result.
        NonFiniteError: a loss or a weight is NaN or infinite; no model is written.
        CheckpointError: the checkpoint belongs to another agent, or the final model could not be written.
        WorkerError: an environment's process died; a checkpoint was written first.
        DeviceError: the device is "cuda" and there is none.
        DeviceLostError: the GPU failed and is unusable in this process; a new process can resume from the last checkpoint.
    """
    began = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(torch_threads(None))  # `start` chooses the number, for this training only
        stack.enter_context(keep_freed_memory())
        stack.enter_context(keep_awake(config.train.keep_awake))
        request = stack.enter_context(StopRequest())
        logger = Logger(folder=None, output_formats=list(writers))
        on_record = 0 if recorded is None else recorded.episodes
        device = device or config.train.device
        started = start(config, env, directory, device, logger, resume=resume, on_record=on_record)
        stack.callback(_release, started.model)
        if teachers is not None:
            assert isinstance(started.model, OnPolicy)
            teachers.to(started.model.device)
            started.model.adviser = teachers
        if not started.exact:
            started.adopt_record(episode_indices, recorded)
        on_start()
        run = _Run(config, directory, started, request, before_checkpoint, on_checkpoint)
        if validation is not None and config.train.validation is not None:
            if not started.exact:
                validation.adopt_record(run.counters)
            settings = config.train.validation
            run.validator = Validator(
                config, settings, run.model, run.counters, validation, request, run.require_finite_weights
            )
        reached = run.learn(total_steps, on_episode, until)
        return run.finish(time.perf_counter() - began, interrupted=not reached)


class _Run:
    """One call of `train`.

    Attributes:
        saved_validations: the number of validations in `checkpoint`.
        between_rollouts: whether the state of the model is complete.
        rollout_start: the state at the start of PPO's current rollout, if it can be restored.
    """

    def __init__(
        self,
        config: Config,
        directory: Path,
        started: Start,
        request: StopRequest,
        before_checkpoint: Callable[[], None] | None,
        on_checkpoint: Callable[[Checkpoint], None] | None,
    ) -> None:
        self.config, self.directory, self.request = config, directory, request
        self.model, self.counters, self.checkpoint = started.model, started.counters, started.checkpoint
        self.before_checkpoint, self.on_checkpoint = before_checkpoint, on_checkpoint
        self.validator: Validator | None = None
        self.saved_validations = len(started.counters.validation.history)
        self.between_rollouts = True
        self.rollout_start: tuple[dict[str, Any], RunState] | None = None
        self._refill = started.refill

    @property
    def last_checkpoint(self) -> Path | None:
        """The folder of the newest checkpoint, or None."""
        return self.checkpoint.path if self.checkpoint else None

    def learn(
        self, total_steps: int, on_episode: Callable[[PlayedEpisode], None], until: Callable[[Progress], bool] | None
    ) -> bool:
        """Train to the end; returns False if a signal ended the training earlier."""
        if self.model.num_timesteps < total_steps:
            self._learn(total_steps, on_episode, until)
        else:
            announce(f"nothing left to train: the checkpoint has {self.model.num_timesteps:,} of {total_steps:,} steps")
        if self.validator is not None and not self.request.requested:
            self.validator.at_end()
        return not self.request.requested

    def _learn(
        self, total_steps: int, on_episode: Callable[[PlayedEpisode], None], until: Callable[[Progress], bool] | None
    ) -> None:
        settings = self.config.train
        guard = FiniteGuard(lambda: self.last_checkpoint)
        bar = ProgressBar(total_steps) if settings.progress_bar else None
        statistics = Statistics(self.counters, settings.statistics_every, total_steps, settings.statistics_seconds, bar)
        stop = StopWhenAsked(self.request, until, self.counters, self.save_checkpoint)
        callbacks: list[BaseCallback] = [
            EpisodeSink(self.counters, on_episode),
            statistics,
            guard,
            *([] if self.validator is None else [RolloutStart(self.validator.when_due)]),
            PeriodicCheckpoint(settings.checkpoint_every, self.save_checkpoint, settings.milestones),
            stop,
        ]
        callbacks += [] if isinstance(self.model, OffPolicyAlgorithm) else [RolloutStart(self._capture_rollout_start)]
        callbacks += [RefillFirst()] if self._refill else []
        callbacks += [bar] if bar else []
        try:
            self._call_library(total_steps, callbacks)
        finally:
            if bar:
                bar.close()
        guard.check_losses()
        if not self.request.requested:  # otherwise the steps since the last dump are written after resumption
            statistics.dump()
        if stop.abandoned_rollout:
            self._abandon_rollout()

    def _call_library(self, total_steps: int, callbacks: list[BaseCallback]) -> None:
        try:
            # stable-baselines3 adds its counter to the number it is given.
            left = total_steps - self.model.num_timesteps
            self.model.learn(left, CallbackList(callbacks), log_interval=sys.maxsize, reset_num_timesteps=False)
        except StopLearning:
            pass
        except ValueError as error:
            self._raise_if_nan(error)
            raise
        except _WORKER_FAILURES as error:
            self._handle_worker_failure(error)
        except RuntimeError as error:
            if is_device_lost(error):
                raise self._device_lost(error) from error
            raise

    def _capture_rollout_start(self) -> None:
        state = RunState.capture(self.model)
        self.rollout_start = None if state is None else (progress_state(self.model, self.counters), state)

    def _abandon_rollout(self) -> None:
        """After a signal, restore the state at the start of the abandoned rollout: from there a training can resume exactly."""
        if self.rollout_start is None or not self.request.requested:
            self.between_rollouts = False
            return
        progress, state = self.rollout_start
        # Weights and optimiser have not changed since the start of the rollout.
        self.counters = set_progress_state(self.model, progress)
        state.restore(self.model)

    def _raise_if_nan(self, error: ValueError) -> None:
        """Raise NonFiniteError instead of torch's own error about NaN in PPO's epochs, a page of numbers without the step."""
        if "found invalid values" in str(error):
            raise NonFiniteError(self.model.num_timesteps, "the policy's output", math.nan, self.last_checkpoint) from None

    def _device_lost(self, error: RuntimeError) -> DeviceLostError:
        """The error to raise. A checkpoint is impossible now: the weights are on the device."""
        kept = f"the last checkpoint is {self.last_checkpoint}" if self.checkpoint else "there is no checkpoint yet"
        fault = str(error).partition("\n")[0]
        return DeviceLostError(
            f"the device failed at step {self.model.num_timesteps} ({fault}) and stays unusable for this process; {kept}. "
            "Give the command again: a new process resumes from there"
        )

    def _handle_worker_failure(self, error: Exception) -> None:
        """An environment's process died. If a signal ended it too, return; else save a checkpoint and raise."""
        signalled = self.request.wait(_SIGNAL_GRACE_SECONDS)
        self.between_rollouts = False
        if signalled:
            return
        self.save_checkpoint()
        raise error

    def require_finite_weights(self) -> None:
        """Raises NonFiniteError if a weight is NaN or infinite."""
        require_finite_weights(self.model, self.last_checkpoint)

    def save_checkpoint(self) -> None:
        """Write a checkpoint. If that fails, log a warning and continue: the previous one is intact."""
        steps, validations = self.model.num_timesteps, len(self.counters.validation.history)
        if self.checkpoint is not None and (self.checkpoint.steps, self.saved_validations) == (steps, validations):
            return
        # Not after each update: that would take the DQN family one percent of its time.
        self.require_finite_weights()
        if self.before_checkpoint is not None:
            self.before_checkpoint()
        try:
            self.checkpoint = save_checkpoint(
                self.directory, self.config, self.model, self.counters, between_rollouts=self.between_rollouts
            )
        except CheckpointError as error:
            _log.warning("no checkpoint at step %d, training continues: %s", self.model.num_timesteps, error)
            return
        self.saved_validations = validations
        if self.on_checkpoint is not None:
            self.on_checkpoint(self.checkpoint)

    def finish(self, seconds: float, *, interrupted: bool) -> TrainingResult:
        """Write the last checkpoint and the final model; returns the result."""
        self.save_checkpoint()
        model_path = None if interrupted else save_model(self.directory, self.config, self.model)
        validation = self.counters.validation
        result = TrainingResult(
            steps=self.model.num_timesteps,
            frames=self.counters.frames,
            episodes=self.counters.episodes,
            reward_sum=self.counters.reward_sum,
            seconds=seconds,
            model_path=model_path,
            checkpoint=self.checkpoint,
            interrupted=interrupted,
            validations=tuple(validation.history),
            validated=EpisodeTotals(validation.episodes, validation.reward_sum),
            best=best_checkpoint(self.directory, validation.history),
        )
        if interrupted:
            raise TrainingInterrupted(result)
        return result


def _release(model: BaseAlgorithm) -> None:
    """Drop the large parts of `model`, even if it is still referenced: a retry in the same process needs the memory.

    Prefect keeps exceptions, an exception keeps its stack frames, and these keep the model.
    """
    model.env = None
    model._last_obs = None
    if isinstance(model, OffPolicyAlgorithm):
        model.replay_buffer = None
    for name in ("policy", "rollout_buffer", "q_net", "q_net_target"):
        model.__dict__.pop(name, None)
    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # on a lost device this fails with the error that is already raised
            torch.cuda.empty_cache()
