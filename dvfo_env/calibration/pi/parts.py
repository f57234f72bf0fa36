"""Parts of the Raspberry Pi profiles that nobody measured there: clock delays, board power, heat."""

from __future__ import annotations

from dataclasses import dataclass

from dvfo_env.calibration.pi.power import A15_SOURCE, PI5_IDLE_MW, PI5_SOURCE, CoreShare, RailLaw
from dvfo_env.devices.profile import (
    ClockDomain,
    CorePower,
    Fit,
    GpuPower,
    PowerLaw,
    PowerTerms,
    ThermalLaw,
    Trip,
    VoltageCurve,
)
from dvfo_env.devices.profile import Mapping as CoreMapping
from dvfo_env.schema import Coefficient

UNMEASURED = "no measurement in the sources"
THROTTLE_SOURCE = "raspberrypi/documentation#1348 (cores are throttled from 80 degC on)"
SOFT_LIMIT_SOURCE = "raspberrypi/documentation#970 (3B+: 1.4 to 1.2 GHz at 60 degC, temp_soft_limit)"

Span = tuple[float, float]
_THREADS = (1, 2, 4)
_TITLES = {1: "one core", 2: "two cores", 4: "all four cores"}


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


def pi5_power(cluster: str, litert: RailLaw, others: list[RailLaw], share: CoreShare) -> PowerLaw:
    """Power of the Pi 5: its core rail measured with one busy core, the rest of the board assumed."""
    one = 1000.0 * litert.watts
    spread = [1000.0 * law.watts for law in (litert, *others)]
    low, high = min(spread) / one, max(spread) / one
    core, cluster_mw = one * (1.0 - share.cluster_share), one * share.cluster_share
    split = (
        f"one busy core: {one:.0f} mW measured (LiteRT; range: the other runtimes);"
        f" {100 * share.cluster_share:.0f} % of it the cluster's: an A15's split, so more cores are assumed"
    )
    rail_fit = Fit(
        points=litert.points,
        conditions="core rail above idle, one thread at 2.4 GHz, LiteRT, NAS-Bench-201 networks",
        error_percent=litert.error_percent,
        holdout_error_percent=litert.holdout_error_percent,
        holdout_worst_percent=litert.holdout_worst_percent,
        holdout_method="each of three tasks (input sizes) left out in turn",
    )
    gpu_note = "the VideoCore VII alone was timed, not metered; between one and three busy cores"
    rails = PowerTerms(
        base_mw=Coefficient(
            value=PI5_IDLE_MW,
            unit="mW",
            evidence="measured",
            source=PI5_SOURCE,
            note="idle power of the core rail as its authors state it",
        ),
        cores={
            cluster: CorePower(
                core_mw=Coefficient(
                    value=round(core, 1),
                    unit="mW",
                    evidence="fitted",
                    source=f"{PI5_SOURCE}; split: {A15_SOURCE}",
                    error_percent=litert.error_percent,
                    holdout_error_percent=litert.holdout_error_percent,
                    range=(round(core * low, 1), round(core * high, 1)),
                    note=split,
                ),
                cluster_mw=assumed(
                    round(cluster_mw, 1),
                    "mW",
                    (round(cluster_mw * low, 1), round(cluster_mw * high, 1)),
                    split,
                    f"{PI5_SOURCE}; split: {A15_SOURCE}",
                ),
            )
        },
        gpu=GpuPower(busy_mw=assumed(2000.0, "mW", (1000.0, 4500.0), gpu_note)),
        fit=rail_fit,
    )
    loss = 1.0 / 0.85
    supply = "core rail divided by 0.85 for the regulator; range: 0.95 to 0.7, and the other runtimes"

    def at_input(value: float) -> Coefficient:
        span = (round(value * low / 0.95, 1), round(value * high / 0.7, 1))
        return assumed(round(value * loss, 1), "mW", span, supply, PI5_SOURCE)

    board = PowerTerms(
        base_mw=assumed(
            3000.0, "mW", (2400.0, 4000.0), "a Pi 4's 2.4 W and a larger SoC; owners' readings: 2.4 to 4 W"
        ),
        cores={cluster: CorePower(core_mw=at_input(core), cluster_mw=at_input(cluster_mw))},
        gpu=GpuPower(busy_mw=assumed(2350.0, "mW", (1050.0, 6400.0), f"{gpu_note}; divided by 0.85")),
        fit=Fit(
            points=litert.points,
            conditions="core rail measured with one busy core; regulator and rest of the board assumed",
            holdout_method="",
        ),
    )
    return PowerLaw(meter="core rail", board=board, rails=rails)


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


def core_mappings(cluster: str) -> dict[str, CoreMapping]:
    """One, two or all four cores of the one cluster."""
    return {
        f"cpu{n}": CoreMapping(kind="cpu", cluster=cluster, threads=n, title=_TITLES[n]) for n in _THREADS
    }
