"""The output of a training: metrics, lines of statistics, a progress bar."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from statistics import fmean
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from agents.announce import announce
from agents.progress import Counters
from agents.training.callbacks import exploration_rates

# Metrics are written when `statistics_every` episodes have ended, but neither more often nor more seldom than this. Counted in
# steps, not seconds, so that two runs of one seed write the same.
_MIN_STEPS_BETWEEN_DUMPS = 1_000
_MAX_STEPS_BETWEEN_DUMPS = 10_000

_SECONDS_BETWEEN_PLAIN_LINES = 30.0

_SECONDS_OF_PACE, _SECONDS_BETWEEN_MARKS = 60.0, 1.0


class Pace:
    """Steps per second of the wall clock, over the last minute of whole rollouts with the updates behind them.

    Between two updates a training is several times as fast as it is on the whole, so that only whole rollouts count.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()

    def begin(self, steps: int) -> None:
        """The training begins, at so many steps."""
        self._marks = deque([(self._clock(), steps)])

    def mark(self, steps: int) -> None:
        """A rollout begins, at so many steps: the update behind the one before is done."""
        now = self._clock()
        if now - self._marks[-1][0] >= _SECONDS_BETWEEN_MARKS:
            self._marks.append((now, steps))
        while len(self._marks) > 2 and self._marks[1][0] <= now - _SECONDS_OF_PACE:
            self._marks.popleft()

    def rate(self, steps: int) -> float:
        """Steps per second, at so many steps; before a whole rollout is over, since the beginning."""
        (began, first), (ended, last) = self._marks[0], self._marks[-1]
        if len(self._marks) == 1:
            ended, last = self._clock(), steps
        return _rate(last - first, ended - began)


class Statistics(BaseCallback):
    """Metrics over the last 100 episodes, to the writers and, now and then, as a line in the log or behind the progress bar.

    stable-baselines3's own dump is off: it would come every fourth episode for one algorithm and every rollout for another.

    Args:
        every_episodes: metrics and lines are no more frequent.
        every_seconds: lines are no more frequent.
        bar: takes the statistics where it is a bar in a terminal.
    """

    def __init__(
        self,
        counters: Counters,
        every_episodes: int,
        total_steps: int,
        every_seconds: float = 0.0,
        bar: ProgressBar | None = None,
    ) -> None:
        super().__init__()
        self._counters = counters
        self._every = every_episodes
        self._every_seconds = every_seconds
        self._total = total_steps
        self._bar = bar
        self._pace = Pace()

    def _on_training_start(self) -> None:
        self._line_episodes, self._line_time = self._counters.episodes, time.perf_counter()
        self._pace.begin(self.model.num_timesteps)

    def _on_rollout_start(self) -> None:
        self._pace.mark(self.model.num_timesteps)

    def _on_step(self) -> bool:
        enough = self._counters.episodes - self._line_episodes >= self._every
        if enough and time.perf_counter() - self._line_time >= self._every_seconds:
            self._line_episodes, self._line_time = self._counters.episodes, time.perf_counter()
            self._show()
        since = self.model.num_timesteps - self._counters.written_steps
        enough = self._counters.episodes - self._counters.written_episodes >= self._every and since >= _MIN_STEPS_BETWEEN_DUMPS
        if enough or since >= _MAX_STEPS_BETWEEN_DUMPS:
            self.dump()
        return True

    def dump(self) -> None:
        """Write all metrics, stamped with the current step, unless that was done at this step."""
        steps = self.model.num_timesteps
        if steps == self._counters.written_steps:
            return
        self._counters.written_steps, self._counters.written_episodes = steps, self._counters.episodes
        self._record_window()
        for name, value in (
            ("train/episodes", self._counters.episodes),
            ("train/reward_sum", self._counters.reward_sum),
            ("train/frames", self._counters.frames),
            ("rollout/exploration_rate", fmean(exploration_rates(self.model))),
            ("time/steps_per_second", self._pace.rate(steps)),
            ("time/total_timesteps", steps),
        ):
            self.logger.record(name, value)
        self.logger.dump(step=steps)

    def _record_window(self) -> None:
        recent = self._counters.recent
        if not recent:
            return
        self.logger.record("rollout/ep_rew_mean", fmean(episode.reward for episode in recent))
        self.logger.record("rollout/ep_len_mean", fmean(episode.steps for episode in recent))
        self.logger.record("rollout/distance_mean", fmean(episode.distance for episode in recent))
        self.logger.record("rollout/distance_max", max(episode.distance for episode in recent))
        self.logger.record("rollout/completion_rate", fmean(episode.completed for episode in recent))
        for component in recent[-1].components:
            mean = fmean(episode.components.get(component, 0.0) for episode in recent)
            self.logger.record(f"rollout/reward_{component}", mean)

    def _show(self) -> None:
        steps, recent = self.model.num_timesteps, self._counters.recent
        completed = f"completed {sum(episode.completed for episode in recent)} of {len(recent)}"
        if self._bar is not None and self._bar.in_terminal:
            self._bar.tell(f"distance {fmean(episode.distance for episode in recent):.0f}, {completed}")
            return
        announce(
            f"step {steps:,} of {self._total:,} | episodes {self._counters.episodes:,} | "
            f"reward {fmean(episode.reward for episode in recent):.1f} | "
            f"distance {fmean(episode.distance for episode in recent):.0f} "
            f"(best {max(episode.distance for episode in recent)}) | "
            f"{completed} | "
            f"exploration {fmean(exploration_rates(self.model)):.3f} | {self._pace.rate(steps):.0f} steps/s"
        )


class ProgressBar(BaseCallback):
    """Steps, speed and time left: a bar in a terminal, elsewhere (a log file, a worker) a plain line now and then."""

    def __init__(self, total_steps: int) -> None:
        super().__init__()
        self._total = total_steps
        self._bar: tqdm[Any] | None = None

    def _on_training_start(self) -> None:
        self._first_steps, self._first_time = self.model.num_timesteps, time.perf_counter()
        self._line_time = self._first_time
        if sys.stderr.isatty():
            self._bar = tqdm(
                desc="training",
                total=self._total,
                initial=self._first_steps,
                unit=" steps",
                unit_scale=True,
                dynamic_ncols=True,
                smoothing=0,  # the mean: between two updates it is several times as fast
            )

    @property
    def in_terminal(self) -> bool:
        """Whether it is a bar in a terminal now."""
        return self._bar is not None

    def tell(self, words: str) -> None:
        """Show `words` behind the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(words, refresh=False)

    def _on_step(self) -> bool:
        if self._bar is not None:
            self._bar.update(self.model.num_timesteps - self._bar.n)
        elif time.perf_counter() - self._line_time >= _SECONDS_BETWEEN_PLAIN_LINES:
            self._line_time = time.perf_counter()
            announce(self._plain())
        return True

    def close(self) -> None:
        """Take the bar off the terminal's last line; may be called more than once."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _plain(self) -> str:
        steps = self.model.num_timesteps
        rate = _rate(steps - self._first_steps, time.perf_counter() - self._first_time)
        left = tqdm.format_interval((self._total - steps) / rate) if rate > 0 else "unknown"
        return f"training: {steps:,} of {self._total:,} steps ({steps / self._total:.1%}), {rate:.0f} steps/s, {left} left"


def _rate(steps: int, seconds: float) -> float:
    return steps / seconds if seconds > 0 else 0.0
