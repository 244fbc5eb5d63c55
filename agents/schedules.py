"""Values that change while training goes on."""

from __future__ import annotations

from dataclasses import dataclass

from stable_baselines3.common.base_class import BaseAlgorithm

from configs.schema import LinearSchedule, Rate


@dataclass(frozen=True)
class Linear:
    """`start` at the beginning of the training, `end` at its end, a straight line between.

    Called with stable-baselines3's ``progress_remaining``, which falls from 1 to 0. A class: closures cannot be pickled.
    """

    start: float
    end: float

    def __call__(self, progress_remaining: float) -> float:
        # The last rollout may pass the total, and progress_remaining fall below 0: a learning rate must not follow.
        remaining = min(max(progress_remaining, 0.0), 1.0)
        return self.end + (self.start - self.end) * remaining


class Planned(BaseAlgorithm):
    """Runs schedules over the steps that a training was begun with; to be inherited before an algorithm.

    Where a training has been extended its schedules have ended: learning rate, exploration and the rest stay at their last
    values. A new plan over all steps would raise a learning rate that had fallen, and undo what it had settled.

    Attributes:
        planned_steps: where schedules end; None: at the training's end.
    """

    planned_steps: int | None = None

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        super()._update_current_progress_remaining(num_timesteps, self.planned_steps or total_timesteps)


def schedule(rate: Rate) -> float | Linear:
    """What stable-baselines3 takes: the number itself, or a callable of ``progress_remaining``."""
    return Linear(rate.start, rate.end) if isinstance(rate, LinearSchedule) else rate
