"""Seeds of a learning algorithm: a stream for each of its users of randomness."""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from configs.seeds import Stream, seed_of, sequence


class SeedsApart(BaseAlgorithm):
    """Seeds NumPy, torch, the action space and the environments apart; to be inherited before an algorithm.

    stable-baselines3 gives all of them one number. NumPy's global generator and torch's are the same Mersenne twister, and with
    one number they give the same bits. Python's own generator is left alone, since nothing in a training draws from it.
    """

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed everything that draws, from `seed`; None leaves it as it is."""
        if seed is None:
            return
        np.random.seed(sequence(seed, Stream.NUMPY).generate_state(8))
        torch.manual_seed(seed_of(seed, Stream.TORCH, bits=63))
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.benchmark = False
        self.action_space.seed(seed_of(seed, Stream.ACTION_SAMPLES))
        if self.env is not None:
            # Environments of this project derive a seed for each game (`mario_env.stable_baselines`).
            self.env.seed(seed)
