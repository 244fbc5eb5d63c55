"""The training loop: everything from an untrained agent, or its last checkpoint, to a model on disk."""

from __future__ import annotations

import gc
import logging
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents import thread_choice
from agents.algorithms import build, resolve_device
from agents.allocator import freed_memory_kept
from agents.callbacks import (
    EpisodeSink,
    FiniteGuard,
    PeriodicCheckpoint,
    RefillFirst,
    RolloutStart,
    StopLearning,
    StopWhenAsked,
    require_finite_weights,
)
from agents.checkpoints import (
    Checkpoint,
    best_checkpoint,
    checkpoints_folder,
    counters,
    latest_checkpoint,
    restore,
    save_checkpoint,
    set_counters,
)
from agents.continuity import differs_from_beginning, forget, inexact_before, note_inexact
from agents.deferred_losses import DefersLosses
from agents.errors import CheckpointError, DeviceLostError, NonFiniteError, TrainingInterrupted, is_device_lost
from agents.interruption import StopRequest
from agents.keep_awake import keep_awake
from agents.manifests import remove_incomplete
from agents.models import save_model
from agents.moment import Moment, obstacle, put_back, surroundings, take
from agents.progress import PlayedEpisode, Progress, Recorded, Tally, TrainingResult
from agents.reporting import ProgressBar, Statistics, say
from agents.threads import torch_threads
from agents.validation import Validation, Validator
from configs import Config
from configs.seeds import Stream, seed_of
from mario_env import WorkerError

_log = logging.getLogger(__name__)

