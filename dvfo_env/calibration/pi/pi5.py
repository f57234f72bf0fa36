"""The Raspberry Pi 5: one clock, cores and GPU timed, the core rail metered with one busy core."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvfo_env.calibration.encoder import encoder
from dvfo_env.calibration.ncnn_tables import (
    SCALING,
    BenchRow,
    network_latency,
    scaling_fit,
    select_run,
    split_by_flops,
    workloads_of,
)
from dvfo_env.calibration.pi.boards import A72
from dvfo_env.calibration.pi.latency import Runs, core_mappings, time_row, two_thread_bound, two_threads
from dvfo_env.calibration.pi.parts import assumed, clock_domain
from dvfo_env.calibration.pi.power import (
    A15_SOURCE,
    PI5_IDLE_MW,
    PI5_SOURCE,
    CoreShare,
    RailLaw,
    fit_pi5_rail,
)
from dvfo_env.devices.profile import CorePower, DeviceProfile, Fit, GpuPower, Law, PowerLaw, PowerTerms
from dvfo_env.devices.profile import Mapping as CoreMapping
from dvfo_env.schema import Coefficient

_NAME = "raspberry-pi-5"
_CLUSTER = "a76"
_TABLE = "Raspberry Pi 5 Broadcom BCM2712, "
_SPLIT_NOTE = "at 2.4 GHz"
_GPU_POWER_NOTE = "the VideoCore VII alone was timed, not metered; between one and three busy cores"
_HOLDOUT = "each of three tasks (input sizes) left out in turn"


def calibrate_pi5(
    measurements: Path, tables: list[BenchRow], share: CoreShare
) -> tuple[DeviceProfile, list[dict[str, Any]]]:
    """The profile of the Pi 5, and report rows of its core rail and of its networks' times.

    Raises:
        MeasurementError: a raw file is missing, unreadable or too small.
    """
    rails = fit_pi5_rail(measurements)
    litert = next(law for law in rails if law.runtime == "litert")
    runs = {n: select_run(tables, f"{_TABLE}Cortex-A76", threads=n) for n in (1, 4)}
    gpu = select_run(tables, f"{_TABLE}VideoCore", threads=4, gpu_device=0)
    times = {workload: _times(runs, gpu, tables, workload) for workload in workloads_of(*runs.values())}
    latency: dict[str, dict[str, Law]] = {
        workload: {m: split_by_flops(t, workload, _SPLIT_NOTE) for m, t in totals.items()}
        for workload, totals in times.items()
    }
    encoding = encoder(_NAME, runs[1])
    profile = DeviceProfile(
        name=_NAME,
        title="Raspberry Pi 5 (4 x Cortex-A76, VideoCore VII)",
        description="Cores or GPU are the knob; the CPU clock is pinned at 2.4 GHz: nobody timed it lower,"
        " and a board overclocked to 2.9 GHz was slower on nearly every network."
        " Whole-network times measured, split over segments by FLOPs; the core rail's power measured with one"
        " busy core, the rest of the power assumed.",
        cores={_CLUSTER: 4},
        cpu=clock_domain((2400.0,), f"{PI5_SOURCE} and the ncnn tables", "never changes: one clock"),
        mappings=core_mappings(_CLUSTER)
        | {
            "gpu": CoreMapping(
                kind="gpu",
                cluster=_CLUSTER,
                threads=1,
                busy_cores=assumed(0.3, "cores", (0.05, 1.0), "the core hands kernels over and waits"),
                title="GPU, driven by one core",
            )
        },
        out_of_the_box="cpu4",
        inference={w: "ncnn, batch 1 (GPU: Vulkan, fp16)" for w in latency},
        latency=latency,
        power=_power(litert, [law for law in rails if law is not litert], share),
        supporting={
            f"core-rail-{law.runtime}": _rail_fit(law, "core rail energy above idle against time, one thread")
            for law in rails
        }
        | {SCALING: scaling_fit([*runs.values(), gpu])}
        | encoding.supporting(),
        encoder_ms_ghz=encoding.coefficient,
    )
    rows = [time_row(_NAME, w, m, t, 2400.0) for w, totals in times.items() for m, t in totals.items()]
    return profile, [_rail_row(law) for law in rails] + rows


def _times(
    runs: Runs, gpu: Mapping[str, BenchRow], tables: list[BenchRow], workload: str
) -> dict[str, Coefficient]:
    """Whole-network time by mapping; two cores by Amdahl's law, the GPU where it was timed."""
    one, four = (network_latency(runs[n], workload) for n in (1, 4))
    totals = {
        "cpu1": one,
        "cpu2": two_threads(one, four, two_thread_bound(A72, tables, workload, runs[4])),
        "cpu4": four,
    }
    if workload in workloads_of(gpu):
        totals["gpu"] = network_latency(gpu, workload)
    return totals


