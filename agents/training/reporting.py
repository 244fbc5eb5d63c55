"""The output of a training: metrics, log lines with statistics, a progress bar."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from agents.announce import announce
from agents.checkpoints import starts_of
from agents.progress import Counters, LevelCounters
from agents.training.callbacks import exploration_rates
from mario_env.curriculum import Curriculum

# Metrics are written when `statistics_every` episodes have ended, within these limits. They are in steps, not seconds, so that
# two runs with the same seed write the same metrics.
_MIN_STEPS_BETWEEN_DUMPS = 1_000
_MAX_STEPS_BETWEEN_DUMPS = 10_000

_SECONDS_BETWEEN_PLAIN_LINES = 30.0

_MOST_LEVELS_SHOWN = 6

_SECONDS_OF_PACE, _SECONDS_BETWEEN_MARKS = 60.0, 1.0


class Pace:
    """Steps per second of wall-clock time, over the last minute of complete rollouts with their updates.

    Within a rollout a training is several times as fast as it is on average, so only complete rollouts are counted.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()

    def begin(self, steps: int) -> None:
        """Call this when the training starts, with its number of steps."""
        self._marks = deque([(self._clock(), steps)])

    def mark(self, steps: int) -> None:
        """Call this when a rollout starts, with the number of steps; the previous rollout and its update are complete."""
        now = self._clock()
        if now - self._marks[-1][0] >= _SECONDS_BETWEEN_MARKS:
            self._marks.append((now, steps))
        while len(self._marks) > 2 and self._marks[1][0] <= now - _SECONDS_OF_PACE:
            self._marks.popleft()

    def rate(self, steps: int) -> float:
        """Steps per second. Before the first complete rollout this is the mean since the start, up to `steps`."""
        (began, first), (ended, last) = self._marks[0], self._marks[-1]
        if len(self._marks) == 1:
            ended, last = self._clock(), steps
        return _rate(last - first, ended - began)


class Statistics(BaseCallback):
    """Writes metrics over the last 100 episodes, and shows statistics as log lines or beside the progress bar.

    stable-baselines3's own dump is off. It would write every fourth episode for one algorithm and every rollout for another.

    Args:
        every_episodes: the least number of episodes between two writes of metrics, and between two lines.
        total_steps: the total of the training, for the lines.
        every_seconds: the least number of seconds between two lines.
        bar: shows the statistics instead of the log, if it is a bar in a terminal.
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
        """Write all metrics with the current step, unless they have been written at this step already."""
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
        for level, counts in self._counters.levels.items():
            self.logger.record(f"level/{level}/completion_rate", counts.completion_rate)
            self.logger.record(f"level/{level}/distance_mean", counts.distance_mean)
            self.logger.record(f"level/{level}/episodes", counts.episodes)
        if (curriculum := _curriculum(self.model)) is not None:
            for name, value in curriculum.metrics().items():
                self.logger.record(name, value)

    def _show(self) -> None:
        steps, recent = self.model.num_timesteps, self._counters.recent
        completed = f"completed {sum(episode.completed for episode in recent)} of {len(recent)}"
        completed += f" ({_by_level(self._counters.levels)})" if self._counters.levels else ""
        if (curriculum := _curriculum(self.model)) is not None:
            completed += f", {curriculum.describe()}"
        if self._bar is not None and self._bar.in_terminal:
            self._bar.set_text(f"distance {fmean(episode.distance for episode in recent):.0f}, {completed}")
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
    """Shows steps, speed and time left: as a bar in a terminal, elsewhere (log file, worker) as a log line every 30 seconds."""

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
                smoothing=0,  # the mean speed: within a rollout it is several times as fast
            )

    @property
    def in_terminal(self) -> bool:
        """Whether a bar is shown in a terminal."""
        return self._bar is not None

    def set_text(self, text: str) -> None:
        """Show `text` beside the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def _on_step(self) -> bool:
        if self._bar is not None:
            self._bar.update(self.model.num_timesteps - self._bar.n)
        elif time.perf_counter() - self._line_time >= _SECONDS_BETWEEN_PLAIN_LINES:
            self._line_time = time.perf_counter()
            announce(self._line())
        return True

    def close(self) -> None:
        """Close the bar; may be called several times."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self) -> str:
        steps = self.model.num_timesteps
        rate = _rate(steps - self._first_steps, time.perf_counter() - self._first_time)
        left = tqdm.format_interval((self._total - steps) / rate) if rate > 0 else "unknown"
        return f"training: {steps:,} of {self._total:,} steps ({steps / self._total:.1%}), {rate:.0f} steps/s, {left} left"


def _curriculum(model: BaseAlgorithm) -> Curriculum | None:
    starts = starts_of(model)
    return None if starts is None else starts.curriculum


def _by_level(levels: Mapping[str, LevelCounters]) -> str:
    """The completion rates of the levels, such as "1-1 80%, 1-2 5%"; of many levels the lowest."""
    lowest = sorted(levels, key=lambda level: (levels[level].completion_rate, level))[:_MOST_LEVELS_SHOWN]
    shown = ", ".join(f"{level} {levels[level].completion_rate:.0%}" for level in sorted(lowest))
    return shown if len(levels) <= _MOST_LEVELS_SHOWN else f"lowest: {shown}"


def _rate(steps: int, seconds: float) -> float:
    return steps / seconds if seconds > 0 else 0.0
