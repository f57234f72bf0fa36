"""Medians with an interval that assumes no distribution, and how far what they measure drifts."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from scipy.special import stdtrit

#: Confidence of every interval here.
CONFIDENCE = 0.95

#: A run is looked at in so many stretches of consecutive values to see whether it drifted; in fewer where
#: there would not be three values in each, not at all below three.
STRETCHES = 6

_SHUFFLES = 100


@dataclass(frozen=True)
class Median:
    """A median and its 95 % interval; `low` and `high` are None where there are too few values for one."""

    value: float
    low: float | None
    high: float | None
    count: int

    @property
    def half_width(self) -> float | None:
        """Half of the interval's width; None where there is no interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2.0

    @property
    def half_width_percent(self) -> float | None:
        """Half of the interval's width over the median, in percent; None where there is no interval."""
        half_width = self.half_width
        return None if half_width is None or self.value <= 0.0 else 100.0 * half_width / self.value


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("median of nothing")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0


def median_interval(values: Sequence[float]) -> Median:
    """Median and its interval between two of the values themselves (the sign test's, order statistics).

    The chance that the true median lies below the k-th smallest of n independent values is the binomial
    P(X < k), X ~ B(n, 1/2); k is the largest with at most 2.5 % on either side. Six values are the fewest
    that give one. Values must be independent: give one for each visit, not one for each pass.
    """
    ordered = sorted(values)
    rank = _rank(len(ordered))
    if rank == 0:
        return Median(median(ordered), None, None, len(ordered))
    return Median(median(ordered), ordered[rank - 1], ordered[-rank], len(ordered))


@lru_cache(maxsize=4096)
def _rank(count: int) -> int:
    """Largest k with P(B(count, 1/2) < k) <= (1 - CONFIDENCE) / 2; 0 where there is none."""
    tail = 0.0
    for rank in range(count // 2 + 1):
        tail += math.comb(count, rank) * 0.5**count
        if tail > (1.0 - CONFIDENCE) / 2.0:
            return rank
    return count // 2


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie, linear between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def spread_percent(values: Sequence[float]) -> float:
    """From the 10th to the 90th percentile over the median, in percent: how repeatable something is."""
    middle = median(values)
    return 100.0 * (percentile(values, 0.9) - percentile(values, 0.1)) / middle if middle > 0.0 else 0.0


def noise(values: Sequence[float]) -> float | None:
    """By how much the median of these values, in order of time, may differ from that of a run just after.

    The root of two squares: half of the median's 95 % interval, and the drift. The interval takes values for
    independent; a machine whose speed wanders slowly moves many of them together, and the next run meets
    another stretch of that wandering, so that the drift is not divided by the root of anything. It is the
    component of variance between stretches of the run (one-way random-effects analysis of variance, on
    medians): the variance of the stretches' medians beyond what the same values give in random order, times
    Student's t of as many stretches. A drift much slower than the run is not seen.

    Returns:
        the half width, in the unit of the values; None where there are too few of them (9).
    """
    half_width = median_interval(values).half_width
    count = min(STRETCHES, len(values) // 3)
    if half_width is None or count < 3:
        return None
    shuffled = list(values)
    order = random.Random(0)
    by_chance = 0.0
    for _ in range(_SHUFFLES):
        order.shuffle(shuffled)
        by_chance += _variance_between(shuffled, count) / _SHUFFLES
    drift = math.sqrt(max(0.0, _variance_between(values, count) - by_chance))
    return math.hypot(half_width, float(stdtrit(count - 1, (1.0 + CONFIDENCE) / 2.0)) * drift)


def _variance_between(values: Sequence[float], count: int) -> float:
    """Variance of the medians of `count` consecutive stretches of nearly equal length."""
    ends = [round(len(values) * index / count) for index in range(count + 1)]
    medians = [median(values[begin:end]) for begin, end in pairwise(ends)]
    mean = sum(medians) / count
    return sum((value - mean) ** 2 for value in medians) / (count - 1)
