"""What happens beside learning, one concern a class."""

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

from agents.deferred_losses import DefersLosses
from agents.errors import NonFiniteError
from agents.exploration import Explores
from agents.interruption import StopRequest
from agents.progress import PlayedEpisode, Progress, Tally

_log = logging.getLogger(__name__)


class StopLearning(Exception):  # noqa: N818 (not an error: it unwinds the library's loop between two rollouts)
    """Ends `learn` between an update and the next rollout, where the algorithm's state is complete."""


class EpisodeSink(BaseCallback):
    """Count frames and episodes, and hand each ended episode over."""

    def __init__(self, tally: Tally, on_episode: Callable[[PlayedEpisode], None]) -> None:
        super().__init__()
        self._tally = tally
        self._on_episode = on_episode

    def _on_step(self) -> bool:
        for env_index, (info, done) in enumerate(zip(self.locals["infos"], self.locals["dones"], strict=True)):
            self._tally.frames += int(info["frames"])
            if done:
                self._hand_over(env_index, info)
        return True

    def _hand_over(self, env_index: int, info: dict[str, Any]) -> None:
        summary = info["episode_summary"]
        episode_index = self._tally.add(summary, env_index)
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
    """Call `save` every so many decisions and at `milestones`, between an update and the next rollout."""

    def __init__(self, every: int, save: Callable[[], None], milestones: Sequence[int] = ()) -> None:
        super().__init__()
        self._every = every
        self._milestones = milestones
        self._save = save
        self._due = every

    def _on_training_start(self) -> None:
        steps = self.model.num_timesteps
        ahead = [milestone for milestone in self._milestones if milestone > steps]
        self._due = min([(steps // self._every + 1) * self._every, *ahead])

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps >= self._due:
            self._on_training_start()
            self._save()

    def _on_step(self) -> bool:
        return True


class RolloutStart(BaseCallback):
    """Call `note` at the start of each rollout, where the state is complete."""

    def __init__(self, note: Callable[[], None]) -> None:
        super().__init__()
        self._note = note

    def _on_rollout_start(self) -> None:
        self._note()

    def _on_step(self) -> bool:
        return True


class StopWhenAsked(BaseCallback):
    """End the training on a signal, or when the caller has seen enough.

    The DQN family goes on to the end of its rollout (a few steps) and the update after it. A rollout of PPO takes minutes, so
    it is given up at once.

    Args:
        save: writes a checkpoint; called between two rollouts. An update that `train.overlap` has put off is done later.

    Attributes:
        gave_up: it was in the midst of a rollout that the training ended.
    """

    def __init__(
        self, request: StopRequest, until: Callable[[Progress], bool] | None, tally: Tally, save: Callable[[], None]
    ) -> None:
        super().__init__()
        self._request = request
        self._until = until
        self._tally = tally
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
        return progress_of(self.model.num_timesteps, self.model._n_updates, self._tally)


class FiniteGuard(BaseCallback):
    """Stop as soon as a loss is read that is NaN or infinite (`agents.deferred_losses` says when); weights are looked at before
    each checkpoint."""

    def __init__(self, last_checkpoint: Callable[[], Path | None]) -> None:
        super().__init__()
        self._last_checkpoint = last_checkpoint

    def _on_rollout_start(self) -> None:
        self.check_losses()
        if not isinstance(self.model, OffPolicyAlgorithm):
            # PPO: once a rollout, before torch refuses to sample from NaN. The DQN family updates too often to look each time;
            # its next loss shows it.
            require_finite_weights(self.model, self._last_checkpoint())

    def _on_step(self) -> bool:
        return True

    def check_losses(self) -> None:
        """Raises NonFiniteError when the last loss that was read is none."""
        values = dict(self.logger.name_to_value)
        if isinstance(self.model, DefersLosses) and self.model.latest_loss is not None:
            values["train/loss"] = self.model.latest_loss  # may have been written, and so forgotten, since
        for name, value in values.items():
            if name.endswith("loss") and not math.isfinite(value):
                raise NonFiniteError(self.model.num_timesteps, name, float(value), self._last_checkpoint())


class RefillFirst(BaseCallback):
    """After a resumption without its replay buffer: collect `learning_starts` transitions with the policy before updating.

    Raising `learning_starts` itself would make the library act at random meanwhile.
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
    """Of each game, the probability that it begins to explore now: 1 before learning starts, 0 for PPO."""
    if not isinstance(model, Explores):
        return [0.0] * model.n_envs
    if model.num_timesteps <= model.learning_starts:
        return [1.0] * model.n_envs
    return [float(epsilon) for epsilon in model.epsilons()]


def progress_of(steps: int, updates: int, tally: Tally) -> Progress:
    """The counts as a caller sees them."""
    return Progress(steps, tally.frames, tally.episodes, tally.reward_sum, updates)
