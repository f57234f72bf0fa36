"""Statistics over training seeds and scenarios, after Agarwal et al., "Deep Reinforcement Learning at the
Edge of the Statistical Precipice", NeurIPS 2021 (arXiv 2108.13264).

Scores are float64 [..., R, S]: R runs (training seeds; 1 where nothing is trained) on each of S scenarios.
Statistics reduce the last two axes, so that all resamples are computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dvfo_evaluation.statistics import LEVEL, Interval

Scores = NDArray[np.float64]


def interquartile_mean(scores: Scores) -> Scores:
    """Mean of the middle half of all runs on all scenarios: a quarter, rounded down, is cut at either end."""
    values = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = values.shape[-1] // 4
    return np.asarray(values[..., cut : values.shape[-1] - cut].mean(axis=-1))


def mean_score(scores: Scores) -> Scores:
    """Mean over runs and scenarios."""
    return np.asarray(scores.mean(axis=(-2, -1)))


def optimality_gap(scores: Scores, target: float = 1.0) -> Scores:
    """How far scores fall short of `target` on average; what lies above it does not make up for others."""
    return np.asarray(target - np.minimum(scores, target).mean(axis=(-2, -1)))


def performance_profile(scores: Scores, thresholds: NDArray[np.float64]) -> Scores:
    """Share of runs and scenarios with a score above each threshold, [..., T]."""
    return np.asarray((scores[..., None] > thresholds).mean(axis=(-3, -2)))


def probability_of_improvement(ours: Scores, theirs: Scores) -> Scores:
    """Probability that a run of ours scores higher than a run of theirs on a scenario drawn at random: the
    Mann-Whitney statistic of each scenario, ties counting half, averaged over scenarios.
    """
    pairs = ours[..., :, None, :] - theirs[..., None, :, :]
    won = (pairs > 0.0) + 0.5 * (pairs == 0.0)
    return np.asarray(won.mean(axis=(-3, -2, -1)))


def mean_share_saved(ratios: Sequence[float] | NDArray[np.float64]) -> float:
    """Share saved on average over scenarios, from the ratio ours / theirs (> 0) of each: 1 - geometric mean,
    the only mean of ratios that does not depend on who stands below the line (Fleming and Wallace, "How not
    to lie with statistics", CACM 29(3), 1986).
    """
    return 1.0 - float(np.exp(np.log(ratios).mean()))


def stratified_interval(
    statistic: Callable[..., Scores],
    points: Sequence[Scores],
    draws: Sequence[Scores] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Statistic of the scores `points` (one array [R, S] per contestant) with its percentile interval.

    Runs are drawn with replacement within each scenario, as the paper does. `draws` [B, R, S] per contestant
    are scores on B resamples of the episodes, the same ones for all: then the interval counts both that
    other seeds and that other episodes could have been drawn.
    """
    values = _resampled(statistic, points, draws, resamples, seed)
    low, high = np.quantile(values, [0.5 * (1.0 - LEVEL), 0.5 * (1.0 + LEVEL)])
    return Interval(float(statistic(*points)), float(low), float(high))


def profile_band(
    points: Scores, draws: Scores | None, thresholds: NDArray[np.float64], resamples: int = 2000
) -> NDArray[np.float64]:
    """Performance profile of one contestant with its pointwise 95 % band, [3, T]: share, low, high."""
    profile = partial(performance_profile, thresholds=thresholds)
    values = _resampled(profile, [points], None if draws is None else [draws], resamples, 0)
    ends = np.quantile(values, [0.5 * (1.0 - LEVEL), 0.5 * (1.0 + LEVEL)], axis=0)
    return np.vstack([profile(points), ends])


def _resampled(
    statistic: Callable[..., Scores],
    points: Sequence[Scores],
    draws: Sequence[Scores] | None,
    resamples: int,
    seed: int,
) -> Scores:
    generator = np.random.default_rng(seed)
    drawn = []
    for i, point in enumerate(points):
        given = np.broadcast_to(point, (resamples, *point.shape)) if draws is None else draws[i]
        picks = generator.integers(point.shape[0], size=given.shape)
        drawn.append(np.take_along_axis(given, picks, axis=1))
    return statistic(*drawn)
