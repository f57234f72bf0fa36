"""Ranges of the quantisers: per channel and number of bits, those that reconstruct the calibration set best.

A range narrower than minimum to maximum clips rare values and gives all others finer steps. For a fixed
assignment of values to indices the best low end and step are a linear regression; assigning and fitting in
turn (Lloyd's algorithm with equidistant points) converges in a few rounds, from several shrunken ranges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Range = tuple[Floats, Floats]

#: How ranges are chosen; the first is used unless another is asked for.
METHODS = ("least-squares", "percentile", "min-max")

#: Bins of a channel's histogram: eight a step at 8 bits.
_BINS = 2048
#: Shares of the full range that the search starts from, and its rounds.
_STARTS, _ROUNDS = (1.0, 0.7, 0.45, 0.25), 8
#: A channel that spans less holds one value for all that matters here.
_NARROWEST = np.float32(1e-30)
#: The percentile method leaves out this share of the values, half at each end.
_OUTSIDE = 0.001


def clipping_range(rows: Floats, bits: int, method: str = METHODS[0]) -> Range:
    """Low and high end, float32 [C] each, for values float32 [C, M] quantised to `bits` bits.

    A channel with one value gets an empty range at it.
    """
    if method == "percentile":
        low, high = np.quantile(rows, (_OUTSIDE / 2, 1 - _OUTSIDE / 2), axis=1)
        return low.astype(np.float32), high.astype(np.float32)
    low, high = rows.min(axis=1), rows.max(axis=1)
    if method == "min-max":
        return low, high
    centres, counts = _histogram(rows, low, high)
    return _least_squares(centres, counts, 2**bits)


def _histogram(rows: Floats, low: Floats, high: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean value and number of values of each bin, [C, bins]."""
    channels = len(rows)
    span = np.maximum(high - low, _NARROWEST)
    scale = (_BINS - 1) / span
    flat = ((rows - low[:, None]) * scale[:, None]).astype(np.int64)
    np.clip(flat, 0, _BINS - 1, out=flat)
    flat += np.arange(channels)[:, None] * _BINS
    counts = np.bincount(flat.reshape(-1), minlength=channels * _BINS)
    sums = np.bincount(flat.reshape(-1), weights=rows.reshape(-1), minlength=channels * _BINS)
    shape = channels, _BINS
    return (sums / np.maximum(counts, 1)).reshape(shape), counts.astype(np.float64).reshape(shape)


def _least_squares(x: NDArray[np.float64], n: NDArray[np.float64], levels: int) -> Range:
    """The best equidistant points for bins of mean x and weight n, [C, bins] each."""
    used = n > 0
    least = np.where(used, x, np.inf).min(axis=1, keepdims=True)
    most = np.where(used, x, -np.inf).max(axis=1, keepdims=True)
    total = n.sum(axis=1, keepdims=True)
    mean = (n * x).sum(axis=1, keepdims=True) / total
    best_error = np.full_like(mean, np.inf)
    best_low, best_step = least.copy(), (most - least) / (levels - 1)
    for share in _STARTS:
        low = mean + share * (least - mean)
        step = share * (most - least) / (levels - 1)
        for _ in range(_ROUNDS):
            safe = np.where(step > 0, step, 1)
            q = np.clip(np.rint((x - low) / safe), 0, levels - 1)
            error = (n * (x - low - step * q) ** 2).sum(axis=1, keepdims=True)
            better = error < best_error
            best_error = np.where(better, error, best_error)
            best_low, best_step = np.where(better, low, best_low), np.where(better, step, best_step)
            nq = n * q
            sum_q, sum_qq, sum_qx = (part.sum(axis=1, keepdims=True) for part in (nq, nq * q, nq * x))
            spread = total * sum_qq - sum_q**2
            fits = spread > 0
            step = np.where(fits, (total * sum_qx - sum_q * total * mean) / np.where(fits, spread, 1), step)
            low = np.where(fits, mean - step * sum_q / total, low)
    low32 = best_low[:, 0].astype(np.float32)
    return low32, np.maximum(low32, (best_low + (levels - 1) * best_step)[:, 0].astype(np.float32))
