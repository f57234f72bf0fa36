"""Medians with an interval that assumes no distribution, and what two of them say about each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

#: Confidence of every interval here.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Median:
    """A median and its 95 % interval; `low` and `high` are None where there are too few values for one."""

    value: float
    low: float | None
    high: float | None
    count: int

    @property
    def half_width_percent(self) -> float | None:
        """Half of the interval's width over the median, in percent; None where there is no interval."""
        if self.low is None or self.high is None or self.value <= 0.0:
            return None
        return 50.0 * (self.high - self.low) / self.value


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


def visits_needed(present: Median, wanted_percent: float) -> int:
    """How many values an interval as wide as `wanted_percent` takes, widths falling as one over the root."""
    half_width = present.half_width_percent
    if half_width is None:
        return max(8, present.count + 1)
    return max(present.count, math.ceil(present.count * (half_width / wanted_percent) ** 2))
