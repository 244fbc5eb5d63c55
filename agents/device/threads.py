"""How many threads torch uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from mario_env.processors import usable_processors

# A second thread must bring more than chance does: it takes a core from everything else.
_LEAST_GAIN = 0.9


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads within the block; None leaves what it has chosen itself."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def candidates() -> list[int]:
    """The numbers to choose from, rising: powers of two, and as many as torch would take of the cores this process may use."""
    most = max(1, min(torch.get_num_threads(), usable_processors()))
    return sorted({1 << power for power in range(most.bit_length())} | {most})


def best_of(seconds: Mapping[int, float]) -> int:
    """Of the times by number of threads the quickest, but more threads only where they are a tenth quicker."""
    chosen = min(seconds)
    for count in sorted(seconds):
        if seconds[count] < _LEAST_GAIN * seconds[chosen]:
            chosen = count
    return chosen


def measure(work: Callable[[], float], counts: Sequence[int], budget: float) -> dict[int, float]:
    """Mean seconds of `work`, as it returns them, by number of threads.

    The numbers take turns, so that other load on the machine meets them all alike. Takes `budget` seconds, or two turns where
    those take longer. Afterwards torch has as many threads as before.
    """
    seconds, turns = dict.fromkeys(counts, 0.0), 0
    with torch_threads(None):
        for count in counts:
            torch.set_num_threads(count)
            work()  # the first call allocates everything
        started = time.perf_counter()
        while turns < 2 or time.perf_counter() - started < budget:
            for count in counts:
                torch.set_num_threads(count)
                seconds[count] += work()
            turns += 1
    return {count: total / turns for count, total in seconds.items()}
