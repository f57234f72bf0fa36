"""From raw measurements to the Raspberry Pi profiles: 2B, 3B+, 4B, 5 and Zero 2 W.

Whole-network times come from the ncnn tables at each board's top clock, how they follow the clocks from a
pose network timed on the same board, the Pi 5's power from its core rail. What nobody measured is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvfo_env.calibration.ncnn_tables import (
    NEAREST_NETWORKS,
    BenchRow,
    network_latency,
    read_ncnn_tables,
    scaling_fit,
    select_run,
    split_by_flops,
    workloads_of,
)
from dvfo_env.calibration.pi.parts import (
    SOFT_LIMIT_SOURCE,
    THROTTLE_SOURCE,
    CorePowers,
    assumed,
    board_power,
    clock_domain,
    cpu_trip,
    memory_domain,
    pi5_power,
    thermal,
)
from dvfo_env.calibration.pi.pose import (
    PoseLaw,
    PoseRows,
    fit_cpu_law,
    fit_pose_law,
    pose_source,
    read_pose_rows,
    repeat_spread_percent,
)
from dvfo_env.calibration.pi.power import (
    PI5_SOURCE,
    CoreShare,
    fit_a15_voltage,
    fit_core_share,
    fit_pi5_rail,
)
from dvfo_env.devices.profile import Anchor, ClockLaw, DeviceProfile, Fit, Law, ThermalLaw
from dvfo_env.devices.profile import Mapping as CoreMapping
from dvfo_env.schema import Coefficient

Runs = Mapping[int, Mapping[str, BenchRow]]
"""Number of threads -> network -> result line."""

_THREADS = (1, 2, 4)
_TITLES = {1: "one core", 2: "two cores", 4: "all four cores"}
_DELAY_NOTE = "a firmware call and a voltage step; no source times it on this board"
_BLIND_SDRAM_GHZ = 1.0
"""Where a law does not depend on the SDRAM clock any value serves."""


@dataclass(frozen=True)
class _TwoCores:
    """Another board on which the same core was timed with two threads and with `other` threads."""

    heading: str
    title: str
    other: int
    power_save: int | None = None


_A72 = _TwoCores("Rockchip RK3399", "an RK3399's A72", 1, 2)
_A53 = _TwoCores("NanoPi R2S", "an RK3328's A53", 4)


@dataclass(frozen=True)
class _Board:
    """What the sources hold on one board, and what is assumed of it. Clocks in MHz."""

    name: str
    title: str
    cluster: str
    pose: str
    heading: str
    table_mhz: float
    cpu_mhz: tuple[float, ...]
    sdram_mhz: float | None
    two_cores: _TwoCores
    power: CorePowers
    description: str
    four_cores_up_to_mhz: float | None = None
    stands_in: str = ""
    thermal: ThermalLaw | None = field(default=None)


def _steps(low: int, high: int) -> tuple[float, ...]:
    return tuple(float(mhz) for mhz in range(low, high + 1, 100))


_PIDRAMBLE = "PidRamble power benchmarks (one board of each model, stock Raspbian Lite)"
_ZERO_2 = _Board(
    name="raspberry-pi-zero-2w",
    title="Raspberry Pi Zero 2 W (4 x Cortex-A53)",
    cluster="a53",
    pose="pi0",
    heading="Raspberry Pi Zero 2 W",
    table_mhz=1000.0,
    cpu_mhz=_steps(600, 1000),
    sdram_mhz=450.0,
    two_cores=_A53,
    power=CorePowers(
        idle_mw=600.0,
        idle_range=(375.0, 700.0),
        four_cores_mw=1900.0,
        four_range=(1400.0, 2500.0),
        at_mhz=1000.0,
        source="cnx-software.com/2021/12/09/raspberry-pi-zero-2-w-power-consumption (Otii Arc) and"
        " andrejacobs.org, Raspberry Pi Zero 2 W temperature and power consumption (USB meter)",
        idle_note="one board on a source meter; range: stripped down, to with peripherals",
        cores_note="1.4 W more than a Zero W under load, which adds about 0.5 W itself; not a neural network",
    ),
    description="CPU only: cores and CPU clock; the SDRAM clock is a firmware setting and pinned at 450 MHz."
    " Whole-network times measured at 1.0 GHz, the clock law on a pose network on this board (no throttling"
    " was seen, so no thermal law); power is assumed.",
)
_PI_2B = _Board(
    name="raspberry-pi-2b",
    title="Raspberry Pi 2 Model B (4 x Cortex-A53, v1.2 inferred)",
    cluster="a53",
    pose="pi2b",
    heading="Raspberry Pi Zero 2 W",
    table_mhz=1000.0,
    cpu_mhz=_steps(600, 900),
    sdram_mhz=450.0,
    two_cores=_A53,
    power=CorePowers(
        idle_mw=1100.0,
        idle_range=(900.0, 1300.0),
        four_cores_mw=1000.0,
        four_range=(800.0, 1900.0),
        at_mhz=900.0,
        source=_PIDRAMBLE,
        idle_note="one board; range: without HDMI, to another revision",
        cores_note="2.1 - 1.1 W at full load; range: to the Zero 2 W's cores; not a neural network",
    ),
    description="CPU only: cores and CPU clock; the SDRAM clock is a firmware setting and pinned at 450 MHz."
    " The clock law was measured with a pose network on this board; nobody timed the shipped networks on it,"
    " so their times are those of the Zero 2 W, whose cores the pose network finds equally fast. Power is"
    " assumed.",
    stands_in="raspberry-pi-zero-2w",
)
_PI_3B = _Board(
    name="raspberry-pi-3b-plus",
    title="Raspberry Pi 3 Model B+ (4 x Cortex-A53)",
    cluster="a53",
    pose="pi3b",
    heading="Raspberry Pi 3 Model B+",
    table_mhz=1400.0,
    cpu_mhz=_steps(600, 1400),
    sdram_mhz=450.0,
    two_cores=_A53,
    power=CorePowers(
        idle_mw=1900.0,
        idle_range=(1600.0, 2300.0),
        four_cores_mw=3200.0,
        four_range=(2500.0, 3800.0),
        at_mhz=1400.0,
        source=_PIDRAMBLE,
        idle_note="one board; range: without HDMI and LEDs, to with Ethernet in use",
        cores_note="5.1 - 1.9 W at full load; not a neural network",
    ),
    description="CPU only: cores and CPU clock; the SDRAM clock is a firmware setting and pinned at 450 MHz."
    " Whole-network times measured at a nominal 1.4 GHz; the clock law was fitted on a pose network up to"
    " 1.0 GHz and is extrapolated above, where the bare board throttled; power and heat are assumed.",
    four_cores_up_to_mhz=1000.0,
    thermal=thermal(
        14.5,
        (14.0, 15.2),
        "the pose runs slow down from 1.1 GHz on: 80 degC lies between 3.6 and 3.9 W of this law",
        45.0,
        (
            cpu_trip(60.0, 1200.0, SOFT_LIMIT_SOURCE),
            cpu_trip(80.0, 1000.0, f"{THROTTLE_SOURCE}; the cap is the last clock without slow rows"),
        ),
    ),
)
_PI_4B = _Board(
    name="raspberry-pi-4b",
    title="Raspberry Pi 4 Model B (4 x Cortex-A72)",
    cluster="a72",
    pose="pi4b",
    heading="Raspberry Pi 4 Model B",
    table_mhz=1800.0,
    cpu_mhz=_steps(600, 1500),
    sdram_mhz=None,
    two_cores=_A72,
    power=CorePowers(
        idle_mw=2400.0,
        idle_range=(1700.0, 3000.0),
        four_cores_mw=3000.0,
        four_range=(2400.0, 4000.0),
        at_mhz=1500.0,
        source="chipwired.com/raspberry-pi-power-use"
        " (one Pi 4B, two USB meters: 2.4 and 2.3 W quiet, 5.4 and 5.1 W at high CPU load)",
        idle_note="one board on USB meters; range: without Wi-Fi, to a wall meter with its supply",
        cores_note="5.4 - 2.4 W with four cores at 1.5 GHz; that load was not a neural network",
    ),
    description="CPU only: cores and CPU clock (the SDRAM clock, a firmware setting, showed no effect)."
    " Whole-network times measured at 1.8 GHz; the clock law was fitted on a pose network on this board,"
    " power and thermal constants are assumed.",
    four_cores_up_to_mhz=1200.0,
    thermal=thermal(
        11.0,
        (10.0, 12.5),
        "the pose runs throttled at 1.5 GHz, not at 1.2: 80 degC lies between 4.4 and 5.4 W of this law",
        45.0,
        (
            cpu_trip(
                80.0,
                1200.0,
                f"{THROTTLE_SOURCE}; the cap is the clock at which the law matches the throttled rows of "
                + pose_source("pi4b"),
            ),
        ),
    ),
)
_BOARDS = (_PI_2B, _PI_3B, _PI_4B, _ZERO_2)

_PI5_TABLE = "Raspberry Pi 5 Broadcom BCM2712, "
_PI5_NOTE = "at 2.4 GHz"


def calibrate_pis(measurements: Path) -> tuple[list[DeviceProfile], list[dict[str, Any]]]:
    """Build the profiles of the Raspberry Pis from a folder of raw measurements.

    Returns the profiles and three kinds of report rows: the clock law of each board's pose network with its
    errors; the power laws; and the time of each network, board and mapping at the clock of the tables.

    Raises:
        MeasurementError: a raw file is missing, unreadable or too small.
    """
    tables = read_ncnn_tables(measurements)
    share, voltage = fit_core_share(measurements), fit_a15_voltage(measurements)
    laws, reports = {}, []
    for board in _BOARDS:
        rows = read_pose_rows(measurements, board.pose)
        laws[board.name], fitted = _pose_law(board, rows)
        reports.append(_pose_row(board, laws[board.name], fitted))
    profiles = []
    for board in _BOARDS:
        profile, found = _profile(
            board, laws, tables, board_power(board.cluster, board.power, share, *voltage)
        )
        profiles.append(profile)
        reports += found
    fifth, found = _pi5(measurements, tables, share)
    return sorted([*profiles, fifth], key=lambda profile: profile.name), reports + found


def _pose_law(board: _Board, rows: PoseRows) -> tuple[PoseLaw, PoseRows]:
    """The board's clock law and the rows it was fitted to."""
    if board.four_cores_up_to_mhz is None:
        return fit_pose_law(rows, "pose network on 1, 2 and 4 cores at every clock pair"), rows
    top = board.four_cores_up_to_mhz / 1000.0
    four = rows.where(rows.cores == 4)
    scope = f"pose network on four cores, 0.6 to {top:.1f} GHz"
    if board.sdram_mhz is None:
        return fit_cpu_law(four, top, scope), four.where(four.cpu_ghz <= top + 1e-9)
    cool = four.where(four.cpu_ghz <= top + 1e-9)
    return fit_pose_law(cool, f"{scope}, every SDRAM clock"), cool


