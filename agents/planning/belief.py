"""What an observation says about the present: the device's own state, and how likely which bandwidth is.

Everything comes from the observation alone and from statistics of the training bank, never from the
simulator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.search import make_space, search
from dvfo_env.observation import SILENCE_MS, index_of, rate_mbps, rtt_ms, server_factor, temperature_c
from dvfo_env.parameters import BLOCKING, CONCURRENT
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.state import STATE
from dvfo_env.tables import CPU, CUT, GPU, LEVEL, LOAD, MEM, RATE, RTT, CostTables

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
        "difficulty",
        "decision_share",
    )
}
_LOW_LOG2, _HIGH_LOG2, _STEP_LOG2 = -4.0, 10.0, 0.25  # range of the rate features
_DEAD_LOG2 = -10.0  # an outage, as a rate
_LAGS_MS = np.geomspace(5.0, 60_000.0, 14)
_SAMPLES = 40_000
#: Ranks of the rate seen between which a distribution is kept: finer where rates are rare.
_BIN_EDGES = np.concatenate([[0.002, 0.005, 0.01, 0.015], np.arange(0.02, 0.99, 0.03), [0.99, 0.997]])
_TYPICAL_WORLDS = 64
_SMOOTHING = 0.7 ** np.arange(10) * 0.3  # the observation's moving average, newest first
_NEVER = 0.9999999


def silence_ms(observations: NDArray[np.float32]) -> NDArray[np.float64]:
    """Time since the last transfer, ms [N]; infinity before the first."""
    share = np.maximum(observations[:, _COLUMN["silence"]].astype(np.float64), 0.0)
    never = share > _NEVER
    ratio = share / np.where(never, 1.0, 1.0 - share)
    return np.where(never, np.inf, ratio * SILENCE_MS)


def ahead_ms(p: np.void, observations: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much later than what was observed the action takes effect, ms [N]; `p` is a PARAMS record.

    A blocking decision takes effect when it is there. A concurrent one does at the next request: about as
    much later as the last two decisions began apart.
    """
    decision_ms = float(p["decision_ms"])
    if p["decision_mode"] != CONCURRENT:
        return np.full(len(observations), decision_ms)
    if decision_ms == 0.0:
        return np.full(len(observations), float(p["period_ms"]))
    share = observations[:, _COLUMN["decision_share"]].astype(np.float64)
    return decision_ms / np.maximum(share, 1e-6)


def states_of(tables: CostTables, observations: NDArray[np.float32]) -> NDArray[np.void]:
    """State records [N] as far as observations float32 [N, OBSERVATION_SIZE] tell; time counts from the
    arrival.

    The decision is taken to be there: a blocking one counts as waiting, a concurrent one as in time. The
    coming request is taken to wait as long as the one observed, and where its difficulty is not known yet it
    loses what requests lose on average.
    """
    p = tables.params[0]
    states = np.zeros(len(observations), dtype=STATE)
    states["now_ms"] = observations[:, _COLUMN["waiting"]].astype(np.float64) * p["queue_limit_ms"]
    if p["decision_mode"] == BLOCKING:
        states["now_ms"] += p["decision_ms"]
    states["started_ms"] = states["now_ms"] - p["decision_ms"]
    states["eta"] = np.clip(observations[:, _COLUMN["eta"]], p["eta_low"], p["eta_high"])
    easiest = max(int(p["n_classes"]) - 1, 0)
    difficulty = observations[:, _COLUMN["difficulty"]]
    states["difficulty"] = np.where(difficulty < 0.0, easiest + 1, np.rint(difficulty * easiest))
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


