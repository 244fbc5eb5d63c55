"""DQN and QR-DQN that learn from prioritised replay: Schaul et al. 2016."""

from __future__ import annotations

import torch

from agents.prioritised_replay import PrioritisedReplayBuffer
from agents.transfer import Arriving
from agents.value_learning import DoubleDQN, DoubleQRDQN, SampledDQN, SampledQRDQN, ValueLearning


class _Prioritised(ValueLearning):
    """Algorithm 1 of the paper: weighted losses, and errors as priorities. To be inherited before an algorithm.

    The weights' exponent rises from the memory's `beta_start` to 1 at the end of the training.
    """

    def _update(self, batch_size: int) -> torch.Tensor:
        memory = self.replay_buffer
        assert isinstance(memory, PrioritisedReplayBuffer)
        beta = 1.0 - (1.0 - memory.beta_start) * max(self._current_progress_remaining, 0.0)
        drawn = memory.draw(batch_size, beta)
        losses, errors = self._losses(drawn.samples)
        # Sent for before the gradients are: a GPU computes those while the host draws the next batch.
        arriving = Arriving(errors)
        loss = self._descend((drawn.weights * losses).mean())
        memory.set_arriving_errors(drawn.places, arriving)
        return loss


class PrioritisedDQN(_Prioritised, SampledDQN):
    """Priorities are absolute temporal-difference errors."""


class PrioritisedDoubleDQN(_Prioritised, DoubleDQN):
    """The paper's own combination."""


class PrioritisedQRDQN(_Prioritised, SampledQRDQN):
    """Priorities are losses, as Hessel et al. 2018 (Rainbow) have it for distributions."""


class PrioritisedDoubleQRDQN(_Prioritised, DoubleQRDQN):
    """Priorities are losses, the network itself chooses the next action."""