def _profile(
    board: _Board, laws: Mapping[str, PoseLaw], tables: list[BenchRow], power: Any
) -> tuple[DeviceProfile, list[dict[str, Any]]]:
    law = laws[board.name]
    runs = {n: select_run(tables, board.heading, threads=n) for n in (1, 4)}
    times = {workload: _times(board, runs, tables, workload) for workload in workloads_of(*runs.values())}
    if board.stands_in:
        times = {w: _of_the_twin(board, law, laws[board.stands_in], by) for w, by in times.items()}
    latency: dict[str, dict[str, Law]] = {
        workload: {f"cpu{n}": _law(board, total, n, law) for n, total in by_threads.items()}
        for workload, by_threads in times.items()
    }
    profile = DeviceProfile(
        name=board.name,
        title=board.title,
        description=board.description,
        cores={board.cluster: 4},
        cpu=clock_domain(board.cpu_mhz, pose_source(board.pose), _DELAY_NOTE),
        memory=memory_domain(board.sdram_mhz, pose_source(board.pose)) if board.sdram_mhz else None,
        mappings=_mappings(board.cluster),
        out_of_the_box="cpu4",
        inference={workload: "ncnn, fp32, batch 1" for workload in times},
        latency=latency,
        power=power,
        thermal=board.thermal,
        supporting={"pose-network": _supporting(law)}
        | ({} if board.stands_in else {"flop-scaling": scaling_fit(runs.values())}),
    )
    rows = [
        _row(board.name, w, f"cpu{n}", t, board.table_mhz) for w, by in times.items() for n, t in by.items()
    ]
    return profile, rows


