"""Intervals of shares and of paired drops, for independent images and for views of few photographs.

Independent images: Wilson's score interval for a share (Wilson, JASA 1927) and Agresti and Min's adjusted
Wald interval for a difference of paired shares (Statistics in Medicine 2005). Views of one photograph are no
independent images: there whole photographs are resampled (percentile cluster bootstrap, Field and Welsh,
JRSS B 2007). A bootstrap knows no spread where all photographs came out alike; then the interval is Wilson's,
with as many trials as there are photographs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 2000
_Z = 1.959963984540054  # the normal distribution's 97.5 % point

Bits = NDArray[np.bool_]


class Interval(NamedTuple):
    """An estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        """All three times a positive factor."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)


def wilson(hits: float, trials: int) -> Interval:
    """A share of independent trials with Wilson's score interval; trials at least 1."""
    share = hits / trials
    shrink = 1.0 + _Z**2 / trials
    centre = (share + _Z**2 / (2 * trials)) / shrink
    half = _Z * math.sqrt(share * (1.0 - share) / trials + _Z**2 / (4 * trials**2)) / shrink
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def paired_drop(lost: int, won: int, trials: int) -> Interval:
    """Drop of a share between two paired tests: `lost` trials were hits only before, `won` only after."""
    drop = (lost - won) / trials
    up, down, count = lost + 0.5, won + 0.5, trials + 2
    centre = (up - down) / count
    half = _Z * math.sqrt(max(up + down - (up - down) ** 2 / count, 0.0)) / count
    return Interval(drop, max(-1.0, min(drop, centre - half)), min(1.0, max(drop, centre + half)))


class Sample:
    """The images of a test set: independent ones, or clusters of views of one photograph.

    Args:
        clusters: [images] which photograph each comes from.
        seed: of the resamples; the same for every setting, so that settings are compared in the same worlds.
    """

    def __init__(self, clusters: NDArray[np.int64], seed: int = 0) -> None:
        names, self._cluster = np.unique(clusters, return_inverse=True)
        self.images, self.clusters = len(clusters), len(names)
        self.independent = self.clusters == self.images
        if not self.independent:
            generator = np.random.default_rng(seed)
            drawn = generator.multinomial(self.clusters, np.full(self.clusters, 1 / self.clusters), RESAMPLES)
            self._drawn = drawn.astype(np.float64)

    @property
    def method(self) -> str:
        """How the intervals were made, for a table's provenance."""
        if self.independent:
            return "shares: Wilson; paired drop: Agresti-Min; 95 %"
        return (
            f"95 % percentile bootstrap over {self.clusters} photographs, {RESAMPLES} resamples; "
            "Wilson over photographs where all came out alike"
        )

    def share(self, hits: Bits, among: Bits | None = None) -> Interval | None:
        """Share of `hits` [images], among some of the images or all; None where there is no image."""
        among = np.ones(self.images, dtype=bool) if among is None else among
        trials = int(among.sum())
        if not trials:
            return None
        if self.independent:
            return wilson(int((hits & among).sum()), trials)
        found = self._resampled((hits & among).astype(np.float64), among)
        if found.low < found.high:
            return Interval(*found[:3])
        return wilson(found.value * found.clusters, found.clusters)

    def drop(self, before: Bits, after: Bits, among: Bits | None = None) -> Interval | None:
        """Paired drop of the share of hits; positive where `after` hits less often. None without images."""
        among = np.ones(self.images, dtype=bool) if among is None else among
        trials = int(among.sum())
        if not trials:
            return None
        if self.independent:
            lost, won = int((before & ~after & among).sum()), int((~before & after & among).sum())
            return paired_drop(lost, won, trials)
        found = self._resampled((before.astype(np.float64) - after) * among, among)
        if found.low < found.high:
            return Interval(*found[:3])
        ends = wilson(abs(found.value) * found.clusters, found.clusters)
        if found.value == 0.0:
            return Interval(0.0, -ends.high, ends.high)  # a drop of 0 is uncertain to both sides
        low, high = (ends.low, ends.high) if found.value > 0 else (-ends.high, -ends.low)
        return Interval(found.value, low, high)

    def _resampled(self, values: NDArray[np.float64], among: Bits) -> _Resampled:
        """Mean of values [images] among some images; `low` equals `high` where all clusters are alike."""
        sums = np.bincount(self._cluster, values, self.clusters)
        counts = np.bincount(self._cluster, among.astype(np.float64), self.clusters)
        value = float(sums.sum() / counts.sum())
        present = counts > 0
        means = sums[present] / counts[present]
        if np.ptp(means) == 0.0:
            return _Resampled(value, value, value, int(present.sum()))
        weights = self._drawn[self._drawn @ counts > 0]
        draws = (weights @ sums) / (weights @ counts)
        low, high = np.quantile(draws, [0.5 * (1 - LEVEL), 0.5 * (1 + LEVEL)])
        return _Resampled(value, min(value, float(low)), max(value, float(high)), int(present.sum()))


class _Resampled(NamedTuple):
    """An interval, and how many clusters it rests on."""

    value: float
    low: float
    high: float
    clusters: int
