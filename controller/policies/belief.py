"""What an observation says about how rate, round-trip time and server load are distributed now.

The statistics come out of the training bank; what is here reads them, on a device and in training alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.cost_model import LOAD, RATE, RTT, Numbers
from dvfo_controller.policies.layout import Floats, Layout, Observations
from dvfo_controller.policies.situation import ahead_ms

#: Ages at which statistics are kept [ms]; range and step of the rates seen, log2 Mbit/s.
LAGS_MS = np.geomspace(5.0, 60_000.0, 14)
LOW_LOG2, HIGH_LOG2, STEP_LOG2 = -4.0, 10.0, 0.25


@dataclass(frozen=True)
class Regression:
    """Conditional mean of a stationary series, given its value some time ago; never below the smallest.

    `correlation` float64 [lags]: of values `LAGS_MS` apart.
    """

    mean: float
    low: float
    correlation: Floats

    def later(self, seen: Floats, lag_ms: Floats) -> Floats:
        """Expected values [N] for values `seen` `lag_ms` ago; the mean where the lag is infinite."""
        share = np.interp(
            np.log(np.maximum(lag_ms, 1e-3)), np.log(LAGS_MS), np.clip(self.correlation, 0.0, 1.0)
        )
        expected = self.mean + share * (seen - self.mean)
        return np.where(np.isinf(lag_ms), self.mean, np.maximum(expected, self.low))


class Belief:
    """Equally likely rates given what was last seen and how long ago; expected round-trip time and load.

    Rate: a table of quantiles of the rate later [lag, rate seen, quantile], read by bilinear interpolation in
    logarithms. Before the first transfer it is the marginal distribution. Round-trip time and server factor
    enter the cost (nearly) linearly, so their conditional mean is enough.

    Args:
        numbers: of the scenario.
        layout: of observations.
        marginal_log2: float64 [Q] quantiles of the rate when nothing is known, log2 Mbit/s.
        table: float64 [lags, rates, Q]; None believes that the rate seen simply goes on.
        last_weight: the rate seen is `last_weight` * last + (1 - `last_weight`) * moving average, in log2.
        rtt_ms, server_factor: regressions on the value last seen.
    """

    def __init__(
        self, numbers: Numbers, layout: Layout, marginal_log2: Floats, table: Floats | None,
        last_weight: float, rtt_ms: Regression, server_factor: Regression,
    ) -> None:  # fmt: skip
        self.marginal_log2, self.table, self.last_weight = marginal_log2, table, last_weight
        self.rtt_ms, self.server_factor = rtt_ms, server_factor
        self._numbers, self._layout = numbers, layout

    def worlds(self, observations: Observations, answer_age_ms: Floats | None = None) -> NDArray[np.float32]:
        """Equally likely worlds float32 [N, Q, 4] for observations float32 [N, features]; columns RATE, RTT
        and LOAD, the last one is not used.

        `answer_age_ms` [N]: how old round-trip time and server load are, if it is known to be more than the
        silence.
        """
        layout = self._layout
        silent_ms = layout.age_ms(observations, "silence") + ahead_ms(self._numbers, layout, observations)
        age_ms = silent_ms if answer_age_ms is None else answer_age_ms
        out = np.zeros((len(observations), len(self.marginal_log2), 4), dtype=np.float32)
        out[:, :, RATE] = np.exp2(self._rates_log2(observations, silent_ms))
        out[:, :, RTT] = self.rtt_ms.later(layout.power(observations, "rtt"), age_ms)[:, None]
        out[:, :, LOAD] = self.server_factor.later(layout.power(observations, "server_factor"), age_ms)[
            :, None
        ]
        return out

    def _rates_log2(self, observations: Observations, silent_ms: Floats) -> Floats:
        last = self._layout.log2(observations, "rate_last")
        smooth = self._layout.log2(observations, "rate_smooth")
        seen = self.last_weight * last + (1.0 - self.last_weight) * smooth
        never = np.isinf(silent_ms)
        if self.table is None:
            rates = np.repeat(seen[:, None], len(self.marginal_log2), axis=1)
        else:
            lag = np.log(np.clip(silent_ms, LAGS_MS[0], LAGS_MS[-1]) / LAGS_MS[0])
            rates = _bilinear(
                self.table, lag / np.log(LAGS_MS[1] / LAGS_MS[0]), (seen - LOW_LOG2) / STEP_LOG2
            )
        rates[never] = self.marginal_log2
        return rates


def _bilinear(table: Floats, row: Floats, column: Floats) -> Floats:
    """Values [N, Q] of a table [R, C, Q] at fractional rows and columns [N], held constant beyond its
    edges.
    """
    row = np.clip(row, 0.0, table.shape[0] - 1.0)
    column = np.clip(column, 0.0, table.shape[1] - 1.0)
    r = np.minimum(row.astype(np.int64), table.shape[0] - 2)
    c = np.minimum(column.astype(np.int64), table.shape[1] - 2)
    a, b = (row - r)[:, None], (column - c)[:, None]
    upper = (1.0 - b) * table[r, c] + b * table[r, c + 1]
    lower = (1.0 - b) * table[r + 1, c] + b * table[r + 1, c + 1]
    values: Floats = (1.0 - a) * upper + a * lower
    return values
