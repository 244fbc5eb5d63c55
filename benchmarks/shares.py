"""What a training spends its time on, and how fast its updates compute."""

import time
from collections.abc import Callable
from typing import Any, Final

from stable_baselines3.common.base_class import BaseAlgorithm

from benchmarks.learner import flops_of_a_sample

ACTING: Final = ("forward", "predict", "predict_values")
"""The methods of a policy that algorithms call while they collect transitions."""


class Shares:
    """A stopwatch on the methods of an algorithm, its policy and its environments.

    - acting: choosing actions, and values that are stored with them;
    - playing: `env.step`;
    - learning: `train`, sampling included;
    - recording: everything else: storing transitions, returns, callbacks, the library's loop.

    Attributes:
        seconds: for acting, playing and learning.
        total: the seconds of all four.
        steps: the environments' steps in that time.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self.seconds = dict.fromkeys(("acting", "playing", "learning"), 0.0)
        self.total, self.steps = 0.0, 0
        self._busy = False
        self._flops = flops_of_a_sample(model)
        owners: list[tuple[Any, str, str]] = [(model.policy, name, "acting") for name in ACTING]
        owners += [(model.env, "step", "playing"), (model, "train", "learning")]
        for owner, name, label in owners:
            if hasattr(owner, name):
                setattr(owner, name, self._timed(getattr(owner, name), label))

    def add(self, seconds: float, steps: int) -> None:
        """Count a period of the training."""
        self.total += seconds
        self.steps += steps

    def reset(self) -> None:
        """Forget what was measured so far."""
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        self.total, self.steps = 0.0, 0

    def row(self, samples_per_step: float, peak: float) -> dict[str, float]:
        """The four shares, GFLOP/s of learning, and their ratio to `peak`, which is in GFLOP/s."""
        shares = {name: seconds / self.total for name, seconds in self.seconds.items()}
        gflops = self._flops * samples_per_step * self.steps / self.seconds["learning"] / 1e9
        return {**shares, "recording": 1.0 - sum(shares.values()), "gflops": gflops, "of_peak": gflops / peak}

    def _timed(self, method: Callable[..., Any], label: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._busy:  # a call within a call that is timed
                return method(*arguments, **named)
            self._busy, started = True, time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                self.seconds[label] += time.perf_counter() - started
                self._busy = False

        return timed