def _rail_fit(law: RailLaw, conditions: str) -> Fit:
    return Fit(
        points=law.points,
        conditions=conditions,
        error_percent=law.error_percent,
        holdout_error_percent=law.holdout_error_percent,
        holdout_worst_percent=law.holdout_worst_percent,
        holdout_method=_HOLDOUT,
    )


def _rail_row(law: RailLaw) -> dict[str, Any]:
    return {
        "device": _NAME,
        "rail": f"core, {law.runtime}",
        "watts_above_idle": law.watts,
        "points": law.points,
        "error_percent": law.error_percent,
        "holdout_error_percent": law.holdout_error_percent,
        "holdout_worst_percent": law.holdout_worst_percent,
    }


def _power(litert: RailLaw, others: list[RailLaw], share: CoreShare) -> PowerLaw:
    """Core rail measured with one busy core, the rest of the board assumed."""
    one = 1000.0 * litert.watts
    spread = [1000.0 * law.watts for law in (litert, *others)]
    low, high = min(spread) / one, max(spread) / one
    core, cluster_mw = one * (1.0 - share.cluster_share), one * share.cluster_share
    split = (
        f"one busy core: {one:.0f} mW measured (LiteRT; range: the other runtimes);"
        f" {100 * share.cluster_share:.0f} % of it the cluster's: an A15's split, so more cores are assumed"
    )
    rails = PowerTerms(
        base_mw=Coefficient(
            value=PI5_IDLE_MW,
            unit="mW",
            evidence="measured",
            source=PI5_SOURCE,
            note="idle power of the core rail as its authors state it",
        ),
        cores={
            _CLUSTER: CorePower(
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
        gpu=GpuPower(busy_mw=assumed(2000.0, "mW", (1000.0, 4500.0), _GPU_POWER_NOTE)),
        fit=_rail_fit(litert, "core rail above idle, one thread at 2.4 GHz, LiteRT, NAS-Bench-201 networks"),
    )
    board = _board_terms(core, cluster_mw, (low, high), litert.points)
    return PowerLaw(meter="core rail", board=board, rails=rails)


def _board_terms(core: float, cluster_mw: float, spread: tuple[float, float], points: int) -> PowerTerms:
    """Power at the board's input: the core rail's (mW) through an assumed regulator, the rest assumed.

    `spread` is the other runtimes' lowest and highest power relative to the fitted one.
    """
    loss = 1.0 / 0.85
    low, high = spread
    supply = "core rail divided by 0.85 for the regulator; range: 0.95 to 0.7, and the other runtimes"

    def at_input(value: float) -> Coefficient:
        span = (round(value * low / 0.95, 1), round(value * high / 0.7, 1))
        return assumed(round(value * loss, 1), "mW", span, supply, PI5_SOURCE)

    return PowerTerms(
        base_mw=assumed(
            3000.0, "mW", (2400.0, 4000.0), "a Pi 4's 2.4 W and a larger SoC; owners' readings: 2.4 to 4 W"
        ),
        cores={_CLUSTER: CorePower(core_mw=at_input(core), cluster_mw=at_input(cluster_mw))},
        gpu=GpuPower(busy_mw=assumed(2350.0, "mW", (1050.0, 6400.0), f"{_GPU_POWER_NOTE}; divided by 0.85")),
        fit=Fit(
            points=points,
            conditions="core rail measured with one busy core; regulator and rest of the board assumed",
            holdout_method="",
        ),
    )