def _mappings(cluster: str) -> dict[str, CoreMapping]:
    return {
        f"cpu{n}": CoreMapping(kind="cpu", cluster=cluster, threads=n, title=_TITLES[n]) for n in _THREADS
    }


def _times(board: _Board, runs: Runs, tables: list[BenchRow], workload: str) -> dict[int, Coefficient]:
    """Whole-network time at the tables' clock with 1, 2 and 4 threads; two by Amdahl's law."""
    one, four = network_latency(runs[1], workload), network_latency(runs[4], workload)
    return {1: one, 2: _two(one, four, _bound(board.two_cores, tables, workload, runs[4])), 4: four}


def _bound(
    other: _TwoCores, tables: list[BenchRow], workload: str, run: Mapping[str, BenchRow]
) -> tuple[_TwoCores, float] | None:
    """The other board's time on two threads relative to its time on `other` threads, same network."""
    nearest = next(name for name in NEAREST_NETWORKS[workload] if name in run)
    both = [
        select_run(tables, other.heading, threads=n, power_save=other.power_save) for n in (2, other.other)
    ]
    if any(nearest not in found for found in both):
        return None
    return other, both[0][nearest].avg_ms / both[1][nearest].avg_ms


def _two(one: Coefficient, four: Coefficient, bound: tuple[_TwoCores, float] | None) -> Coefficient:
    ones, fours = one.range or (one.value, one.value), four.range or (four.value, four.value)
    value = round((one.value + 2.0 * four.value) / 3.0, 3)
    low, high = ones[0] / 2.0, (ones[1] * fours[1]) ** 0.5
    reason = "perfect scaling"
    if bound is not None and bound[0].other == 1:
        low, reason = ones[0] * bound[1], f"two of {bound[0].title} cores gain {1 / bound[1]:.2f}"
    elif bound is not None:
        high = max(high, fours[1] * bound[1])
        reason += f", {bound[0].title} cores (two take {bound[1]:.2f} times four's time)"
    return Coefficient(
        value=value,
        unit="ms",
        evidence="assumed",
        source=one.source,
        range=(round(min(low, value), 3), round(max(high, value), 3)),
        note=f"Amdahl's law through 1 and 4 threads; range: {reason}, a power law through 1 and 4 threads",
    )


