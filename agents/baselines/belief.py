"""What an observation says about the present: the device's own state, and how likely which bandwidth is.

Everything comes from the observation alone and from statistics of the training bank, never from the simulator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_env.observation import SILENCE_MS, index_of, rate_mbps, rtt_ms, server_factor, temperature_c
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.state import STATE
from dvfo_env.tables import CPU, GPU, MEM, CostTables

_COLUMN = {
    name: index_of(name)
    for name in (
        "waiting",
        "rate_last",
        "rate_smooth",
        "silence",
        "rtt",
        "server_factor",
        "timeouts",
        "cpu_clock",
        "gpu_clock",
        "mem_clock",
        "temperature",
        "throttled",
        "battery",
        "eta",
    )  # fmt: skip
}
_LOW_LOG2, _HIGH_LOG2, _STEP_LOG2 = -4.0, 10.0, 0.25  # range of the rate features
_DEAD_LOG2 = -10.0  # an outage, as a rate
_LAGS_MS = np.geomspace(5.0, 60_000.0, 14)
_SAMPLES = 20_000
_BINS = 40
_SMOOTHING = 0.7 ** np.arange(10) * 0.3  # the observation's moving average, newest first
_NEVER = 0.9999999


def silence_ms(observations: NDArray[np.float32]) -> NDArray[np.float64]:
    """Time since the last transfer, ms [N]; infinity before the first."""
    share = observations[:, _COLUMN["silence"]].astype(np.float64)
    never = share > _NEVER
    ratio = share / np.where(never, 1.0, 1.0 - share)
    return np.where(never, np.inf, ratio * SILENCE_MS)


def states_of(tables: CostTables, observations: NDArray[np.float32]) -> NDArray[np.void]:
    """State records [N] as far as observations float32 [N, OBSERVATION_SIZE] tell; time counts from the arrival."""
    p = tables.params[0]
    states = np.zeros(len(observations), dtype=STATE)
    states["now_ms"] = observations[:, _COLUMN["waiting"]].astype(np.float64) * p["queue_limit_ms"]
    states["eta"] = np.clip(observations[:, _COLUMN["eta"]], p["eta_low"], p["eta_high"])
    for field, feature, part in (
        ("cpu", "cpu_clock", CPU),
        ("gpu", "gpu_clock", GPU),
        ("mem", "mem_clock", MEM),
    ):
        states[field] = np.rint(observations[:, _COLUMN[feature]] * (tables.sizes[part] - 1))
    states["temperature_c"] = temperature_c(observations[:, _COLUMN["temperature"]])
    states["trips"] = _trips(tables, observations, states["temperature_c"])
    return states


def _trips(
    tables: CostTables, observations: NDArray[np.float32], temperature: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Which trip points hold: as many as observed, those first that the temperature is furthest above."""
    p = tables.params[0]
    n = int(p["n_trips"])
    bits: NDArray[np.int32] = np.zeros(len(observations), dtype=np.int32)
    held = np.rint(observations[:, _COLUMN["throttled"]] * max(n, 1)).astype(np.int64)
    if n == 0 or not held.any():
        return bits
    above = np.where(
        temperature[:, None] >= p["trip_c"][:n], 1e6, temperature[:, None] - p["release_c"][:n]
    )  # beyond the trip point for certain, else by the distance to release
    rank = np.argsort(np.argsort(-above, axis=1, kind="stable"), axis=1)
    holds = rank < held[:, None]
    bits += (holds * (1 << np.arange(n))).sum(axis=1).astype(np.int32)
    return bits


