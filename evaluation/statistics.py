"""Means with 95 % bootstrap intervals over episodes, paired across policies, and over training seeds.

Every statistic is a function of weights: `weights` float64 [B, E] gives each of E episodes its share in B
resamples. All policies of a comparison share one set of resamples, so ratios and differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Statistic = Callable[["Weights"], NDArray[np.float64]]

RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A point estimate with the ends of its 95 % interval, all in the unit of the measure."""

    mean: float
    low: float
    high: float


class Weights(NamedTuple):
    """Shares of episodes float64 [B, E] and of training seeds float64 [B, R]; each row sums to 1."""

    episodes: NDArray[np.float64]
    seeds: NDArray[np.float64]

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted means [B] of per-episode values [E], or of [R, E] where there are several training
        seeds.
        """
        if values.ndim == 1:
            return self.episodes @ values
        means: NDArray[np.float64] = np.einsum(
            "be,re,br->b", self.episodes, values, self.seeds, optimize=True
        )
        return means


class Bootstrap:
    """Resamples of E episodes and R training seeds (R = 1: seeds are not resampled).

    Intervals are bias-corrected and accelerated (BCa; Efron, JASA 1987) for one training seed; over
    several, episodes and seeds are resampled together and the interval is the percentile one.
    """

    def __init__(self, episodes: int, seeds: int = 1, resamples: int = RESAMPLES, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        shares = generator.multinomial(episodes, np.full(episodes, 1.0 / episodes), size=resamples) / episodes
        # episodes are drawn first, so that comparisons with and without training seeds share their resamples
        of_seeds = generator.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=resamples) / seeds
        self._drawn = Weights(shares, of_seeds)
        self._whole = Weights(np.full((1, episodes), 1.0 / episodes), np.full((1, seeds), 1.0 / seeds))
        left_out = (1.0 - np.eye(episodes)) / max(episodes - 1, 1)
        self._jackknife = Weights(left_out, np.full((episodes, seeds), 1.0 / seeds))
        self._accelerated = seeds == 1 and episodes > 2

    @property
    def episode_shares(self) -> NDArray[np.float64]:
        """Shares of the episodes in every resample, float64 [B, E]; each row sums to 1."""
        return self._drawn.episodes

    def interval(self, statistic: Statistic) -> Interval:
        """Estimate of `statistic` on all episodes, with its interval."""
        estimate = float(statistic(self._whole)[0])
        draws = np.sort(statistic(self._drawn))
        tail = 0.5 * (1.0 - LEVEL)
        ends = np.array([tail, 1.0 - tail])
        if self._accelerated:
            ends = _bca_ends(ends, estimate, draws, statistic(self._jackknife))
        low, high = np.quantile(draws, ends)
        return Interval(estimate, float(low), float(high))

    def mean(self, values: NDArray[np.float64]) -> Interval:
        """Interval of the mean of per-episode values [E] or [R, E]."""
        return self.interval(lambda weights: weights.mean(values))

    def ratio(self, above: NDArray[np.float64], below: NDArray[np.float64]) -> Interval:
        """Interval of mean(above) / mean(below), for sums per episode over counts per episode."""
        return self.interval(lambda weights: weights.mean(above) / weights.mean(below))

    def quantile(
        self, values: NDArray[np.float64], episode: NDArray[np.int64], level: float, resamples: int = 200
    ) -> Interval:
        """Percentile interval of a quantile of all `values` [V], where value v belongs to episode
        `episode[v]`.
        """
        order = np.argsort(values)
        sorted_values, owner = values[order], episode[order]

        def at(shares: NDArray[np.float64]) -> float:
            reached = np.cumsum(shares[owner])
            return float(sorted_values[min(np.searchsorted(reached, level * reached[-1]), len(values) - 1)])

        draws = [at(shares) for shares in self._drawn.episodes[:resamples]]
        low, high = np.quantile(draws, [0.5 * (1.0 - LEVEL), 0.5 * (1.0 + LEVEL)])
        return Interval(at(self._whole.episodes[0]), float(low), float(high))


def _bca_ends(
    ends: NDArray[np.float64], estimate: float, draws: NDArray[np.float64], jackknife: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Which quantiles of the draws are the ends of the BCa interval; `ends` themselves where nothing
    varies.
    """
    below = float(np.mean(draws < estimate) + 0.5 * np.mean(draws == estimate))
    spread = jackknife.mean() - jackknife
    scale = float(np.sum(spread**2)) ** 1.5
    if not 0.0 < below < 1.0 or scale <= 0.0 or not np.isfinite(scale):
        return ends
    bias, acceleration = float(ndtri(below)), float(np.sum(spread**3)) / (6.0 * scale)
    z = bias + ndtri(ends)
    shifted: NDArray[np.float64] = ndtr(bias + z / (1.0 - acceleration * z))
    return shifted