def _of_the_twin(
    board: _Board, own: PoseLaw, twin: PoseLaw, times: Mapping[int, Coefficient]
) -> dict[int, Coefficient]:
    """The twin board's times, corrected by the pose network's at the same clocks; all assumed."""
    ghz, sdram = board.table_mhz / 1000.0, (board.sdram_mhz or 1000.0) / 1000.0
    found = {}
    for n, total in times.items():
        ratio = own.latency_ms(n, ghz, sdram) / twin.latency_ms(n, ghz, sdram)
        low, high = total.range or (total.value, total.value)
        reason = (
            f"the Zero 2 W's {total.value:g} ms times the pose network's ratio of the boards, {ratio:.3f}"
        )
        spread = max(abs(ratio - 1.0), own.holdout_error_percent / 100.0)
        found[n] = Coefficient(
            value=round(total.value * ratio, 3),
            unit="ms",
            evidence="assumed",
            source=f"{total.source}; {pose_source(board.pose)}",
            range=(round(low * ratio * (1.0 - spread), 3), round(high * ratio * (1.0 + spread), 3)),
            note="; ".join(filter(None, (reason, total.note))),
        )
    return found


def _law(board: _Board, total: Coefficient, threads: int, law: PoseLaw) -> ClockLaw:
    """Split a time at the tables' clock into what follows the CPU clock, the SDRAM clock and nothing."""
    ghz = board.table_mhz / 1000.0
    sdram = (board.sdram_mhz or 1000.0 * _BLIND_SDRAM_GHZ) / 1000.0
    part = law.shares(threads, ghz, sdram)
    low, high = total.range or (total.value, total.value)
    measured = total.evidence == "measured"
    source = f"{total.source}; {pose_source(board.pose)}"
    borrowed = f"share of the pose network ({part.fixed:.3f} of the time at {ghz:g} GHz)"
    fixed_note = f"{borrowed}, whose time also holds capture and drawing; range: from none to that share"
    moving_note = f"from the time at {ghz:g} GHz; errors: the pose network's"
    memory_note = f"share of the pose network ({part.memory:.3f} of the time at {sdram:g} GHz SDRAM)"

    def joined(note: str) -> str:
        return "; ".join(filter(None, (note, total.note)))

    memory = None
    if law.mem_ms_ghz > 0.0:
        memory = Coefficient(
            value=round(total.value * part.memory * sdram, 3),
            unit="ms GHz",
            evidence="assumed",
            source=source,
            range=(0.0, round(2.0 * high * part.memory * sdram, 3)),
            note=joined(f"{memory_note}; range: from none to twice that"),
        )
    return ClockLaw(
        t0_ms=Coefficient(
            value=round(total.value * part.fixed, 3),
            unit="ms",
            evidence="assumed",
            source=source,
            range=(0.0, round(high * part.fixed, 3)),
            note=joined(fixed_note),
        ),
        cpu_ms_ghz=Coefficient(
            value=round(total.value * part.cpu * ghz, 3),
            unit="ms GHz",
            evidence="fitted" if measured else "assumed",
            source=source,
            error_percent=law.error_percent if measured else None,
            holdout_error_percent=law.holdout_error_percent if measured else None,
            range=(round(low * part.cpu * ghz, 3), round(high * ghz, 3)),
            note=joined(moving_note),
        ),
        mem_ms_ghz=memory,
        split_note="the fixed part is split by operations, the rest by FLOPs; no layer was timed: assumed",
        anchor=Anchor(latency=total, cpu_mhz=board.table_mhz, mem_mhz=board.sdram_mhz) if measured else None,
        fit=_supporting(law).model_copy(
            update={"conditions": f"{law.scope}; scaled to this network's time at {ghz:g} GHz"}
        ),
    )