# A signal to the whole process group may end the environments' processes before our own handler has run.
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
    recorded: Recorded | None = None,
    until: Callable[[Progress], bool] | None = None,
    before_checkpoint: Callable[[], None] | None = None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
    validation: Validation | None = None,
    resume: bool = True,
) -> TrainingResult:
    """Train `config.agent` on `env` until `total_steps` decisions (of all environments) have been taken.

    Goes on from the newest good checkpoint below ``directory/checkpoints`` when there is one; where nothing is in the way
    (`agents.moment`), exactly as if it had not been interrupted: episodes that had ended after the checkpoint are played once
    more and handed over once more, with the same indices. Else games start anew with other random numbers, which the log says.

    SIGINT and SIGTERM end it after the current step with a checkpoint; a second signal aborts at once. A rollout of PPO is then
    given up: the checkpoint is of its beginning, or, where that cannot be gone back to, of the moment with its steps counted.
    `env` stays open: it is the caller's.

    Args:
        env: observations uint8 (n, channels, height, width); infos as `mario_env` gives them.
        on_episode: called for each ended episode, in the training thread: it must not block.
        total_steps: rounded up to a multiple of the number of environments.
        device: instead of `config.train.device`.
        writers: take stable-baselines3's metrics; `write` is called at most once in 1 000 steps.
        episode_indices: the next episode index of each environment, for a training that does not go on exactly; without it,
            the checkpoint's.
        recorded: what the record holds already, for the cumulative metrics of a training that does not go on exactly; without
            it, the checkpoint's counts. After a kill the record has episodes that the checkpoint does not know of.
        until: ends the training early when it returns True; asked after every step.
        before_checkpoint: called before each checkpoint, to make sure that episodes and metrics so far are on record: a
            training that goes on from it does not play them again.
        on_checkpoint: called after each complete checkpoint.
        validation: where the episodes of validations go; without it there are none, whatever `train.validation` says.
        resume: False starts anew, beside what is on record, and deletes the checkpoints that are there.

    Raises:
        TrainingInterrupted: a signal arrived; carries the result.
        NonFiniteError: a loss or a weight is NaN or infinite; no model is written.
        CheckpointError: the checkpoint belongs to another agent, or the final model could not be written.
        WorkerError: an environment's process died; a checkpoint was written first.
        DeviceError: the device is "cuda" and there is none.
        DeviceLostError: the GPU failed for as long as this process lives; a new one can go on from the last checkpoint.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(torch_threads(None))  # `_start` says how many, and they are for this training alone
        stack.enter_context(freed_memory_kept())
        stack.enter_context(keep_awake(config.train.keep_awake))
        request = stack.enter_context(StopRequest())
        logger = Logger(folder=None, output_formats=list(writers))
        on_record = 0 if recorded is None else recorded.episodes
        run = _start(config, env, directory, device or config.train.device, resume, logger, on_record)
        run.before_checkpoint, run.on_checkpoint = before_checkpoint, on_checkpoint
        stack.callback(_release, run.model)
        if not run.exact:
            _adopt_record(run.tally, episode_indices, recorded)
        if validation is not None and config.train.validation is not None:
            if not run.exact:
                validation.adopt_record(run.tally)
            settings = config.train.validation
            run.validator = Validator(config, settings, run.model, run.tally, validation, request, run.require_finite_weights)
        reached = run.learn(total_steps, request, on_episode, until)
        return run.finish(time.perf_counter() - started, interrupted=not reached)


@dataclass
class _Run:
    """One call of `train`.

    Attributes:
        validations_kept: how many validations `checkpoint` knows of.
        exact: what it plays is what an uninterrupted training of this configuration plays, from its first episode on.
        between_rollouts: the state of the model is complete.
        beginning: of the present rollout, if it may have to be gone back to.
    """

    config: Config
    directory: Path
    model: BaseAlgorithm
    tally: Tally
    exact: bool
    refill: bool = False
    checkpoint: Checkpoint | None = None
    validations_kept: int = 0
    validator: Validator | None = None
    before_checkpoint: Callable[[], None] | None = None
    on_checkpoint: Callable[[Checkpoint], None] | None = None
    between_rollouts: bool = True
    beginning: tuple[dict[str, Any], Moment] | None = None

    def learn(
        self,
        total_steps: int,
        request: StopRequest,
        on_episode: Callable[[PlayedEpisode], None],
        until: Callable[[Progress], bool] | None,
    ) -> bool:
        """Learn until an end; returns False when that was a signal."""
        if self.model.num_timesteps < total_steps:
            self._learn(total_steps, request, on_episode, until)
        else:
            say(f"nothing left to train: the checkpoint has {self.model.num_timesteps:,} of {total_steps:,} steps")
        if self.validator is not None and not request.requested:
            self.validator.at_end()
        return not request.requested

    def _learn(
        self,
        total_steps: int,
        request: StopRequest,
        on_episode: Callable[[PlayedEpisode], None],
        until: Callable[[Progress], bool] | None,
    ) -> None:
        guard = FiniteGuard(lambda: self.checkpoint.path if self.checkpoint else None)
        settings = self.config.train
        bar = ProgressBar(total_steps) if settings.progress_bar else None
        statistics = Statistics(self.tally, settings.statistics_every, total_steps, settings.statistics_seconds, bar)
        stop = StopWhenAsked(request, until, self.tally, self.save_checkpoint)
        callbacks: list[BaseCallback] = [
            EpisodeSink(self.tally, on_episode),
            statistics,
            guard,
            *([] if self.validator is None else [RolloutStart(self.validator.when_due)]),
            PeriodicCheckpoint(self.config.train.checkpoint_every, self.save_checkpoint, self.config.train.milestones),
            stop,
        ]
        callbacks += [] if isinstance(self.model, OffPolicyAlgorithm) else [RolloutStart(self._note_beginning)]
        callbacks += [RefillFirst()] if self.refill else []
        callbacks += [bar] if bar else []
        try:
            # The library adds its counter to the number it is given.
            left = total_steps - self.model.num_timesteps
            self.model.learn(left, CallbackList(callbacks), log_interval=sys.maxsize, reset_num_timesteps=False)
        except StopLearning:
            pass
        except ValueError as error:
            self._explain(error)
            raise
        except _WORKER_FAILURES as error:
            self._survive(error, request)
        except RuntimeError as error:
            if is_device_lost(error):
                raise self._device_lost(error) from error
            raise
        finally:
            if bar:
                bar.close()
        if isinstance(self.model, DefersLosses):
            self.model.read_losses()
        guard.check_losses()
        if not request.requested:  # else the steps since the last ones are part of what goes on later
            statistics.dump()
        if stop.gave_up:
            self._leave_rollout(request)

    def _note_beginning(self) -> None:
        moment = take(self.model)
        self.beginning = None if moment is None else (counters(self.model, self.tally), moment)

    def _leave_rollout(self, request: StopRequest) -> None:
        """A rollout was given up. On a signal: go back to its beginning, from which a training can go on exactly."""
        if self.beginning is None or not request.requested:
            self.between_rollouts = False
            return
        values, moment = self.beginning
        # Nothing was learned since: weights and optimiser are those of its beginning.
        self.tally = set_counters(self.model, values)
        put_back(self.model, moment)

    def _explain(self, error: ValueError) -> None:
        """In the middle of PPO's epochs torch refuses NaN itself, with a page of numbers and no step: say it as elsewhere."""
        if "found invalid values" in str(error):
            last = self.checkpoint.path if self.checkpoint else None
            raise NonFiniteError(self.model.num_timesteps, "the policy's output", math.nan, last) from None

    def _device_lost(self, error: RuntimeError) -> DeviceLostError:
        """No checkpoint of this moment is possible: the weights are on the device."""
        kept = f"the last checkpoint is {self.checkpoint.path}" if self.checkpoint else "there is no checkpoint yet"
        fault = str(error).partition("\n")[0]
        return DeviceLostError(
            f"the device failed at step {self.model.num_timesteps} ({fault}) and stays unusable for this process; {kept}. "
            "Give the command again: a new process goes on from there"
        )

    def _survive(self, error: Exception, request: StopRequest) -> None:
        """An environment's process died. In an interruption: go on to its checkpoint. Else keep what was learned and raise."""
        if request.wait(_SIGNAL_GRACE_SECONDS):
            self.between_rollouts = False
            return
        self.between_rollouts = False
        self.save_checkpoint()
        raise error

    def require_finite_weights(self) -> None:
        """Raises NonFiniteError when a weight is NaN or infinite."""
        require_finite_weights(self.model, self.checkpoint.path if self.checkpoint else None)

    def save_checkpoint(self) -> None:
        """Write a checkpoint; when that is impossible, say so and go on: the one before is still whole."""
        steps, validations = self.model.num_timesteps, len(self.tally.validation.history)
        if self.checkpoint is not None and (self.checkpoint.steps, self.validations_kept) == (steps, validations):
            return
        # Looked at here and not after each update, which would cost the DQN family a hundredth of its time.
        self.require_finite_weights()
        if self.before_checkpoint is not None:
            self.before_checkpoint()
        try:
            self.checkpoint = save_checkpoint(
                self.directory, self.config, self.model, self.tally, between_rollouts=self.between_rollouts
            )
        except CheckpointError as error:
            _log.warning("no checkpoint at step %d, training goes on: %s", self.model.num_timesteps, error)
            return
        self.validations_kept = validations
        if self.on_checkpoint is not None:
            self.on_checkpoint(self.checkpoint)

    def finish(self, seconds: float, *, interrupted: bool) -> TrainingResult:
        """The last checkpoint, the final model, the result."""
        self.save_checkpoint()
        model_path = None if interrupted else save_model(self.directory, self.config, self.model)
        result = TrainingResult(
            steps=self.model.num_timesteps,
            frames=self.tally.frames,
            episodes=self.tally.episodes,
            reward_sum=self.tally.reward_sum,
            seconds=seconds,
            model_path=model_path,
            checkpoint=self.checkpoint,
            interrupted=interrupted,
            validations=tuple(self.tally.validation.history),
            validated=Recorded(self.tally.validation.episodes, self.tally.validation.reward_sum),
            best=best_checkpoint(self.directory, self.tally.validation.history),
        )
        if interrupted:
            raise TrainingInterrupted(result)
        return result


