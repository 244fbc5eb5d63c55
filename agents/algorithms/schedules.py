"""Schedules: hyperparameters that change during a training."""

from __future__ import annotations

from dataclasses import dataclass

from configs.agent import LinearSchedule, Rate


@dataclass(frozen=True)
class Linear:
    """A linear schedule from `start` at the beginning of the training to `end` at its end.

    It is called with stable-baselines3's ``progress_remaining``, which falls from 1 to 0. It is a class because closures
    cannot be pickled.
    """

    start: float
    end: float

    def __call__(self, progress_remaining: float) -> float:
        # The last rollout may exceed the total, and progress_remaining fall below 0; a learning rate must not.
        remaining = min(max(progress_remaining, 0.0), 1.0)
        return self.end + (self.start - self.end) * remaining


def schedule(rate: Rate) -> float | Linear:
    """`rate` as stable-baselines3 takes it: a number, or a callable of ``progress_remaining``."""
    return Linear(rate.start, rate.end) if isinstance(rate, LinearSchedule) else rate


def no_learning(_: float) -> float:
    """The learning-rate schedule of a policy that only plays."""
    return 0.0
