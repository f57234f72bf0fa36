"""The profile of the Raspberry Pi 5: one clock, cores and GPU timed, the core rail metered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dvfo_env.calibration.ncnn_tables import (
    BenchRow,
    network_latency,
    scaling_fit,
    select_run,
    split_by_flops,
    workloads_of,
)
from dvfo_env.calibration.pi.boards import A72
from dvfo_env.calibration.pi.latency import time_row, two_thread_bound, two_threads
from dvfo_env.calibration.pi.parts import assumed, clock_domain, core_mappings, pi5_power
from dvfo_env.calibration.pi.power import PI5_SOURCE, CoreShare, fit_pi5_rail
from dvfo_env.devices.profile import DeviceProfile, Fit, Law
from dvfo_env.devices.profile import Mapping as CoreMapping

_PI5_TABLE = "Raspberry Pi 5 Broadcom BCM2712, "
_PI5_NOTE = "at 2.4 GHz"


def calibrate_pi5(
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
            "cpu2": two_threads(one, four, two_thread_bound(A72, tables, workload, runs[4])),
            "cpu4": four,
        }
        if workload in workloads_of(gpu):
            totals["gpu"] = network_latency(gpu, workload)
        latency[workload] = {m: split_by_flops(t, workload, _PI5_NOTE) for m, t in totals.items()}
        rows += [time_row("raspberry-pi-5", workload, m, t, 2400.0) for m, t in totals.items()]
    profile = DeviceProfile(
        name="raspberry-pi-5",
        title="Raspberry Pi 5 (4 x Cortex-A76, VideoCore VII)",
        description="Cores or GPU are the knob; the CPU clock is pinned at 2.4 GHz: nobody timed it lower,"
        " and a board overclocked to 2.9 GHz was slower on nearly every network."
        " Whole-network times measured, split over segments by FLOPs; the core rail's power measured with one"
        " busy core, the rest of the power assumed.",
        cores={"a76": 4},
        cpu=clock_domain((2400.0,), f"{PI5_SOURCE} and the ncnn tables", "never changes: one clock"),
        mappings=core_mappings("a76")
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
