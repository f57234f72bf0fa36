"""From rate series to a chain: bins, slow levels, transitions, outages, and the report against the source."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from dvfo_env.errors import MeasurementError
from dvfo_env.schema import Coefficient
from dvfo_env.uplinks.interface import RadioPower
from dvfo_env.uplinks.model import ChainProcess, FitReport, Provenance, RoundTripProcess, UplinkModel, stream
from dvfo_env.uplinks.statistics import SeriesStatistics, describe, dwell_lengths
from dvfo_env.uplinks.traces import Trace, resample

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OUTAGE_BELOW_MBPS = 0.05
"""Below this a rate counts as outage: one 1500-byte packet would take a quarter of a second."""

MIN_SAMPLES = 200
OUTAGE_GROUPS = 20
BANK_STEPS = 262_144
TUNING_BANKS, REPORT_BANKS = 2, 12
TUNING_SEED, REPORT_SEED, ORDER_SEED = 101, 202, 303


STAY_MS = 120_000.0
"""Assumed shortest stay at one place: recordings of 15 s end because the experiment ended, not the stay."""


Direction = Literal["uplink", "downlink used as uplink"]


class LevelRule(NamedTuple):
    """What the slow level stands for: `levels` classes of the centred mean over `window_ms` of the
    rate, drawn towards the mean of the whole recording by the share `pull`.
    """

    levels: int
    window_ms: float
    pull: float


RULES = tuple(
    LevelRule(levels, window_ms, pull)
    for levels in (4, 8, 12)
    for window_ms, pull in (*product((1000.0, 3000.0, 10000.0), (0.0, 0.5)), (1000.0, 1.0))
)


class _Chained(NamedTuple):
    """All samples with bandwidth in one cyclic row: bin, level, place in the bin, and what follows.

    `weight` is 1, but less on the last sample of a short recording (see `STAY_MS`).
    """

    bins: Ints
    levels: Ints
    place: Floats
    outage_follows: NDArray[np.bool_]
    weight: Floats


def fit_chain(
    series: Sequence[Floats], step_ms: float, outage_below_mbps: float = OUTAGE_BELOW_MBPS
) -> ChainProcess:
    """Fit the chain to rate series, and choose the number and the time constant of its slow levels.

    A chain over bins alone forgets within a second at 0.1 s steps while the measured autocorrelation
    lasts for
    many; the levels (classes of a centred moving average of the rate) carry that memory. Every rule
    of `RULES` is fitted; the one whose generated autocorrelations (one step, 1 s, 5 s) and quantiles
    lie nearest to the measured ones is kept.

    Args:
        series: arrays [n] in Mbit/s, each one uninterrupted recording, all at `step_ms`.
        step_ms: spacing of the samples in ms.
        outage_below_mbps: rates below count as outage.

    Raises:
        MeasurementError: fewer than 200 samples with bandwidth.
    """
    real = describe(series, step_ms, outage_below_mbps)
    best: tuple[float, ChainProcess] | None = None
    for rule in RULES:
        process = fit_chain_with(series, step_ms, rule, outage_below_mbps)
        distance = _distance(real, generated_statistics(process, TUNING_BANKS, TUNING_SEED))
        if best is None or distance < best[0]:
            best = (distance, process)
    assert best is not None
    return best[1]


def fit_chain_with(
    series: Sequence[Floats], step_ms: float, rule: LevelRule, outage_below_mbps: float = OUTAGE_BELOW_MBPS
) -> ChainProcess:
    """Fit the chain with a stated rule for its slow levels.

    Raises:
        MeasurementError: fewer than 200 samples with bandwidth.
    """
    alive = np.concatenate([item[item >= outage_below_mbps] for item in series]).astype(np.float64)
    if len(alive) < MIN_SAMPLES:
        raise MeasurementError(
            f"{len(alive)} samples of at least {outage_below_mbps:g} Mbit/s; "
            f"{MIN_SAMPLES} are needed to fit a model"
        )
    edges = _bin_edges(alive)
    stay = min(1.0, float(np.mean([len(item) for item in series])) * step_ms / STAY_MS)
    smooth = [_smoothed(item, rule, step_ms, outage_below_mbps) for item in series]
    row = _chain_up(series, smooth, edges, _even_cuts(np.concatenate(smooth), rule.levels), stay)
    dwells = np.sort(np.concatenate([dwell_lengths(item < outage_below_mbps) for item in series]))
    groups = np.repeat(dwells, OUTAGE_GROUPS).reshape(OUTAGE_GROUPS, -1) if len(dwells) else np.ones((1, 1))
    process = _count(row, len(edges) - 1).model_copy(
        update={
            "step_ms": float(step_ms),
            "outage_below_mbps": outage_below_mbps,
            "bin_edges_mbps": _significant(edges),
            "outage_dwell_ms": tuple(round(float(group.mean()) * step_ms, 1) for group in groups),
        }
    )
    share = float(np.mean(np.concatenate(list(series)) < outage_below_mbps))
    for _ in range(2):
        process = _match_marginals(process, alive, share)
    return ChainProcess.model_validate(process.model_dump())


def fit_report(
    process: ChainProcess,
    series: Sequence[Floats],
    step_ms: float,
    outage_below_mbps: float = OUTAGE_BELOW_MBPS,
) -> FitReport:
    """Measured against generated figures, and the same for a fit to half of the series judged on the
    other half.

    The held-back half is every second series (whole series, in file order); with fewer than six series
    there is none, since two or three recordings differ more from each other than a model can be blamed for.
    """
    real = describe(series, step_ms, outage_below_mbps)
    fitted = generated_statistics(process, REPORT_BANKS, REPORT_SEED)
    held = list(series[1::2])
    if len(series) < 6:
        return FitReport(real=_short(real), fitted=_short(fitted))
    other = fit_chain(list(series[::2]), step_ms, outage_below_mbps)
    return FitReport(
        real=_short(real),
        fitted=_short(fitted),
        holdout_series=len(held),
        holdout_real=_short(describe(held, step_ms, outage_below_mbps)),
        holdout_fitted=_short(generated_statistics(other, REPORT_BANKS, REPORT_SEED)),
    )


def fitted_model(
    name: str,
    title: str,
    direction: Direction,
    traces: Sequence[Trace],
    step_ms: float,
    provenance: Provenance,
    *,
    rtt: RoundTripProcess,
    downlink_mbps: Coefficient,
    radio: RadioPower,
) -> UplinkModel:
    """Fit chain and report to traces (resampled to `step_ms`) and put the model together with what is
    lent to it.

    Raises:
        MeasurementError: too few samples with bandwidth.
        TraceError: a trace is shorter than one step.
    """
    series = [resample(trace, step_ms).rate_mbps.astype(np.float64) for trace in traces]
    process = fit_chain(series, step_ms)
    return UplinkModel(
        name=name,
        title=title,
        direction=direction,
        process_evidence="fitted",
        provenance=provenance,
        rtt=rtt,
        downlink_mbps=downlink_mbps,
        radio=radio,
        fit=fit_report(process, series, step_ms),
        process=process,
    )


def generated_statistics(process: ChainProcess, banks: int, seed: int) -> SeriesStatistics:
    """Figures of `banks` independent generated series of 262144 samples each."""
    made = [process.rates_mbps(BANK_STEPS, stream(seed + index, 1)) for index in range(banks)]
    return describe(made, process.step_ms, process.outage_below_mbps)


def _bin_edges(alive: Floats) -> Floats:
    """Where to cut the rates: 12 to 22 bins by the amount of data, the outer 1 % and 4 % in bins of
    their own.
    """
    inner = int(np.clip(len(alive) / 200, 8, 18))
    ends = np.array([0.0, 0.01, 0.04])
    tails = np.quantile(alive, np.concatenate([ends, 1.0 - ends[::-1]]))
    edges = np.unique(np.concatenate([tails, _even_cuts(alive, inner)]))
    return _rising(edges if len(edges) > 1 else edges[[0, 0]])


def _even_cuts(values: Floats, parts: int) -> Floats:
    """`parts` - 1 cuts evenly spaced in the mean of rank and relative value.

    By rank alone, a link that sits at two ceilings (LTE at 46 and 65 Mbit/s) would spend nearly all
    cuts inside
    the ceilings, where nothing happens; by value alone rare heights would get bins without data.
    """
    ordered = np.sort(values)
    low, high = np.quantile(ordered, [0.01, 0.99])
    if high <= low:
        return np.empty(0)
    measure = np.linspace(0.0, 1.0, len(ordered)) + np.clip((ordered - low) / (high - low), 0.0, 1.0)
    at = np.searchsorted(measure, np.linspace(0.0, 2.0, parts + 1)[1:-1])
    result: Floats = np.unique(ordered[np.minimum(at, len(ordered) - 1)])
    return result


def _smoothed(item: Floats, rule: LevelRule, step_ms: float, below: float) -> Floats:
    """The slow part of one recording, at its samples with bandwidth only."""
    alive = item[item >= below]
    if len(alive) == 0:
        return alive
    window = min(len(alive), max(1, round(rule.window_ms / step_ms)))
    local = uniform_filter1d(alive, window, mode="nearest")
    result: Floats = (1.0 - rule.pull) * local + rule.pull * alive.mean()
    return result


def _chain_up(
    series: Sequence[Floats], smooth: Sequence[Floats], edges: Floats, cuts: Floats, join: float
) -> _Chained:
    """Put the series end to end in a shuffled order, closed to a ring, so that what enters a state
    also leaves it.

    `join` is the weight of the step from one recording to the next.
    """
    order = stream(ORDER_SEED, 1).permutation(len(series))
    joined = np.concatenate([series[index] for index in order])
    average = np.concatenate([smooth[index] for index in order])
    at = np.flatnonzero(joined >= edges[0])
    bins = np.clip(np.searchsorted(edges, joined[at], side="right") - 1, 0, len(edges) - 2)
    logs = np.log(edges)
    place = (np.log(joined[at]) - logs[bins]) / np.diff(logs)[bins]
    steps = np.diff(np.append(at, at[0] + len(joined)))
    weight = np.ones(len(at))
    weight[np.cumsum([len(smooth[index]) for index in order if len(smooth[index])]) - 1] = join
    return _Chained(
        bins, np.searchsorted(cuts, average, side="right").astype(np.int64), place, steps > 1, weight
    )


def _count(row: _Chained, bins: int) -> ChainProcess:
    """Transition frequencies of the ring; the fields on time and rate are left at one for the caller
    to fill in.
    """
    levels = int(row.levels.max()) + 1
    here, after = (row.levels, row.bins), (np.roll(row.levels, -1), np.roll(row.bins, -1))
    on, dark = ~row.outage_follows, row.outage_follows
    level_moves, level_jumps = np.zeros((levels, levels)), np.zeros((levels, levels))
    moves = np.zeros((levels, bins, bins))
    entries, visits, exits = (np.zeros((levels, bins)) for _ in range(3))
    np.add.at(level_moves, (here[0][on], after[0][on]), row.weight[on])
    np.add.at(moves, (after[0][on], here[1][on], after[1][on]), row.weight[on])
    np.add.at(level_jumps, (here[0][dark], after[0][dark]), row.weight[dark])
    np.add.at(exits, (after[0][dark], after[1][dark]), row.weight[dark])
    np.add.at(entries, (here[0][dark], here[1][dark]), row.weight[dark])
    np.add.at(visits, here, row.weight)
    anywhere = _normalised(moves.sum(axis=0) + 1e-3 * np.eye(bins))
    stays = on & (here[1] == after[1])
    return ChainProcess(
        step_ms=1.0,
        outage_below_mbps=0.0,
        bin_edges_mbps=tuple(float(index + 1) for index in range(bins + 1)),
        position_persistence=_persistence(row.place[stays], np.roll(row.place, -1)[stays]),
        level_transitions=_table(_normalised(level_moves + 1e-6 * np.eye(levels)), 6),
        bin_transitions=tuple(_table(_normalised(table + 0.1 * anywhere), 4) for table in moves),
        outage_entry=_table(entries / np.maximum(visits, 1), 6),
        level_after_outage=_table(_normalised(level_jumps + 1e-6 * np.eye(levels)), 4),
        bin_after_outage=_table(_normalised(exits + 1e-3 * _normalised(visits + 1e-6)), 4),
        outage_dwell_ms=(1.0,),
    )


def _match_marginals(process: ChainProcess, alive: Floats, outage_share: float) -> ChainProcess:
    """Move the bin edges and the outage chance so that the long-run marginal is the measured one.

    Levels and bins are drawn one after the other, so the long-run shares of the bins come out slightly
    off; an edge is put where the measured distribution reaches the model's cumulative share.
    """
    occupancy = long_run(process)
    below = np.cumsum(occupancy.sum(axis=0))[:-1]
    edges = _rising(np.quantile(alive, np.concatenate([[0.0], np.minimum(below, 1.0), [1.0]])))
    entry = np.asarray(process.outage_entry)
    entered = float((occupancy * entry).sum()) * float(np.mean(process.outage_dwell_ms)) / process.step_ms
    factor = outage_share / (1.0 - outage_share) / entered if entered > 0.0 else 1.0
    entry = np.clip(entry * factor, 0.0, 1.0)
    return process.model_copy(
        update={"bin_edges_mbps": _significant(edges), "outage_entry": _table(entry, 6)}
    )


def long_run(process: ChainProcess) -> Floats:
    """Long-run shares [levels, bins] of the steps with bandwidth, exactly: the chain's stationary
    distribution.
    """
    moves = np.asarray(process.bin_transitions)
    entry = np.asarray(process.outage_entry)
    levels, bins = entry.shape
    stay = np.einsum("lm,mbc->lbmc", np.asarray(process.level_transitions), moves)
    jump = np.einsum(
        "lm,mc->lmc", np.asarray(process.level_after_outage), np.asarray(process.bin_after_outage)
    )
    step = (1.0 - entry)[:, :, None, None] * stay + entry[:, :, None, None] * jump[:, None, :, :]
    matrix = _normalised(step.reshape(levels * bins, levels * bins))
    equations = np.vstack([matrix.T - np.eye(levels * bins), np.ones(levels * bins)])
    target = np.append(np.zeros(levels * bins), 1.0)
    shares = np.linalg.solve(equations.T @ equations, equations.T @ target)
    result = np.maximum(shares, 0.0).reshape(levels, bins)
    return np.asarray(result / result.sum(), dtype=np.float64)


def _distance(real: SeriesStatistics, made: SeriesStatistics) -> float:
    """How far generated figures lie from measured ones: autocorrelations absolute, quantiles in shares
    of p95.
    """
    memory = ("autocorrelation_step", "autocorrelation_1s", "autocorrelation_5s")
    size = ("p5_mbps", "p25_mbps", "p50_mbps", "p75_mbps", "p95_mbps", "mean_mbps")
    lags = sum(abs(getattr(real, name) - getattr(made, name)) for name in memory)
    scale = max(real.p95_mbps, 1e-9)
    return float(lags + sum(abs(getattr(real, name) - getattr(made, name)) for name in size) / scale)


def _persistence(before: Floats, after: Floats) -> float:
    """Correlation of the place inside a bin over steps that stay in it: the chance to keep it in the
    model.
    """
    if len(before) < 3 or before.std() == 0.0 or after.std() == 0.0:
        return 0.0
    return round(float(np.clip(np.corrcoef(before, after)[0, 1], 0.0, 1.0)), 3)


def _normalised(table: Floats) -> Floats:
    """Rows divided by their sum."""
    result: Floats = table / table.sum(axis=-1, keepdims=True)
    return result


def _rising(edges: Floats) -> Floats:
    """Edges nudged apart where they coincide, and kept above 0."""
    result = np.maximum(np.asarray(edges, np.float64), 1e-6)
    for index in range(1, len(result)):
        result[index] = max(result[index], result[index - 1] * 1.0002)
    return result


def _significant(values: Floats) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)


def _table(values: Floats, decimals: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in np.round(values, decimals))


def _short(figures: SeriesStatistics) -> SeriesStatistics:
    """The same figures to four significant digits, as they stand in a model file."""
    return SeriesStatistics(**{key: float(f"{value:.4g}") for key, value in figures.model_dump().items()})
