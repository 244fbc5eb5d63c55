"""Callbacks of a training, one concern a class."""

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
    """Count frames and episodes, and pass each ended episode on."""

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
    """Call `save` every `every` decisions and at `milestones`, between an update and the next rollout."""

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
    """Call `action` at the start of each rollout, where the state is complete."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__()
        self._action = action

    def _on_rollout_start(self) -> None:
        self._action()

    def _on_step(self) -> bool:
        return True


class StopWhenAsked(BaseCallback):
    """End the training on a signal, or when the caller has seen enough.

    The DQN family goes on to the end of its rollout (a few steps) and the update after it. A rollout of PPO takes minutes, so
    it is given up at once.

    Args:
        save: writes a checkpoint; called between two rollouts.

    Attributes:
        gave_up: the training ended in the middle of a rollout.
    """

    def __init__(
        self, request: StopRequest, until: Callable[[Progress], bool] | None, counters: Counters, save: Callable[[], None]
    ) -> None:
        super().__init__()
        self._request = request
        self._until = until
        self._counters = counters
        self._save = save
        self._asked = False
        self.gave_up = False

    def _on_step(self) -> bool:
        self._asked = self._asked or self._request.requested or (self._until is not None and self._until(self._progress()))
        self.gave_up = self._asked and not isinstance(self.model, OffPolicyAlgorithm)
        return not self.gave_up

    def _on_rollout_start(self) -> None:
        if self._asked or self._request.requested:
            self._save()
            raise StopLearning

    def _progress(self) -> Progress:
        return progress_of(self.model.num_timesteps, self.model._n_updates, self._counters)


class FiniteGuard(BaseCallback):
    """Stop after an update whose loss is NaN or infinite. Weights are checked before each checkpoint."""

    def __init__(self, last_checkpoint: Callable[[], Path | None]) -> None:
        super().__init__()
        self._last_checkpoint = last_checkpoint

    def _on_rollout_start(self) -> None:
        self.check_losses()
        if not isinstance(self.model, OffPolicyAlgorithm):
            # PPO: once a rollout, before torch refuses to sample from NaN. The DQN family updates too often for that; its next
            # loss shows it.
            require_finite_weights(self.model, self._last_checkpoint())

    def _on_step(self) -> bool:
        return True

    def check_losses(self) -> None:
        """Raises NonFiniteError when a loss of the last update is NaN or infinite."""
        for name, value in self.logger.name_to_value.items():
            if name.endswith("loss") and not math.isfinite(value):
                raise NonFiniteError(self.model.num_timesteps, name, float(value), self._last_checkpoint())


class RefillFirst(BaseCallback):
    """After a resumption without its replay buffer: collect `learning_starts` transitions with the policy before updating.

    With a higher `learning_starts` the library would act at random until then.
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
    """Raises NonFiniteError when a weight is NaN or infinite."""
    for name, weights in model.policy.state_dict().items():
        finite = weights.isfinite()
        if not bool(finite.all()):
            raise NonFiniteError(model.num_timesteps, f"weight {name}", float(weights[~finite][0]), last_checkpoint)


def exploration_rates(model: BaseAlgorithm) -> list[float]:
    """For each environment the probability that it begins to explore now."""
    assert isinstance(model, AlgorithmBase)
    return model.exploration_rates()


def progress_of(steps: int, updates: int, counters: Counters) -> Progress:
    """The counters as a caller sees them."""
    return Progress(steps, counters.frames, counters.episodes, counters.reward_sum, updates)
