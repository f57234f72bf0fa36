"""Parts of the Raspberry Pi profiles that nobody measured there: clock delays, board power, heat."""

from __future__ import annotations

from dataclasses import dataclass

from dvfo_env.calibration.pi.power import A15_SOURCE, CoreShare
from dvfo_env.devices.profile import (
    ClockDomain,
    CorePower,
    Fit,
    PowerLaw,
    PowerTerms,
    ThermalLaw,
    Trip,
    VoltageCurve,
)
from dvfo_env.schema import Coefficient

UNMEASURED = "no measurement in the sources"
THROTTLE_SOURCE = "raspberrypi/documentation#1348 (cores are throttled from 80 degC on)"
SOFT_LIMIT_SOURCE = "raspberrypi/documentation#970 (3B+: 1.4 to 1.2 GHz at 60 degC, temp_soft_limit)"

Span = tuple[float, float]


def assumed(value: float, unit: str, span: Span, note: str, source: str = UNMEASURED) -> Coefficient:
    """A coefficient that nobody measured: its reasoning in `note` and its `range`."""
    return Coefficient(
        value=round(value, 3), unit=unit, evidence="assumed", source=source, range=span, note=note
    )


@dataclass(frozen=True)
class CorePowers:
    """Power of a board idle, and what its four cores at the top clock add, as a USB meter read it."""

    idle_mw: float
    idle_range: Span
    four_cores_mw: float
    four_range: Span
    at_mhz: float
    source: str
    idle_note: str
    cores_note: str


def clock_domain(mhz: tuple[float, ...], source: str, delay_note: str) -> ClockDomain:
    """CPU clocks with an assumed delay of 1 ms; none where there is one clock only."""
    delay = assumed(1.0, "ms", (0.1, 5.0), delay_note)
    if len(mhz) == 1:
        delay = assumed(0.0, "ms", (0.0, 0.0), delay_note)
    return ClockDomain(mhz=mhz, effect_delay_ms=delay, source=source)


def memory_domain(mhz: float, source: str) -> ClockDomain:
    """The SDRAM clock, which only the firmware's configuration file sets: pinned."""
    reason = "never changes while running: set in config.txt, read at boot"
    return ClockDomain(mhz=(mhz,), effect_delay_ms=assumed(0.0, "ms", (0.0, 0.0), reason), source=source)


def board_power(cluster: str, powers: CorePowers, share: CoreShare, slope: float, slopes: Span) -> PowerLaw:
    """Board power from a USB meter's idle and full-load readings; how cores share it is the A15's.

    P(n) = idle + cluster + n core, scaled by f V(f)^2; the four-core reading is met exactly.
    """
    one = powers.four_cores_mw / (share.cluster_share + 4.0 * (1.0 - share.cluster_share))
    split = (
        f"one busy core costs {one:.0f} mW, {100 * share.cluster_share:.0f} % of it the cluster's"
        f" (the A15's split: error {share.error_percent} %, unseen programs {share.holdout_error_percent} %)"
    )
    low, high = (bound / powers.four_cores_mw for bound in powers.four_range)

    def part(of_one: float, note: str) -> Coefficient:
        value = one * of_one
        span = (round(value * low, 1), round(value * high, 1))
        return assumed(value, "mW", span, note, f"{powers.source}; {A15_SOURCE}")

    terms = PowerTerms(
        base_mw=assumed(powers.idle_mw, "mW", powers.idle_range, powers.idle_note, powers.source),
        cores={
            cluster: CorePower(
                core_mw=part(1.0 - share.cluster_share, f"{powers.cores_note}; {split}"),
                cluster_mw=part(share.cluster_share, split),
                reference_mhz=powers.at_mhz,
            )
        },
        fit=Fit(
            points=0, conditions="nobody measured this board's power against clock and cores: all assumed"
        ),
    )
    return PowerLaw(meter="none", board=terms, cpu_voltage=_a15_voltage(slope, slopes))


def thermal(
    resistance: float, resistance_range: Span, resistance_note: str, start_c: float, trips: tuple[Trip, ...]
) -> ThermalLaw:
    """One RC node in a room; resistance in degC/W of board power, from where throttled rows begin."""
    return ThermalLaw(
        ambient_c=assumed(25.0, "degC", (15.0, 35.0), "a room"),
        resistance_c_per_w=assumed(resistance, "degC/W", resistance_range, resistance_note),
        time_constant_s=assumed(
            120.0, "s", (30.0, 300.0), "a bare board without a heat sink warms in minutes"
        ),
        start_c=start_c,
        trips=trips,
    )


def cpu_trip(temperature_c: float, max_mhz: float, source: str) -> Trip:
    """CPU clock capped from `temperature_c` on, released 5 degC below."""
    return Trip(
        temperature_c=temperature_c,
        release_c=temperature_c - 5.0,
        domain="cpu",
        max_mhz=max_mhz,
        evidence="assumed",
        source=source,
    )


def _a15_voltage(slope: float, slopes: Span) -> VoltageCurve:
    source = f"{A15_SOURCE} (another core: Cortex-A15)"
    return VoltageCurve(
        knee_ghz=assumed(
            1.0, "GHz", (0.6, 1.2), "the lowest clock at which the A15's voltage was read", source
        ),
        slope_per_ghz=assumed(
            slope,
            "1/GHz",
            slopes,
            "measured on the A15, carried over to this core; range: to each of its clocks alone",
            source,
        ),
    )
