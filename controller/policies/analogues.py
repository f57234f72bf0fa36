"""Belief by analogy: moments of the training bank at which a device had seen what this one sees now.

The K kept moments nearest to an observation are K equally likely presents. Shared by planners in training and
on a device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.cost_model import RATE
from dvfo_controller.policies.layout import Floats, Layout, Observations

_BIN_LOG2 = 0.5
_BINS_LOW, BINS = -2.0, 24  # rates of 1/4 Mbit/s and less share a bin: nothing of use gets through in time
_SILENCE_MS = 50.0


@dataclass(frozen=True)
class Metric:
    """How far apart two observations are: by log2 of the last rate, plus these shares of the other parts."""

    before: float = 0.3
    smooth: float = 0.3
    silence: float = 0.5
    timeouts: float = 0.5


def coordinates(layout: Layout, observations: Observations, metric: Metric) -> Floats:
    """Coordinates float64 [N, 5] of observations; those that have heard nothing lie on a far point."""
    silent = np.minimum(layout.age_ms(observations, "silence"), 1e9)
    return np.stack(
        [
            layout.log2(observations, "rate_last"),
            metric.before * layout.log2(observations, "rate_before"),
            metric.smooth * layout.log2(observations, "rate_smooth"),
            metric.silence * np.log2(1.0 + silent / _SILENCE_MS),
            metric.timeouts * 4.0 * layout.feature(observations, "timeouts"),
        ],
        axis=1,
    )


def bins_of(rates_log2: Floats) -> NDArray[np.int64]:
    """Bin of each rate, log2 Mbit/s: moments whose rates share one become one world."""
    places = ((rates_log2 - _BINS_LOW) / _BIN_LOG2 + 1.0).astype(np.int64)
    return np.clip(places, 0, BINS - 1)


class NearMoments:
    """The `nearest` moments to an observation, and the worlds they make.

    Args:
        layout: of observations.
        metric: which moments are near.
        nearest: number of moments, equally likely.
        points: float64 [5, H] coordinates of moments that had heard something, by their first one.
        rows: int64 [H] numbers of these moments.
        any_rows: int64 [nearest] moments for those that have heard nothing.
        ms_per_kilobit: float64 [M, S] what a transfer of each size class takes at each moment.
        bins: int64 [M] `bins_of` the rate of the middle class.
    """

    def __init__(
        self, layout: Layout, metric: Metric, nearest: int, points: Floats, rows: NDArray[np.int64],
        any_rows: NDArray[np.int64], ms_per_kilobit: Floats, bins: NDArray[np.int64],
    ) -> None:  # fmt: skip
        self.layout, self.metric, self.nearest = layout, metric, nearest
        self.points, self.rows, self.any_rows = points, rows, any_rows
        self.ms_per_kilobit, self.bins = ms_per_kilobit, bins

    def find(self, observations: Observations) -> NDArray[np.int64]:
        """Numbers int64 [N, K] of the moments nearest to observations float32 [N, features], ascending."""
        found = np.repeat(self.any_rows[None], len(observations), axis=0)
        if self.points.shape[1] < self.nearest:  # a link that nobody can hear
            return found
        places = coordinates(self.layout, observations, self.metric)
        heard = np.isfinite(self.layout.age_ms(observations, "silence"))
        for i in np.flatnonzero(heard):
            found[i] = np.sort(self.rows[self._nearest_to(places[i])])
        return found

    def _nearest_to(self, place: Floats) -> NDArray[np.int64]:
        """The nearest points to one place [5]: those around it on the first coordinate tell how far the
        others can be.
        """
        first, k = self.points[0], self.nearest
        at = int(np.searchsorted(first, place[0]))
        begin = min(max(at - k, 0), max(len(first) - 2 * k, 0))
        within = np.sqrt(np.partition(self._apart(place, begin, begin + 2 * k), k - 1)[k - 1]) * (1.0 + 1e-9)
        begin = int(np.searchsorted(first, place[0] - within, side="left"))
        end = int(np.searchsorted(first, place[0] + within, side="right"))
        apart = self._apart(place, begin, end)
        if len(apart) == k:
            return np.arange(begin, end)
        near: NDArray[np.int64] = begin + np.argpartition(apart, k - 1)[:k]
        return near

    def _apart(self, place: Floats, begin: int, end: int) -> Floats:
        """Squared distances of a range of points."""
        offset = self.points[:, begin:end] - place[:, None]
        squares: Floats = offset * offset
        return np.asarray(squares[0] + squares[1] + squares[2] + squares[3] + squares[4])

    def worlds(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], Floats]:
        """Rates of worlds float32 [N, W * S, 4] and their weights [N, W], for moments [N, K].

        Moments whose rates share a bin become one world, with the mean time a kilobit takes.
        """
        n, sizes = len(rows), self.ms_per_kilobit.shape[1]
        places = (np.arange(n)[:, None] * BINS + self.bins[rows]).ravel()
        counts = np.bincount(places, minlength=n * BINS).reshape(n, BINS)
        used = counts > 0
        order = np.cumsum(used, axis=1) - 1  # bins nobody is in take no room
        width = int(used.sum(axis=1).max(initial=1))
        worlds = np.zeros((n, width, sizes, 4), dtype=np.float32)
        weights = np.zeros((n, width))
        who, bin_ = np.nonzero(used)
        weights[who, order[who, bin_]] = counts[who, bin_] / rows.shape[1]
        times_ms = self.ms_per_kilobit[rows].reshape(-1, sizes)
        for c in range(sizes):
            sums = np.bincount(places, weights=times_ms[:, c], minlength=n * BINS).reshape(n, BINS)
            worlds[who, order[who, bin_], c, RATE] = counts[who, bin_] / sums[who, bin_]
        return worlds.reshape(n, width * sizes, 4), weights
