"""Updates of DQN and QR-DQN that the libraries do not have: theirs, with the steps that papers change made methods."""

from __future__ import annotations

import torch
from sb3_contrib import QRDQN
from stable_baselines3 import DQN
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch.nn import functional

from agents.deferred_losses import DefersLosses
from agents.exact_length import ExactOffPolicy


class ValueLearning(DefersLosses, OffPolicyAlgorithm):
    """One loop of updates for both algorithms; the same as the libraries' but for rounding, until something is overridden."""

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Update `gradient_steps` times from `batch_size` samples each."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses = [self._update(batch_size) for _ in range(gradient_steps)]
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.keep_losses(losses)

    def _update(self, batch_size: int) -> torch.Tensor:
        """One update; returns its loss, float32 (), which nobody has waited for."""
        assert self.replay_buffer is not None
        losses, _ = self._losses(self.replay_buffer.sample(batch_size))
        return self._descend(losses.mean())

    def _descend(self, loss: torch.Tensor) -> torch.Tensor:
        self.policy.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)  # type: ignore[attr-defined]
        self.policy.optimizer.step()
        return loss.detach()

    def _losses(self, samples: ReplayBufferSamples) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each sample, and how far off its value was; float32 (batch,) both."""
        raise NotImplementedError

    def _targets(self, samples: ReplayBufferSamples, values: torch.Tensor) -> torch.Tensor:
        """Rewards and the discounted `values` of the states reached: (batch, 1), or (batch, quantiles)."""
        discounts = self.gamma if samples.discounts is None else samples.discounts
        return samples.rewards + (1 - samples.dones) * discounts * values


class SampledDQN(ExactOffPolicy, ValueLearning, DQN):
    """Mnih et al. 2015, each sample with a loss of its own."""

    def _losses(self, samples: ReplayBufferSamples) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            values = self.q_net_target(samples.next_observations)
            chosen = self._choosing_values(samples.next_observations, values).argmax(dim=1, keepdim=True)
            targets = self._targets(samples, values.gather(1, chosen))
        current = self.q_net(samples.observations).gather(1, samples.actions.long())
        losses = functional.smooth_l1_loss(current, targets, reduction="none")
        return losses.squeeze(1), (targets - current.detach()).abs().squeeze(1)

    def _choosing_values(self, observations: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Values by which the next action is chosen, (batch, actions); `values` are the target network's."""
        return values


class DoubleDQN(SampledDQN):
    """van Hasselt et al. 2016: the network itself chooses the next action, the target network says what it is worth."""

    def _choosing_values(self, observations: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        chosen: torch.Tensor = self.q_net(observations)
        return chosen


class SampledQRDQN(ExactOffPolicy, ValueLearning, QRDQN):
    """Dabney et al. 2017, each sample with a loss of its own, which also says how far off its value was."""

    def _losses(self, samples: ReplayBufferSamples) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            quantiles = self.quantile_net_target(samples.next_observations)
            chosen = self._choosing_quantiles(samples.next_observations, quantiles).mean(dim=1).argmax(dim=1)
            targets = self._targets(samples, _of_actions(quantiles, chosen))
        current = _of_actions(self.quantile_net(samples.observations), samples.actions.long().squeeze(1))
        losses = _quantile_huber_losses(current, targets)
        return losses, losses.detach()

    def _choosing_quantiles(self, observations: torch.Tensor, quantiles: torch.Tensor) -> torch.Tensor:
        """Quantiles by whose mean the next action is chosen, (batch, quantiles, actions)."""
        return quantiles


class DoubleQRDQN(SampledQRDQN):
    """van Hasselt et al. 2016, for distributions: the network itself chooses the next action by its mean."""

    def _choosing_quantiles(self, observations: torch.Tensor, quantiles: torch.Tensor) -> torch.Tensor:
        chosen: torch.Tensor = self.quantile_net(observations)
        return chosen


def _of_actions(quantiles: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """From (batch, quantiles, actions) those of `actions`, int64 (batch,): (batch, quantiles)."""
    return quantiles.take_along_dim(actions[:, None, None], dim=2).squeeze(2)


def _quantile_huber_losses(current: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Equation 10 of Dabney et al. 2017 with kappa 1, (batch,): each of (batch, quantiles) against all targets."""
    quantiles = current.shape[1]
    middles = (torch.arange(quantiles, device=current.device, dtype=current.dtype) + 0.5) / quantiles
    errors = targets[:, None, :] - current[:, :, None]
    huber = functional.huber_loss(
        current[:, :, None].expand_as(errors), targets[:, None, :].expand_as(errors), reduction="none"
    )
    asymmetry = (middles[None, :, None] - (errors.detach() < 0).to(current.dtype)).abs()
    return (asymmetry * huber).sum(dim=1).mean(dim=1)
