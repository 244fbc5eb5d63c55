"""The number of threads that torch uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from mario_env.processors import usable_processors

# More threads take cores from everything else, so they must be faster by more than chance.
_LEAST_GAIN = 0.9


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads within the block; None changes nothing. Afterwards the previous number is restored."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def candidates() -> list[int]:
    """The numbers of threads to try, ascending.

    These are the powers of two up to torch's own number, limited to the usable cores, and that number itself.
    """
    most = max(1, min(torch.get_num_threads(), usable_processors()))
    return sorted({1 << power for power in range(most.bit_length())} | {most})


def best_of(seconds: Mapping[int, float]) -> int:
    """The best number of threads, from the time for each number. A larger number must be at least a tenth faster."""
    chosen = min(seconds)
    for count in sorted(seconds):
        if seconds[count] < _LEAST_GAIN * seconds[chosen]:
            chosen = count
    return chosen


def measure(work: Callable[[], float], counts: Sequence[int], budget: float) -> dict[int, float]:
    """Measure the mean time of `work`, in seconds, for each number of threads in `counts`.

    The numbers take turns, so that other load on the machine affects all alike. Afterwards torch has its previous number of
    threads.

    Args:
        work: does a piece of work and returns the seconds that it took.
        counts: the numbers of threads.
        budget: seconds to measure for; each number gets at least two turns.
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
