"""Losses that stay on the device until someone looks: to read a number from a GPU is to wait for all it has been given to do.

On a CPU the losses of each call of `train` are read at its end. On a GPU they are read, all at once, when statistics are
written, and after `LOSSES_ON_A_GPU` updates if that is earlier; `train/loss` is then the mean since the last time. So one that
is no number stops a training on a CPU before the next rollout, on a GPU at most so many updates later. It is in no checkpoint
in either case, since weights are looked at before each.
"""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

LOSSES_ON_A_GPU = 256


def losses_kept(device: str) -> int:
    """Updates whose losses may be on `device` unread."""
    return LOSSES_ON_A_GPU if device.startswith("cuda") else 1


class DefersLosses(BaseAlgorithm):
    """To be inherited by an algorithm that can tell its losses as tensors.

    Attributes:
        losses_kept: updates after which they are read.
        latest_loss: the mean that was read last, None before there is one. The logger forgets it when it writes.
    """

    losses_kept = 1
    latest_loss: float | None = None
    _unread: tuple[torch.Tensor, ...] = ()

    def keep_losses(self, losses: list[torch.Tensor]) -> None:
        """Take one loss an update, float32 ()."""
        self._unread += tuple(loss.detach() for loss in losses)
        if len(self._unread) >= self.losses_kept:
            self.read_losses()

    def read_losses(self) -> None:
        """Record the mean of the losses that have not been read, if there are any."""
        if self._unread:
            values, self._unread = torch.stack(self._unread).tolist(), ()
            self.latest_loss = float(np.mean(values))
            self.logger.record("train/loss", self.latest_loss)