class Transfers:
    """Transfers of one size over a bandwidth series: how long one takes that begins at a given time."""

    def __init__(self, rates: NDArray[np.float64], step_ms: float, kilobit: float, limit_ms: float) -> None:
        self.end_ms = len(rates) * step_ms
        self.limit_ms = min(limit_ms, self.end_ms / 8.0)
        self._rates, self._step_ms, self._kilobit = rates, step_ms, kilobit
        self._moved = np.concatenate([[0.0], np.cumsum(rates * step_ms)])
        self._edges = np.arange(len(self._moved)) * step_ms

    def _until(self, time_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Kilobits moved from the beginning of the series until `time_ms` [S]."""
        step = np.clip((time_ms / self._step_ms).astype(np.int64), 0, len(self._rates) - 1)
        kilobit: NDArray[np.float64] = self._moved[step] + (time_ms - self._edges[step]) * self._rates[step]
        return kilobit

    def duration_ms(self, begin_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Duration [S] of transfers that begin at `begin_ms` [S], cut off at the time-out."""
        end_ms = np.interp(self._until(begin_ms) + self._kilobit, self._moved, self._edges)
        clipped: NDArray[np.float64] = np.clip(end_ms - begin_ms, 1e-3, self.limit_ms)
        return clipped

    def rate_log2(self, begin_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """log2 of the throughput [S], Mbit/s, of transfers that begin at `begin_ms` [S]."""
        duration_ms = self.duration_ms(begin_ms)
        moved = np.minimum(self._until(begin_ms + duration_ms) - self._until(begin_ms), self._kilobit)
        return _log2(moved / duration_ms)


def typical_kilobit(tables: CostTables) -> float:
    """Size of what is sent by the action that costs least over the training bank, if something must be
    sent.
    """
    bank = tables.bank(TRAINING_BANK_SEED)
    samples = np.random.default_rng(0).choice(len(bank), _TYPICAL_WORLDS)
    states = np.zeros(1, dtype=STATE)
    states["eta"] = 0.5 * (tables.params[0]["eta_low"] + tables.params[0]["eta_high"])
    action = np.zeros((1, len(tables.sizes)), dtype=np.int64)
    for field, part in (("cpu", CPU), ("gpu", GPU), ("mem", MEM)):
        states[field] = action[0, part] = tables.sizes[part] - 1
    if tables.sizes[CUT] == 1:
        return 1.0  # nothing can be sent
    space = make_space(tables, cuts=np.arange(tables.sizes[CUT] - 1))
    search(tables, space, states, np.ascontiguousarray(bank[samples][None]), action)
    return float(tables.send[action[0, CUT], action[0, LEVEL], 0])


class BankStatistics:
    """What the training bank says about how bandwidth, round-trip time and server load go on.

    last_log2, smooth_log2 float64 [S]   what a device would remember at S random moments, log2 Mbit/s
    later_log2 float64 [L, S]            the rate that follows those moments after each lag of `_LAGS_MS`
    rtt_ms, server_factor                linear regressions on the value last seen

    Rates are throughputs of whole transfers, as a device sees them, of `payload_share` times the typical
    size.
    """

    def __init__(self, tables: CostTables, payload_share: float = 1.0) -> None:
        p = tables.params[0]
        self.params = p
        bank = tables.bank(TRAINING_BANK_SEED).astype(np.float64)
        step_ms = float(p["bank_step_ms"])
        self.rtt_ms = _Regression(bank[:, RTT], step_ms)
        self.server_factor = _Regression(bank[:, LOAD], step_ms)
        kilobit = payload_share * typical_kilobit(tables)
        transfers = Transfers(bank[:, RATE], step_ms, kilobit, float(p["offload_timeout_ms"]))
        period_ms = min(float(p["period_ms"]), transfers.end_ms / 40.0)
        lags_ms = np.minimum(_LAGS_MS, transfers.end_ms / 4.0)
        first_ms = len(_SMOOTHING) * period_ms
        room_ms = transfers.end_ms - first_ms - lags_ms[-1] - 2.0 * transfers.limit_ms
        begin_ms = first_ms + max(room_ms, 0.0) * np.random.default_rng(0).random(_SAMPLES)
        past = np.stack([transfers.rate_log2(begin_ms - j * period_ms) for j in range(len(_SMOOTHING))])
        end_ms = begin_ms + transfers.duration_ms(begin_ms)
        self.last_log2: NDArray[np.float64] = past[0]
        self.smooth_log2: NDArray[np.float64] = _SMOOTHING @ past / _SMOOTHING.sum()
        self.later_log2: NDArray[np.float64] = np.stack(
            [transfers.rate_log2(end_ms + lag) for lag in lags_ms]
        )
        self.rates_log2: NDArray[np.float64] = np.sort(past[0])

    def conditional(self, last_weight: float, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
        """Quantiles of log2 of the rate later, float64 [lags, rates seen, len(quantiles)]."""
        x = last_weight * np.clip(self.last_log2, _LOW_LOG2, _HIGH_LOG2)
        x = x + (1.0 - last_weight) * np.clip(self.smooth_log2, _LOW_LOG2, _HIGH_LOG2)
        order = np.argsort(x, kind="stable")
        bins = np.split(order, (_BIN_EDGES * len(x)).astype(np.int64))
        centres = np.array([np.median(x[b]) for b in bins]) + 1e-9 * np.arange(len(bins))
        rows = np.stack([np.quantile(self.later_log2[:, b], quantiles, axis=1) for b in bins], axis=2)
        grid = np.arange(_LOW_LOG2, _HIGH_LOG2 + _STEP_LOG2, _STEP_LOG2)
        table = np.empty((rows.shape[1], len(grid), rows.shape[0]))
        for lag in range(rows.shape[1]):
            for q in range(rows.shape[0]):
                table[lag, :, q] = np.interp(grid, centres, rows[q, lag])
        return table


class Belief:
    """How rate, round-trip time and server load are distributed, given what was last seen and how long ago.

    Rate: pairs (rate seen, rate later) of the training bank are sorted by the rate seen, for each of
    several lags, and the quantiles of the rate later are kept: a table [lag, rate seen, quantile], read by
    bilinear interpolation in logarithms. Before the first transfer it is the marginal distribution.
    Round-trip time and server factor enter the cost (nearly) linearly, so their conditional mean is enough.

    Args:
        statistics: of the training bank.
        last_weight: the rate seen is `last_weight` * last + (1 - `last_weight`) * moving average, in log2.
        worlds: number of equally likely quantiles.
        learned: False believes that the rate seen (the training median at first) simply goes on.
    """

    def __init__(
        self, statistics: BankStatistics, last_weight: float, worlds: int, learned: bool = True
    ) -> None:
        self.last_weight = last_weight
        self.quantiles: NDArray[np.float64] = (np.arange(worlds) + 0.5) / worlds
        self.marginal_log2: NDArray[np.float64] = np.quantile(statistics.rates_log2, self.quantiles)
        self._table = statistics.conditional(last_weight, self.quantiles) if learned else None
        self._rtt = statistics.rtt_ms
        self._factor = statistics.server_factor
        self._params = statistics.params

    def worlds(
        self, observations: NDArray[np.float32], answer_age_ms: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """Equally likely worlds float32 [N, worlds, 4] for observations float32 [N, OBSERVATION_SIZE].

        `answer_age_ms` [N]: how old round-trip time and server load are, if it is known to be more than the
        silence.
        """
        silent_ms = silence_ms(observations) + ahead_ms(self._params, observations)
        age_ms = silent_ms if answer_age_ms is None else answer_age_ms
        out = np.zeros((len(observations), len(self.quantiles), 4), dtype=np.float32)
        out[:, :, RATE] = np.exp2(self._rates_log2(observations, silent_ms))
        out[:, :, RTT] = self._rtt.later(rtt_ms(observations[:, _COLUMN["rtt"]]), age_ms)[:, None]
        out[:, :, LOAD] = self._factor.later(
            server_factor(observations[:, _COLUMN["server_factor"]]), age_ms
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
    """Conditional mean of a stationary series, given its value some time ago; never below the smallest
    value.
    """

    def __init__(self, series: NDArray[np.float64], step_ms: float) -> None:
        self.mean = float(series.mean())
        self.low = float(series.min())
        steps = np.minimum((_LAGS_MS / step_ms).astype(np.int64), len(series) // 2 - 1)
        shares = np.clip(_LAGS_MS / step_ms - steps, 0.0, 1.0)  # samples hold for a step: in between they mix
        first = np.random.default_rng(0).integers(len(series) - int(steps[-1]) - 1, size=_SAMPLES)
        earlier = series[first] - self.mean
        variance = max(float(earlier @ earlier), 1e-12)
        at, after = (
            np.array([float(earlier @ (series[first + step + more] - self.mean)) for step in steps])
            for more in (0, 1)
        )
        self.correlation: NDArray[np.float64] = ((1.0 - shares) * at + shares * after) / variance

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
    values: NDArray[np.float64] = (1.0 - a) * upper + a * lower
    return values