def _supporting(law: PoseLaw) -> Fit:
    return Fit(
        points=law.points,
        conditions=law.scope,
        error_percent=law.error_percent,
        holdout_error_percent=law.holdout_error_percent,
        holdout_worst_percent=law.holdout_worst_percent,
        holdout_method=law.holdout_method,
    )


def _pi5(
    measurements: Path, tables: list[BenchRow], share: CoreShare
) -> tuple[DeviceProfile, list[dict[str, Any]]]:
    """The Raspberry Pi 5: one clock, cores and GPU timed, core rail metered."""
    rails = fit_pi5_rail(measurements)
    litert = next(law for law in rails if law.runtime == "litert")
    runs = {n: select_run(tables, f"{_PI5_TABLE}Cortex-A76", threads=n) for n in (1, 4)}
    gpu = select_run(tables, f"{_PI5_TABLE}VideoCore", threads=4, gpu_device=0)
    latency: dict[str, dict[str, Law]] = {}
    rows = []
    for workload in workloads_of(*runs.values()):
        one, four = (network_latency(runs[n], workload) for n in (1, 4))
        totals = {
            "cpu1": one,
            "cpu2": _two(one, four, _bound(_A72, tables, workload, runs[4])),
            "cpu4": four,
        }
        if workload in workloads_of(gpu):
            totals["gpu"] = network_latency(gpu, workload)
        latency[workload] = {m: split_by_flops(t, workload, _PI5_NOTE) for m, t in totals.items()}
        rows += [_row("raspberry-pi-5", workload, m, t, 2400.0) for m, t in totals.items()]
    profile = DeviceProfile(
        name="raspberry-pi-5",
        title="Raspberry Pi 5 (4 x Cortex-A76, VideoCore VII)",
        description="Cores or GPU are the knob; the CPU clock is pinned at 2.4 GHz: nobody timed it lower,"
        " and a board overclocked to 2.9 GHz was slower on nearly every network."
        " Whole-network times measured, split over segments by FLOPs; the core rail's power measured with one"
        " busy core, the rest of the power assumed.",
        cores={"a76": 4},
        cpu=clock_domain((2400.0,), f"{PI5_SOURCE} and the ncnn tables", "never changes: one clock"),
        mappings=_mappings("a76")
        | {
            "gpu": CoreMapping(
                kind="gpu",
                cluster="a76",
                threads=1,
                busy_cores=assumed(0.3, "cores", (0.05, 1.0), "the core hands kernels over and waits"),
                title="GPU, driven by one core",
            )
        },
        out_of_the_box="cpu4",
        inference={w: "ncnn, batch 1 (GPU: Vulkan, fp16)" for w in latency},
        latency=latency,
        power=pi5_power("a76", litert, [law for law in rails if law is not litert], share),
        supporting={
            f"core-rail-{law.runtime}": Fit(
                points=law.points,
                conditions="core rail energy above idle against time, one thread",
                error_percent=law.error_percent,
                holdout_error_percent=law.holdout_error_percent,
                holdout_worst_percent=law.holdout_worst_percent,
                holdout_method="each of three tasks (input sizes) left out in turn",
            )
            for law in rails
        }
        | {"flop-scaling": scaling_fit([*runs.values(), gpu])},
    )
    power_rows = [
        {
            "device": "raspberry-pi-5",
            "rail": f"core, {law.runtime}",
            "watts_above_idle": law.watts,
            "points": law.points,
            "error_percent": law.error_percent,
            "holdout_error_percent": law.holdout_error_percent,
            "holdout_worst_percent": law.holdout_worst_percent,
        }
        for law in rails
    ]
    return profile, power_rows + rows


def _pose_row(board: _Board, law: PoseLaw, rows: PoseRows) -> dict[str, Any]:
    return {
        "device": board.name,
        "t0_ms": round(law.t0_ms, 1),
        "cpu_ms_ghz": round(law.cpu_ms_ghz, 1),
        "core_exponent": round(law.core_exponent, 3),
        "mem_ms_ghz": round(law.mem_ms_ghz, 1),
        "points": law.points,
        "error_percent": law.error_percent,
        "holdout_error_percent": law.holdout_error_percent,
        "holdout_worst_percent": law.holdout_worst_percent,
        "repeat_spread_percent": repeat_spread_percent(rows),
        "by_cores_percent": ", ".join(f"{n}: {error:g}" for n, error in law.cores_percent.items()),
    }


def _row(device: str, workload: str, mapping: str, total: Coefficient, mhz: float) -> dict[str, Any]:
    low, high = total.range or (total.value, total.value)
    return {
        "device": device,
        "workload": workload,
        "mapping": mapping,
        "at_mhz": mhz,
        "latency_ms": total.value,
        "low_ms": low,
        "high_ms": high,
        "evidence": total.evidence,
    }
