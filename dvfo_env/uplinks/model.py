"""The uplink model: a data file of fitted probabilities with their provenance, and the generator that
runs it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dvfo_env.errors import TraceError
from dvfo_env.schema import Coefficient, Evidence, Record
from dvfo_env.uplinks.interface import RadioPower
from dvfo_env.uplinks.sampler import sample_rates, sample_round_trips
from dvfo_env.uplinks.statistics import SeriesStatistics
from dvfo_env.uplinks.traces import Trace, check_step, resample

Row = tuple[float, ...]
BURN_IN_STEPS = 3000
RATE_STREAM, ROUND_TRIP_STREAM = 1, 2


def _cumulative(rows: object) -> NDArray[np.float64]:
    """Cumulative probabilities along the last axis, rescaled so that each row ends at exactly 1."""
    total = np.cumsum(np.asarray(rows, dtype=np.float64), axis=-1)
    return np.ascontiguousarray(total / total[..., -1:])


class ChainProcess(Record):
    """A Markov chain over log-bandwidth bins, steered by a slow level, with an outage state of its own
    dwell time.

    With L levels and K bins. Each step of `step_ms`: with chance `outage_entry[level][bin]` an outage
    begins (rate
    0) whose length is one of the equally likely `outage_dwell_ms`; it ends in a level drawn from
    `level_after_outage[level]` and a bin drawn from `bin_after_outage[level]`. Otherwise the level moves by
    `level_transitions[level]`, then the bin by `bin_transitions[level][bin]`; the rate is log-uniform inside
    `bin_edges_mbps`, at a place kept with chance `position_persistence` while the bin stays. Rates below
    `outage_below_mbps` in the measurements count as outage.
    """

    step_ms: float = Field(gt=0)
    outage_below_mbps: float = Field(ge=0)
    bin_edges_mbps: Row = Field(min_length=2)
    position_persistence: float = Field(ge=0, le=1)
    level_transitions: tuple[Row, ...]
    bin_transitions: tuple[tuple[Row, ...], ...]
    outage_entry: tuple[Row, ...]
    level_after_outage: tuple[Row, ...]
    bin_after_outage: tuple[Row, ...]
    outage_dwell_ms: Row

    @model_validator(mode="after")
    def _consistent(self) -> ChainProcess:
        levels, bins = len(self.level_transitions), len(self.bin_edges_mbps) - 1
        expected = {
            "level_transitions": (levels, levels),
            "bin_transitions": (levels, bins, bins),
            "outage_entry": (levels, bins),
            "level_after_outage": (levels, levels),
            "bin_after_outage": (levels, bins),
        }
        for field, shape in expected.items():
            try:
                table = np.asarray(getattr(self, field), dtype=np.float64)
            except ValueError:
                raise ValueError(f"{field} has rows of different length") from None
            if table.shape != shape:
                raise ValueError(f"{field} has shape {table.shape}, expected {shape}")
            if (table < 0).any() or (table > 1).any():
                raise ValueError(f"{field} has a probability outside 0..1")
            if field != "outage_entry" and np.abs(table.sum(axis=-1) - 1.0).max() > 0.01:
                raise ValueError(f"{field} has a row that does not sum to 1")
        if self.bin_edges_mbps[0] <= 0 or any(low >= high for low, high in pairwise(self.bin_edges_mbps)):
            raise ValueError("bin_edges_mbps must rise and start above 0")
        if not self.outage_dwell_ms or min(self.outage_dwell_ms) <= 0:
            raise ValueError("outage_dwell_ms needs at least one length, all above 0")
        return self

    def rates_mbps(self, samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """A stretch of `samples` rates in Mbit/s, started in the long-run distribution."""
        rates: NDArray[np.float64] = sample_rates(
            rng.random((samples + BURN_IN_STEPS, 4)),
            _cumulative(self.level_transitions),
            _cumulative(self.bin_transitions),
            np.asarray(self.outage_entry, dtype=np.float64),
            _cumulative(self.level_after_outage),
            _cumulative(self.bin_after_outage),
            np.asarray(self.outage_dwell_ms, dtype=np.float64) / self.step_ms,
            np.log(np.asarray(self.bin_edges_mbps, dtype=np.float64)),
            self.position_persistence,
        )
        return rates[BURN_IN_STEPS:]


class RoundTripProcess(Record):
    """Round-trip times: a quantile table in ms, read with a normal score of `autocorrelation` over
    `spacing_ms`.
    """

    probabilities: Row = Field(min_length=2)
    quantiles_ms: Row = Field(min_length=2)
    autocorrelation: float = Field(ge=0, lt=1)
    spacing_ms: float = Field(gt=0)
    evidence: Evidence
    source: str
    note: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> RoundTripProcess:
        if len(self.probabilities) != len(self.quantiles_ms):
            raise ValueError("probabilities and quantiles_ms differ in length")
        if self.probabilities[0] != 0 or self.probabilities[-1] != 1:
            raise ValueError("probabilities must run from 0 to 1")
        if any(low >= high for low, high in pairwise(self.probabilities)):
            raise ValueError("probabilities must rise")
        if self.quantiles_ms[0] < 0 or any(low > high for low, high in pairwise(self.quantiles_ms)):
            raise ValueError("quantiles_ms must not fall, nor be below 0")
        return self

    def median_ms(self) -> float:
        """The middle of the table, ms."""
        return float(np.interp(0.5, self.probabilities, self.quantiles_ms))

    def sample_ms(self, samples: int, step_ms: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """`samples` round-trip times in ms, `step_ms` apart."""
        times: NDArray[np.float64] = sample_round_trips(
            rng.standard_normal(samples),
            self.autocorrelation ** (step_ms / self.spacing_ms),
            np.asarray(self.probabilities, dtype=np.float64),
            np.asarray(self.quantiles_ms, dtype=np.float64),
        )
        return times


class Provenance(Record):
    """Where the bandwidth figures come from: the published files, and how much of them there was."""

    repository: str
    commit: str
    files: tuple[str, ...]
    cite: str
    series: int = Field(ge=0)
    seconds: float = Field(ge=0)


class FitReport(Record):
    """Real against generated figures; the held-back pair comes from a fit to the other series only."""

    real: SeriesStatistics
    fitted: SeriesStatistics
    holdout_series: int = 0
    holdout_real: SeriesStatistics | None = None
    holdout_fitted: SeriesStatistics | None = None


class UplinkModel(Record):
    """Everything one model file says. `dvfo_env.uplinks.load_uplink` turns it into a running uplink."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str
    direction: Literal["uplink", "downlink used as uplink", "none (synthetic)"]
    process_evidence: Evidence
    notes: tuple[str, ...] = ()
    provenance: Provenance
    rtt: RoundTripProcess
    downlink_mbps: Coefficient
    radio: RadioPower
    fit: FitReport | None = None
    process: ChainProcess


