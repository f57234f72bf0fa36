"""What real and generated series are compared by: quantiles, mean, autocorrelation, outage share and
dwell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dvfo_env.schema import Record

Series = Sequence[NDArray[np.floating]]


class SeriesStatistics(Record):
    """Figures of a set of rate series, pooled.

    Quantiles and mean in Mbit/s over all samples; `autocorrelation_step`, `_1s` and `_5s` are Pearson
    correlations between a sample and the one a step, 1 s or 5 s later in the same series;
    `outage_share` is the share of
    samples below the model's outage threshold, `outage_dwell_s` the mean length of such a stretch in s.
    """

    p5_mbps: float
    p25_mbps: float
    p50_mbps: float
    p75_mbps: float
    p95_mbps: float
    mean_mbps: float
    autocorrelation_step: float
    autocorrelation_1s: float
    autocorrelation_5s: float
    outage_share: float
    outage_dwell_s: float


def describe(series: Series, step_ms: float, outage_below_mbps: float) -> SeriesStatistics:
    """Figures of `series`, a list of [n] arrays in Mbit/s, all at `step_ms`."""
    pooled = np.concatenate([np.asarray(item, np.float64) for item in series])
    quantiles = np.percentile(pooled, [5, 25, 50, 75, 95])
    dwells = np.concatenate([dwell_lengths(item < outage_below_mbps) for item in series])
    return SeriesStatistics(
        p5_mbps=float(quantiles[0]),
        p25_mbps=float(quantiles[1]),
        p50_mbps=float(quantiles[2]),
        p75_mbps=float(quantiles[3]),
        p95_mbps=float(quantiles[4]),
        mean_mbps=float(pooled.mean()),
        autocorrelation_step=autocorrelation(series, 1),
        autocorrelation_1s=autocorrelation(series, max(1, round(1000.0 / step_ms))),
        autocorrelation_5s=autocorrelation(series, max(1, round(5000.0 / step_ms))),
        outage_share=float(np.mean(pooled < outage_below_mbps)),
        outage_dwell_s=float(dwells.mean()) * step_ms / 1000.0 if len(dwells) else 0.0,
    )


def autocorrelation(series: Series, lag: int) -> float:
    """Pearson correlation of samples `lag` steps apart within the same series, over all series; 0 if
    constant.
    """
    pairs = [(item[:-lag], item[lag:]) for item in series if len(item) > lag]
    if not pairs:
        return 0.0
    before = np.concatenate([pair[0] for pair in pairs]).astype(np.float64)
    after = np.concatenate([pair[1] for pair in pairs]).astype(np.float64)
    spread = before.std() * after.std()
    if spread == 0.0:
        return 0.0
    return float(((before - before.mean()) * (after - after.mean())).mean() / spread)


def dwell_lengths(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lengths in samples of every run of True in `flags` [n]."""
    padded = np.concatenate([[False], np.asarray(flags, bool), [False]]).astype(np.int8)
    change = np.flatnonzero(np.diff(padded))
    lengths: NDArray[np.int64] = (change[1::2] - change[::2]).astype(np.int64)
    return lengths