class Belief:
    """How rate, round-trip time and server load are distributed, given what was last seen and how long ago.

    Rate: for each of several lags, pairs (rate seen, rate later) are sampled from the training bank, sorted by the
    rate seen, and the quantiles of the rate later are kept: a table [lag, rate seen, quantile], read by bilinear
    interpolation in logarithms. Before the first transfer it is the marginal distribution. Round-trip time and
    server factor enter the cost (nearly) linearly, so their conditional mean by linear regression is enough.

    Args:
        tables: the compiled scenario.
        last_weight: the rate seen is `last_weight` * last + (1 - `last_weight`) * moving average, in logarithms.
        worlds: number of equally likely quantiles.
        learned: False believes that the rate seen (the training median before the first transfer) simply goes on.
    """

    def __init__(self, tables: CostTables, last_weight: float, worlds: int, learned: bool = True) -> None:
        self.last_weight = last_weight
        self.learned = learned
        self.quantiles: NDArray[np.float64] = (np.arange(worlds) + 0.5) / worlds
        bank = tables.bank(TRAINING_BANK_SEED)
        step_ms = float(tables.params[0]["bank_step_ms"])
        self.marginal_log2: NDArray[np.float64] = np.quantile(
            _log2(bank[:, 0].astype(np.float64)), self.quantiles
        )
        self._table = self._conditional(tables, bank, step_ms) if learned else None
        self._rtt = _Regression(bank[:, 1].astype(np.float64), step_ms)
        self._factor = _Regression(bank[:, 2].astype(np.float64), step_ms)

    def _conditional(
        self, tables: CostTables, bank: NDArray[np.float32], step_ms: float
    ) -> NDArray[np.float64]:
        """Quantiles float64 [lags, rates seen, worlds] of log2 of the rate later."""
        moved = np.concatenate([[0.0], np.cumsum(bank[:, 0].astype(np.float64) * step_ms)])
        edges = np.arange(len(moved)) * step_ms
        period_ms = float(tables.params[0]["period_ms"])
        span_ms = float(np.clip(period_ms / 4.0, 20.0, 200.0))  # a typical transfer

        def seen(end_ms: NDArray[np.float64]) -> NDArray[np.float64]:
            kilobit = np.interp(end_ms, edges, moved) - np.interp(end_ms - span_ms, edges, moved)
            return _log2(kilobit / span_ms)

        history_ms = len(_SMOOTHING) * period_ms + span_ms
        room_ms = edges[-1] - history_ms - _LAGS_MS[-1] - span_ms
        if room_ms <= 0.0:
            lags = np.minimum(_LAGS_MS, edges[-1] / 4.0)
            history_ms = min(history_ms, edges[-1] / 4.0)
            room_ms = edges[-1] / 4.0
        else:
            lags = _LAGS_MS
        at_ms = history_ms + room_ms * np.random.default_rng(0).random(_SAMPLES)
        x = self.last_weight * np.maximum(seen(at_ms), _LOW_LOG2)
        if self.last_weight < 1.0:
            past = np.stack(
                [np.maximum(seen(at_ms - j * period_ms), _DEAD_LOG2) for j in range(len(_SMOOTHING))]
            )
            x = x + (1.0 - self.last_weight) * (_SMOOTHING @ past) / _SMOOTHING.sum()
        grid = np.arange(_LOW_LOG2, _HIGH_LOG2 + _STEP_LOG2, _STEP_LOG2)
        table = np.empty((len(lags), len(grid), len(self.quantiles)))
        bins = np.array_split(np.argsort(x, kind="stable"), _BINS)
        centres = np.array([np.median(x[b]) for b in bins])
        distinct, which = np.unique(centres, return_inverse=True)
        for lag, lag_ms in enumerate(lags):
            y = seen(at_ms + lag_ms + span_ms)
            rows = np.stack([
                np.quantile(np.concatenate([y[b] for b, w in zip(bins, which, strict=True) if w == d]), self.quantiles)
                for d in range(len(distinct))
            ])  # fmt: skip
            for q in range(len(self.quantiles)):
                table[lag, :, q] = np.interp(grid, distinct, rows[:, q])
        return table

    def worlds(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Equally likely worlds float32 [N, worlds, 4] for observations float32 [N, OBSERVATION_SIZE]."""
        silent_ms = silence_ms(observations)
        out = np.zeros((len(observations), len(self.quantiles), 4), dtype=np.float32)
        out[:, :, 0] = np.exp2(self._rates_log2(observations, silent_ms))
        out[:, :, 1] = self._rtt.later(rtt_ms(observations[:, _COLUMN["rtt"]]), silent_ms)[:, None]
        out[:, :, 2] = self._factor.later(
            server_factor(observations[:, _COLUMN["server_factor"]]), silent_ms
        )[:, None]
        return out

    def _rates_log2(
        self, observations: NDArray[np.float32], silent_ms: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        last = np.log2(rate_mbps(observations[:, _COLUMN["rate_last"]]))
        smooth = np.log2(rate_mbps(observations[:, _COLUMN["rate_smooth"]]))
        seen = self.last_weight * last + (1.0 - self.last_weight) * smooth
        never = np.isinf(silent_ms)
        if self._table is None:
            rates = np.repeat(seen[:, None], len(self.quantiles), axis=1)
        else:
            lag = np.log(np.clip(silent_ms, _LAGS_MS[0], _LAGS_MS[-1]) / _LAGS_MS[0])
            rates = _bilinear(
                self._table, lag / np.log(_LAGS_MS[1] / _LAGS_MS[0]), (seen - _LOW_LOG2) / _STEP_LOG2
            )
        rates[never] = self.marginal_log2
        return rates


class _Regression:
    """Conditional mean of a stationary series, given its value some time ago; never below the smallest value."""

    def __init__(self, series: NDArray[np.float64], step_ms: float) -> None:
        self.mean = float(series.mean())
        self.low = float(series.min())
        centred = series - self.mean
        variance = float(centred @ centred) / len(series)
        steps = np.minimum((_LAGS_MS / step_ms).astype(np.int64), len(series) - 1)
        self.correlation: NDArray[np.float64] = np.array(
            [float(centred[: len(series) - k] @ centred[k:]) / (len(series) - k) for k in steps]
        ) / (variance if variance > 0.0 else 1.0)

    def later(self, seen: NDArray[np.float64], lag_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected values [N] for values `seen` `lag_ms` ago; the mean where the lag is infinite."""
        share = np.interp(
            np.log(np.maximum(lag_ms, 1e-3)), np.log(_LAGS_MS), np.clip(self.correlation, 0.0, 1.0)
        )
        expected = self.mean + share * (seen - self.mean)
        return np.where(np.isinf(lag_ms), self.mean, np.maximum(expected, self.low))


def _log2(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log2(np.maximum(rates, 2.0**_DEAD_LOG2))
    return logs


def _bilinear(
    table: NDArray[np.float64], row: NDArray[np.float64], column: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values [N, Q] of a table [R, C, Q] at fractional rows and columns [N], held constant beyond its edges."""
    row = np.clip(row, 0.0, table.shape[0] - 1.0)
    column = np.clip(column, 0.0, table.shape[1] - 1.0)
    r = np.minimum(row.astype(np.int64), table.shape[0] - 2)
    c = np.minimum(column.astype(np.int64), table.shape[1] - 2)
    a, b = (row - r)[:, None], (column - c)[:, None]
    upper = (1.0 - b) * table[r, c] + b * table[r, c + 1]
    lower = (1.0 - b) * table[r + 1, c] + b * table[r + 1, c + 1]
    values: NDArray[np.float64] = (1.0 - a) * upper + a * lower
    return values