class ModelUplink:
    """A model as an uplink: an endless supply of bandwidth with the model's statistics.

    Args:
        model: the data.
        step_ms: spacing of bank samples in ms; by default the model's own. Coarser steps are averages, finer
            ones hold the model's rate.

    Raises:
        TraceError: `step_ms` is not a positive number.
    """

    def __init__(self, model: UplinkModel, step_ms: float | None = None) -> None:
        self.model = model
        self._step_ms = float(model.process.step_ms if step_ms is None else step_ms)
        check_step(self._step_ms)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.name

    @property
    def step_ms(self) -> float:
        """Spacing of bank samples in ms."""
        return self._step_ms

    @property
    def downlink_mbps(self) -> float:
        """Rate of the answers in Mbit/s."""
        return self.model.downlink_mbps.value

    @property
    def radio(self) -> RadioPower:
        """Extra power of the radio above the idle board."""
        return self.model.radio

    def bank(self, samples: int, seed: int) -> NDArray[np.float32]:
        """Rates and round-trip times, float32 [samples, 2]: Mbit/s and ms. Same arguments, same bits.

        Raises:
            TraceError: `samples` is below 1 or `seed` below 0.
        """
        check_bank(samples, seed)
        process = self.model.process
        native = samples
        if self._step_ms != process.step_ms:
            native = int(np.ceil(samples * self._step_ms / process.step_ms)) + 1
        rates = process.rates_mbps(native, stream(seed, RATE_STREAM)).astype(np.float32)
        out = np.empty((samples, 2), dtype=np.float32)
        out[:, 0] = resample(Trace(rates, process.step_ms), self._step_ms).rate_mbps[:samples]
        out[:, 1] = self.model.rtt.sample_ms(samples, self._step_ms, stream(seed, ROUND_TRIP_STREAM))
        return out

    def evidence(self) -> dict[str, Coefficient]:
        """The coefficients behind this uplink, by name; the chain and the RTT table by their medians."""
        return {
            "rate_mbps": _rate_coefficient(self.model),
            "rtt_ms": rtt_coefficient(self.model.rtt),
            "downlink_mbps": self.model.downlink_mbps,
            **radio_coefficients(self.model.radio),
        }


