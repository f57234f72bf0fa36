"""What the training bank says about how bandwidth, round-trip time and server load go on.

Everything comes from the observation alone and from statistics of the training bank, never from the
simulator. What reads the statistics when it decides is shared with devices: `dvfo_controller.policies`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.search import make_space, search
from dvfo_agents.planning.seen import LAYOUT, numbers_of
from dvfo_controller.policies import belief, situation
from dvfo_controller.policies.belief import HIGH_LOG2, LAGS_MS, LOW_LOG2, STEP_LOG2, Regression
from dvfo_controller.policies.cost_model import Numbers
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.state import STATE
from dvfo_env.tables import CPU, CUT, GPU, LEVEL, LOAD, MEM, RATE, RTT, CostTables

_DEAD_LOG2 = -10.0  # an outage, as a rate
_SAMPLES = 40_000
#: Ranks of the rate seen between which a distribution is kept: finer where rates are rare.
_BIN_EDGES = np.concatenate([[0.002, 0.005, 0.01, 0.015], np.arange(0.02, 0.99, 0.03), [0.99, 0.997]])
_TYPICAL_WORLDS = 64
_SMOOTHING = 0.7 ** np.arange(10) * 0.3  # the observation's moving average, newest first


def ahead_ms(p: np.void, observations: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much later than what was observed the action takes effect, ms [N]; `p` is a PARAMS record."""
    return situation.ahead_ms(Numbers.of(p), LAYOUT, observations)


def states_of(tables: CostTables, observations: NDArray[np.float32]) -> NDArray[np.void]:
    """State records [N] as far as observations float32 [N, OBSERVATION_SIZE] tell; time counts from the
    arrival. See `dvfo_controller.policies.situation`.
    """
    sizes = tables.sizes
    clocks = (sizes[CPU], sizes[GPU], sizes[MEM])
    seen = situation.situations(numbers_of(tables), clocks, LAYOUT, observations)
    states = np.zeros(len(observations), dtype=STATE)
    for field in seen.__dataclass_fields__:
        states[field] = getattr(seen, field)
    return states


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
    later_log2 float64 [L, S]            the rate that follows those moments after each lag of `LAGS_MS`
    rtt_ms, server_factor                linear regressions on the value last seen

    Rates are throughputs of whole transfers, as a device sees them, of `payload_share` times the typical
    size.
    """

    def __init__(self, tables: CostTables, payload_share: float = 1.0) -> None:
        p = tables.params[0]
        self.params = p
        bank = tables.bank(TRAINING_BANK_SEED).astype(np.float64)
        step_ms = float(p["bank_step_ms"])
        self.rtt_ms = _regression(bank[:, RTT], step_ms)
        self.server_factor = _regression(bank[:, LOAD], step_ms)
        kilobit = payload_share * typical_kilobit(tables)
        transfers = Transfers(bank[:, RATE], step_ms, kilobit, float(p["offload_timeout_ms"]))
        period_ms = min(float(p["period_ms"]), transfers.end_ms / 40.0)
        lags_ms = np.minimum(LAGS_MS, transfers.end_ms / 4.0)
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
        x = last_weight * np.clip(self.last_log2, LOW_LOG2, HIGH_LOG2)
        x = x + (1.0 - last_weight) * np.clip(self.smooth_log2, LOW_LOG2, HIGH_LOG2)
        order = np.argsort(x, kind="stable")
        bins = np.split(order, (_BIN_EDGES * len(x)).astype(np.int64))
        centres = np.array([np.median(x[b]) for b in bins]) + 1e-9 * np.arange(len(bins))
        rows = np.stack([np.quantile(self.later_log2[:, b], quantiles, axis=1) for b in bins], axis=2)
        grid = np.arange(LOW_LOG2, HIGH_LOG2 + STEP_LOG2, STEP_LOG2)
        table = np.empty((rows.shape[1], len(grid), rows.shape[0]))
        for lag in range(rows.shape[1]):
            for q in range(rows.shape[0]):
                table[lag, :, q] = np.interp(grid, centres, rows[q, lag])
        return table


class Belief(belief.Belief):
    """How rate, round-trip time and server load are distributed, given what was last seen and how long ago.

    Rate: pairs (rate seen, rate later) of the training bank are sorted by the rate seen, for each of
    several lags, and the quantiles of the rate later are kept. `dvfo_controller.policies.belief` reads them.

    Args:
        statistics: of the training bank.
        last_weight: the rate seen is `last_weight` * last + (1 - `last_weight`) * moving average, in log2.
        worlds: number of equally likely quantiles.
        learned: False believes that the rate seen (the training median at first) simply goes on.
    """

    def __init__(
        self, statistics: BankStatistics, last_weight: float, worlds: int, learned: bool = True
    ) -> None:
        quantiles: NDArray[np.float64] = (np.arange(worlds) + 0.5) / worlds
        super().__init__(
            Numbers.of(statistics.params),
            LAYOUT,
            marginal_log2=np.quantile(statistics.rates_log2, quantiles),
            table=statistics.conditional(last_weight, quantiles) if learned else None,
            last_weight=last_weight,
            rtt_ms=statistics.rtt_ms,
            server_factor=statistics.server_factor,
        )


def _regression(series: NDArray[np.float64], step_ms: float) -> Regression:
    """How a series of samples every `step_ms` goes on from a value of its own."""
    mean = float(series.mean())
    steps = np.minimum((LAGS_MS / step_ms).astype(np.int64), len(series) // 2 - 1)
    shares = np.clip(LAGS_MS / step_ms - steps, 0.0, 1.0)  # samples hold for a step: in between they mix
    first = np.random.default_rng(0).integers(len(series) - int(steps[-1]) - 1, size=_SAMPLES)
    earlier = series[first] - mean
    variance = max(float(earlier @ earlier), 1e-12)
    at, after = (
        np.array([float(earlier @ (series[first + step + more] - mean)) for step in steps]) for more in (0, 1)
    )
    return Regression(mean, float(series.min()), ((1.0 - shares) * at + shares * after) / variance)


def _log2(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log2(np.maximum(rates, 2.0**_DEAD_LOG2))
    return logs
