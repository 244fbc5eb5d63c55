"""The interval of a paired difference: published examples, and the ends of its range."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from episodes.paired import PairedDifference, paired_difference


def compared(both: int, only_first: int, only_second: int, neither: int) -> PairedDifference:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return paired_difference(first, second)


@pytest.mark.parametrize(
    ("counts", "difference", "low", "high"),
    [
        # Newcombe 1998, table II, method 10.
        ((36, 12, 2, 0), 0.2, 0.0569, 0.3404),
        # Fagerland, Lydersen and Laake 2014, "Recommended tests and confidence intervals for paired binomial proportions":
        # airway hyper-responsiveness before and after transplantation.
        ((1, 1, 7, 12), -0.286, -0.507, -0.026),
    ],
)
def test_published_examples(counts: tuple[int, int, int, int], difference: float, low: float, high: float) -> None:
    found = compared(*counts)
    assert (found.pairs, found.only_first, found.only_second) == (sum(counts), counts[1], counts[2])
    digits = 4 if low == 0.0569 else 3
    assert [round(value, digits) for value in (found.difference, found.interval.low, found.interval.high)] == [
        difference,
        low,
        high,
    ]


def test_exchanging_the_agents_turns_the_interval_round() -> None:
    for counts in itertools.product((0, 3, 40), repeat=4):
        if sum(counts) == 0:
            continue
        one, other = compared(*counts), compared(counts[0], counts[2], counts[1], counts[3])
        assert one.difference == -other.difference
        assert one.interval.low == pytest.approx(-other.interval.high)
        assert -1 <= one.interval.low <= one.difference <= one.interval.high <= 1


@pytest.mark.parametrize(
    ("counts", "better"),
    [((100, 0, 0, 0), False), ((0, 0, 0, 100), False), ((95, 5, 0, 0), True), ((97, 2, 1, 0), False), ((0, 100, 0, 0), True)],
)
def test_better_is_shown_only_by_an_interval_above_zero(counts: tuple[int, int, int, int], better: bool) -> None:
    assert compared(*counts).shows_better is better


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    # Agents with rates of 0.97 and 0.92 that fail together half as often as the worse one fails.
    outcomes = generator.choice(4, size=(2_000, 100), p=[0.895, 0.075, 0.025, 0.005])
    covered = 0
    for row in outcomes:
        interval = compared(*np.bincount(row, minlength=4).tolist()).interval
        covered += interval.low <= 0.05 <= interval.high
    assert 0.93 < covered / len(outcomes) < 0.985


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False])])
def test_lists_that_are_no_pairs_are_refused(first: Sequence[bool], second: Sequence[bool]) -> None:
    with pytest.raises(ValueError, match=r"argument|trial"):
        paired_difference(first, second)