def _start(
    config: Config,
    env: VecEnv,
    directory: Path,
    device: str,
    resume: bool,
    logger: Logger,
    on_record: int,
) -> _Run:
    folder = checkpoints_folder(directory)
    remove_incomplete(folder)
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
        thread_choice.forget(directory)
        forget(directory)
    checkpoint = latest_checkpoint(directory)
    thread_choice.settle(config, env, directory, resolve_device(device), checkpoint)
    if checkpoint is None:
        model = build(config, env, device=device)
        exact = resume and _begins_exactly(directory, model, on_record > 0)
        if resume and on_record and not exact:
            model = build(config, env, device=device, seed=seed_of(config.seed, Stream.CONTINUATION, 0, on_record))
        model.set_logger(logger)
        return _Run(config, directory, model, Tally(), exact=exact)
    # Another seed than any attempt before, for one that does not go on exactly: the same one would play the same episodes, and
    # they would be on record twice.
    seed = seed_of(config.seed, Stream.CONTINUATION, checkpoint.steps, on_record)
    model = build(config, env, device=device, seed=seed)
    model.set_logger(logger)
    restored = restore(checkpoint, config, model, inexact_before(directory, checkpoint.steps))
    if restored.inexact is not None:
        note_inexact(directory, checkpoint.steps, restored.inexact)
    going_on = f"going on from {checkpoint.path} at step {checkpoint.steps:,}"
    if restored.inexact is None:
        say(f"{going_on}, exactly as without an interruption")
    else:
        say(f"{going_on}, with new games and other random numbers: {restored.inexact}")
    kept = len(restored.tally.validation.history)
    return _Run(config, directory, model, restored.tally, restored.inexact is None, restored.refill, checkpoint, kept)


def _begins_exactly(directory: Path, model: BaseAlgorithm, on_record: bool) -> bool:
    """Whether a training without a checkpoint plays what it has on record once more, because it was killed before its first."""
    if obstacle(model) is not None:
        return False
    reason = differs_from_beginning(directory, surroundings(model), recorded=on_record) or inexact_before(directory, 0)
    if reason is None:
        return True
    note_inexact(directory, 0, reason)
    say(f"beginning again at step 0, beside what is on record: {reason}")
    return False


def _adopt_record(tally: Tally, episode_indices: Mapping[int, int] | None, recorded: Recorded | None) -> None:
    if episode_indices is not None:
        tally.next_index = dict(episode_indices)
    if recorded is not None:
        tally.episodes, tally.reward_sum = recorded.episodes, recorded.reward_sum


def _release(model: BaseAlgorithm) -> None:
    """Let go of what is large, whoever still holds `model`: a retry in the same process needs the memory.

    An exception that is kept (Prefect keeps them) holds the frames it passed through, and with them the model.
    """
    model.env = None
    model._last_obs = None
    if isinstance(model, OffPolicyAlgorithm):
        model.replay_buffer = None
    for name in ("policy", "rollout_buffer", "q_net", "q_net_target", "quantile_net", "quantile_net_target"):
        model.__dict__.pop(name, None)
    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # a lost device answers this too with its error, which is on its way already
            torch.cuda.empty_cache()