def stream(seed: int, which: int) -> np.random.Generator:
    """An independent random stream for every (seed, which)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, which])))


def check_bank(samples: int, seed: int) -> None:
    """Refuse an empty bank or a negative seed.

    Raises:
        TraceError: `samples` is below 1 or `seed` below 0.
    """
    if samples < 1:
        raise TraceError(f"bank: samples {samples} is below 1")
    if seed < 0:
        raise TraceError(f"bank: seed {seed} is below 0")


def rtt_coefficient(rtt: RoundTripProcess) -> Coefficient:
    """The median round-trip time in ms with the label of its table."""
    limits = (rtt.quantiles_ms[0], rtt.quantiles_ms[-1])
    return Coefficient(
        value=rtt.median_ms(),
        unit="ms",
        evidence=rtt.evidence,
        source=rtt.source,
        range=limits,
        note=rtt.note,
    )


def radio_coefficients(radio: RadioPower) -> dict[str, Coefficient]:
    """The four radio coefficients by name."""
    return {
        "transmit_base_mw": radio.transmit_base_mw,
        "transmit_mw_per_mbps": radio.transmit_mw_per_mbps,
        "receive_base_mw": radio.receive_base_mw,
        "receive_mw_per_mbps": radio.receive_mw_per_mbps,
    }


def _rate_coefficient(model: UplinkModel) -> Coefficient:
    """The median rate with the label of the chain; its error is the mean one over the quantiles and
    the mean.
    """
    where = model.provenance
    edges = model.process.bin_edges_mbps
    middle = float(np.sqrt(edges[0] * edges[-1])) if model.fit is None else model.fit.fitted.p50_mbps
    source = (
        f"{where.repository} {where.commit[:12]} {', '.join(where.files)}" if where.commit else where.cite
    )
    return Coefficient(
        value=middle,
        unit="Mbit/s",
        evidence=model.process_evidence,
        source=source,
        range=(0.0 if np.any(model.process.outage_entry) else edges[0], edges[-1]),
        error_percent=None if model.fit is None else quantile_error_percent(model.fit.real, model.fit.fitted),
        note=f"{model.direction}; median of the process",
    )


def quantile_error_percent(real: SeriesStatistics, fitted: SeriesStatistics) -> float:
    """Mean absolute error in per cent over p5, p25, p50, p75, p95 and mean, leaving out figures below
    0.1 Mbit/s.
    """
    names = ("p5_mbps", "p25_mbps", "p50_mbps", "p75_mbps", "p95_mbps", "mean_mbps")
    pairs = [(getattr(real, name), getattr(fitted, name)) for name in names]
    errors = [abs(after / before - 1.0) for before, after in pairs if before >= 0.1]
    return 100.0 * float(np.mean(errors)) if errors else 0.0
