"""The comparison of two agents that played the same episodes: equal seeds, so equal luck."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from episodes.statistics import Interval, wilson


@dataclass(frozen=True)
class PairedDifference:
    """How much more often the first agent completes an episode than the second, on the same episodes.

    Attributes:
        pairs: the number of episodes that both have played.
        first, second: how many of them each has completed.
        only_first, only_second: how many of them only one has completed.
        difference: of the completion rates, the first's minus the second's.
        interval: for the difference (Newcombe 1998).
    """

    pairs: int
    first: int
    second: int
    only_first: int
    only_second: int
    difference: float
    interval: Interval

    @property
    def shows_better(self) -> bool:
        """Whether the first agent is shown to be better: the whole interval lies above zero."""
        return self.interval.low > 0


def paired_difference(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> PairedDifference:
    """Compare the completions of the same episodes by two agents.

    The interval is the tenth method of Newcombe 1998 ("Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 17, 2635-2650): Wilson's intervals of both rates, squared and
    added, with a correction for their correlation. It is sensible at rates near 1, where a normal approximation or a bootstrap
    is not.

    Args:
        first: whether the first agent has completed each episode.
        second: the same for the second agent, in the same order.
        confidence: between 0 and 1.

    Raises:
        ValueError: there are no episodes, the numbers differ, or confidence is not between 0 and 1.
    """
    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    n = len(pairs)
    both, neither = pairs.count((True, True)), pairs.count((False, False))
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    wins, losses = both + only_first, both + only_second
    one, other = wilson(wins, n, confidence), wilson(losses, n, confidence)
    p, q = wins / n, losses / n
    correlation = _correlation(both, only_first, only_second, neither)
    difference = (only_first - only_second) / n
    below = _square_and_add(p - one.low, other.high - q, correlation)
    above = _square_and_add(one.high - p, q - other.low, correlation)
    interval = Interval(max(-1.0, difference - below), min(1.0, difference + above), confidence)
    return PairedDifference(n, wins, losses, only_first, only_second, difference, interval)


def _square_and_add(a: float, b: float, correlation: float) -> float:
    # Rounding may make it slightly negative where the correlation is 1.
    return sqrt(max(0.0, a * a - 2 * correlation * a * b + b * b))


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """The correlation of the completions, with Newcombe's correction for continuity if it is positive."""
    product = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if product == 0:
        return 0.0
    covariance: float = both * neither - only_first * only_second
    if covariance > 0:
        covariance = max(0.0, covariance - (both + only_first + only_second + neither) / 2)
    return covariance / sqrt(product)
