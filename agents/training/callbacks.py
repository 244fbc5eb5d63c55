"""Callbacks of a training, one class for each concern."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from agents.algorithms import AlgorithmBase
from agents.device import StopLearning, StopRequest
from agents.errors import NonFiniteError
from agents.progress import Counters, PlayedEpisode, Progress

_log = logging.getLogger(__name__)


class EpisodeSink(BaseCallback):
    """Counts frames and episodes, and passes each ended episode to `on_episode`."""

    def __init__(self, counters: Counters, on_episode: Callable[[PlayedEpisode], None]) -> None:
        super().__init__()
        self._counters = counters
        self._on_episode = on_episode

    def _on_step(self) -> bool:
        for env_index, (info, done) in enumerate(zip(self.locals["infos"], self.locals["dones"], strict=True)):
            self._counters.frames += int(info["frames"])
            if done:
                self._pass_on(env_index, info)
        return True

    def _pass_on(self, env_index: int, info: dict[str, Any]) -> None:
        summary = info["episode_summary"]
        episode_index = self._counters.add(summary, env_index)
        self._on_episode(
            PlayedEpisode(
                summary=summary,
                env_index=env_index,
                episode_index=episode_index,
                global_step=int(self.model.num_timesteps),
                exploration_rate=exploration_rates(self.model)[env_index],
                timestamp=datetime.now(UTC),
            )
        )


class PeriodicCheckpoint(BaseCallback):
    """Calls `save` every `every` decisions and at `milestones`, between an update and the next rollout."""

    def __init__(self, every: int, save: Callable[[], None], milestones: Sequence[int] = ()) -> None:
        super().__init__()
        self._every = every
        self._milestones = milestones
        self._save = save
        self._due = every

    def _on_training_start(self) -> None:
        steps = self.model.num_timesteps
        later = [milestone for milestone in self._milestones if milestone > steps]
        self._due = min([(steps // self._every + 1) * self._every, *later])

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps >= self._due:
            self._on_training_start()
            self._save()

    def _on_step(self) -> bool:
        return True


class RolloutStart(BaseCallback):
    """Calls `action` at the start of each rollout, when the state of the algorithm is complete."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__()
        self._action = action

    def _on_rollout_start(self) -> None:
        self._action()

    def _on_step(self) -> bool:
        return True


class StopWhenAsked(BaseCallback):
    """Ends the training on a signal, or when `until` returns True.

    The DQN family first completes its rollout (a few steps) and the update after it. A rollout of PPO takes minutes, so it is
    abandoned at once.

    Args:
        save: writes a checkpoint; called between two rollouts.

    Attributes:
        abandoned_rollout: whether the training ended in the middle of a rollout.
    """

    def __init__(
        self, request: StopRequest, until: Callable[[Progress], bool] | None, counters: Counters, save: Callable[[], None]
    ) -> None:
        super().__init__()
        self._request = request
        self._until = until
        self._counters = counters
        self._save = save
        self._stopping = False
        self.abandoned_rollout = False

    def _on_step(self) -> bool:
        self._stopping = (
            self._stopping or self._request.requested or (self._until is not None and self._until(self._progress()))
        )
        self.abandoned_rollout = self._stopping and not isinstance(self.model, OffPolicyAlgorithm)
        return not self.abandoned_rollout

    def _on_rollout_start(self) -> None:
        if self._stopping or self._request.requested:
            self._save()
            raise StopLearning

    def _progress(self) -> Progress:
        return progress_of(self.model.num_timesteps, self.model._n_updates, self._counters)


class FiniteGuard(BaseCallback):
    """Stops after an update whose loss is NaN or infinite. Weights are checked before each checkpoint."""

    def __init__(self, last_checkpoint: Callable[[], Path | None]) -> None:
        super().__init__()
        self._last_checkpoint = last_checkpoint

    def _on_rollout_start(self) -> None:
        self.check_losses()
        if not isinstance(self.model, OffPolicyAlgorithm):
            # PPO: once per rollout, before torch refuses to sample from NaN. The DQN family updates too often for this check;
            # its next loss reveals the fault.
            require_finite_weights(self.model, self._last_checkpoint())

    def _on_step(self) -> bool:
        return True

    def check_losses(self) -> None:
        """Raises NonFiniteError if a loss of the last update is NaN or infinite."""
        for name, value in self.logger.name_to_value.items():
            if name.endswith("loss") and not math.isfinite(value):
                raise NonFiniteError(self.model.num_timesteps, name, float(value), self._last_checkpoint())


class RefillFirst(BaseCallback):
    """After a resumption without the replay buffer: collects `learning_starts` transitions with the policy before updating.

    A higher `learning_starts` would not do: stable-baselines3 would act at random until then.
    """

    def _on_training_start(self) -> None:
        assert isinstance(self.model, OffPolicyAlgorithm)
        self._gradient_steps = self.model.gradient_steps
        self.model.gradient_steps = 0

    def _on_rollout_start(self) -> None:
        model = self.model
        assert isinstance(model, OffPolicyAlgorithm)
        assert model.replay_buffer is not None
        buffer = model.replay_buffer
        if model.gradient_steps == 0 and (buffer.full or buffer.size() * model.n_envs >= model.learning_starts):
            model.gradient_steps = self._gradient_steps

    def _on_step(self) -> bool:
        return True


def require_finite_weights(model: BaseAlgorithm, last_checkpoint: Path | None) -> None:
    """Raises NonFiniteError if a weight is NaN or infinite."""
    for name, weights in model.policy.state_dict().items():
        finite = weights.isfinite()
        if not bool(finite.all()):
            raise NonFiniteError(model.num_timesteps, f"weight {name}", float(weights[~finite][0]), last_checkpoint)


def exploration_rates(model: BaseAlgorithm) -> list[float]:
    """For each environment the probability that it begins to explore now."""
    assert isinstance(model, AlgorithmBase)
    return model.exploration_rates()


def progress_of(steps: int, updates: int, counters: Counters) -> Progress:
    """The progress as callers of `train` get it."""
    return Progress(steps, counters.frames, counters.episodes, counters.reward_sum, updates)
