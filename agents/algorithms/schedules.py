"""Values that change while training goes on."""

from __future__ import annotations

from dataclasses import dataclass

from configs.schema import LinearSchedule, Rate


@dataclass(frozen=True)
class Linear:
    """A straight line from `start` at the beginning of the training to `end` at its end.

    Called with stable-baselines3's ``progress_remaining``, which falls from 1 to 0. A class, because closures cannot be
    pickled.
    """

    start: float
    end: float

    def __call__(self, progress_remaining: float) -> float:
        # The last rollout may pass the total, and progress_remaining fall below 0: a learning rate must not follow.
        remaining = min(max(progress_remaining, 0.0), 1.0)
        return self.end + (self.start - self.end) * remaining


def schedule(rate: Rate) -> float | Linear:
    """What stable-baselines3 takes: the number itself, or a callable of ``progress_remaining``."""
    return Linear(rate.start, rate.end) if isinstance(rate, LinearSchedule) else rate


def no_learning(_: float) -> float:
    """The learning-rate schedule of a policy that only plays."""
    return 0.0
