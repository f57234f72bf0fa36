"""The compiled generator: from a chain's probabilities and uniform random numbers to rates and
round-trip times.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _pick(cumulative: Array, uniform: float) -> int:
    """Index of the first cumulative probability above `uniform` (the last one if rounding left none)."""
    low, high = 0, cumulative.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > uniform:
            high = middle
        else:
            low = middle + 1
    return low


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def sample_rates(
    uniforms: Array,
    level_cdf: Array,
    bin_cdf: Array,
    outage_entry: Array,
    level_after_outage_cdf: Array,
    bin_after_outage_cdf: Array,
    dwell_steps: Array,
    log_edges: Array,
    position_persistence: float,
) -> Array:
    """Walk the chain once for every row of `uniforms`.

    Args:
        uniforms: [n, 4] independent uniforms in [0, 1).
        level_cdf: [L, L] cumulative rows, slow level now -> next.
        bin_cdf: [L, K, K] cumulative rows, given the next level: bin now -> next.
        outage_entry: [L, K] chance per step to fall into an outage.
        level_after_outage_cdf: [L, L] cumulative rows, level before -> level after an outage.
        bin_after_outage_cdf: [L, K] cumulative rows, given the level after: first bin after an outage.
        dwell_steps: [Q] equally likely outage lengths in steps (fractions are rounded at random).
        log_edges: [K + 1] natural logarithms of the bin edges in Mbit/s.
        position_persistence: chance to keep the place inside the bin while the bin stays the same.

    Returns:
        [n] rates in Mbit/s; 0 during an outage.
    """
    steps = uniforms.shape[0]
    rates = np.zeros(steps)
    level, bin_now, position = bin_cdf.shape[0] // 2, bin_cdf.shape[1] // 2, 0.5
    dark = False
    remaining = 0
    for i in range(steps):
        u0, u1, u2, u3 = uniforms[i, 0], uniforms[i, 1], uniforms[i, 2], uniforms[i, 3]
        if dark and remaining > 0:
            remaining -= 1
            continue
        if dark:
            dark = False
            level = _pick(level_after_outage_cdf[level], u0)
            bin_now = _pick(bin_after_outage_cdf[level], u1)
            position = u3
        elif u0 < outage_entry[level, bin_now]:
            place = u1 * dwell_steps.shape[0]
            length = dwell_steps[int(place)]
            whole = math.floor(length)
            remaining = max(1, int(whole) + (1 if u2 < length - whole else 0)) - 1
            dark = True
            continue
        else:
            stay = outage_entry[level, bin_now]
            level = _pick(level_cdf[level], (u0 - stay) / (1.0 - stay))
            following = _pick(bin_cdf[level, bin_now], u1)
            if following != bin_now or u2 >= position_persistence:
                position = u3
            bin_now = following
        low = log_edges[bin_now]
        rates[i] = math.exp(low + position * (log_edges[bin_now + 1] - low))
    return rates


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def sample_round_trips(
    normals: Array, correlation: float, probabilities: Array, quantiles_ms: Array
) -> Array:
    """Round-trip times: an AR(1) normal score looked up in a quantile table.

    Args:
        normals: [n] independent standard normals.
        correlation: of the score from one step to the next, in [0, 1).
        probabilities: [m] increasing, from 0 to 1.
        quantiles_ms: [m] round-trip times at these probabilities, ms.

    Returns:
        [n] round-trip times in ms.
    """
    steps = normals.shape[0]
    times = np.empty(steps)
    innovation = math.sqrt(1.0 - correlation * correlation)
    score = 0.0
    for i in range(steps):
        score = normals[i] if i == 0 else correlation * score + innovation * normals[i]
        place = 0.5 * (1.0 + math.erf(score / math.sqrt(2.0)))
        index = 0
        while index < probabilities.shape[0] - 2 and probabilities[index + 1] <= place:
            index += 1
        span = probabilities[index + 1] - probabilities[index]
        share = (place - probabilities[index]) / span
        times[i] = quantiles_ms[index] + share * (quantiles_ms[index + 1] - quantiles_ms[index])
    return times
