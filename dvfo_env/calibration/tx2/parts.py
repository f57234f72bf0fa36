"""The parts of the Jetson TX2 profile that are not latency: clocks, mappings, power, copies and the
thermal node.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dvfo_env.calibration.fitting import Errors
from dvfo_env.calibration.tx2.power import BYTES_PER_CLOCK, MEMORY_MHZ, PowerReport, Voltage
from dvfo_env.calibration.tx2.readers import (
    LATENCY_FILES,
    MIXED_LOG_FILE,
    TENSORRT_SOURCE,
    VGG_LOG_FILE,
)
from dvfo_env.calibration.tx2.thermal import ThermalFit
from dvfo_env.devices.profile import (
    ClockDomain,
    CopyCost,
    CorePower,
    Domain,
    Fit,
    GpuPower,
    Mapping,
    PowerLaw,
    PowerTerms,
    ThermalLaw,
    Trip,
    VoltageCurve,
)
from dvfo_env.schema import Coefficient

CPU_MHZ = (345.6, 499.2, 652.8, 806.4, 960.0, 1113.6, 1267.2, 1420.8, 1574.4, 1728.0, 1881.6, 2035.2)
CPU_REFERENCE_MHZ = 2035.2
GPU_REFERENCE_MHZ = 1300.5
CLUSTER = "cpu"
DELAY_SOURCE = (
    "arXiv 2606.16106, abstract: a new point takes 1 ms (CPU), 5 ms (GPU), 8 ms (memory) to take effect"
)
LOGS = f"{TENSORRT_SOURCE} {VGG_LOG_FILE}, {MIXED_LOG_FILE}"


class PowerInputs(NamedTuple):
    """What the power part of the profile is made from; `activity` is (value, low, high) of an unknown
    network.
    """

    board: PowerReport
    rails: PowerReport
    board_activity: tuple[float, float, float]
    rails_activity: tuple[float, float, float]
    voltage: Voltage
    voltage_errors: Errors
    cluster_to_core: float
    dram_gb: dict[str, Coefficient]


def mappings() -> dict[str, Mapping]:
    """Where a network can run: the GPU driven by one core, all six cores, or one core."""
    return {
        "gpu": Mapping(kind="gpu", cluster=CLUSTER, threads=1, title="GPU, TensorRT, driven by one CPU core"),
        "cpu6": Mapping(kind="cpu", cluster=CLUSTER, threads=6, title="two Denver2 and four A57 cores, ncnn"),
        "cpu1": Mapping(kind="cpu", cluster=CLUSTER, threads=1, title="one core, ncnn"),
    }


def clock_domains(gpu_mhz: tuple[float, ...]) -> tuple[ClockDomain, ClockDomain, ClockDomain]:
    """CPU, GPU and memory clocks; GPU and memory only where latency was measured."""

    def delay(ms: float) -> Coefficient:
        note = "stated for the Orin Nano; taken over for the TX2, which nobody has published"
        return Coefficient(value=ms, unit="ms", evidence="assumed", source=DELAY_SOURCE, note=note)

    table = f"{TENSORRT_SOURCE} {LATENCY_FILES}: the clocks measured there"
    cpu_source = "scaling_available_frequencies as listed in ztt-21/zTT and thynics/jetson_dvfs"
    return (
        ClockDomain(mhz=CPU_MHZ, effect_delay_ms=delay(1.0), source=cpu_source),
        ClockDomain(mhz=gpu_mhz, effect_delay_ms=delay(5.0), source=table),
        ClockDomain(mhz=MEMORY_MHZ, effect_delay_ms=delay(8.0), source=table),
    )


def copy_costs() -> dict[str, CopyCost]:
    """Handing a tensor between CPU and GPU: not measured on the TX2, bounded by measured phones."""
    source = (
        "summerspringwei/DAG-Scheduler copy tables: Kirin 990 0.11 ms + 0.25 ms/MB, SD855 0.84 + "
        "0.51, SD835 0.81 + 0.72"
    )
    note = "CPU and GPU share the memory of the TX2 as on the phones; middle of the measured phones"
    base = Coefficient(value=0.5, unit="ms", evidence="assumed", source=source, range=(0.11, 0.84), note=note)
    slope = Coefficient(
        value=0.5, unit="ms/MB", evidence="assumed", source=source, range=(0.25, 0.72), note=note
    )
    return {key: CopyCost(base_ms=base, ms_per_mb=slope) for key in ("cpu>gpu", "gpu>cpu")}


def power_law(inputs: PowerInputs) -> PowerLaw:
    """Board and rail power with their voltage curves and traffic."""
    return PowerLaw(
        meter="board input",
        board=_terms(inputs, inputs.board, inputs.board_activity, "board (VDD_IN)"),
        rails=_terms(inputs, inputs.rails, inputs.rails_activity, "CPU + GPU + DDR rails"),
        cpu_voltage=_cpu_voltage(),
        dram_gb=inputs.dram_gb,
    )


def _cpu_voltage() -> VoltageCurve:
    source = (
        "kranik/ARMPM_BUILDMODEL, Cortex-A15: 0.90, 1.00, 1.176 V at 1.0, 1.4, 1.8 GHz; power "
        "follows V^2 f to 2-6 %"
    )
    note = "no CPU clock sweep of power exists for the TX2: the A15's curve stands in"
    return VoltageCurve(
        knee_ghz=Coefficient(
            value=1.0, unit="GHz", evidence="assumed", source=source, range=(0.8, 1.2), note=note
        ),
        slope_per_ghz=Coefficient(
            value=0.36, unit="1/GHz", evidence="assumed", source=source, range=(0.2, 0.5), note=note
        ),
    )


def _fitted(value: float, unit: str, errors: Errors, note: str) -> Coefficient:
    return Coefficient(
        value=value, unit=unit, evidence="fitted", source=LOGS, note=note,
        error_percent=errors.fit, holdout_error_percent=errors.holdout,
    )  # fmt: skip


def _terms(
    inputs: PowerInputs, report: PowerReport, activity: tuple[float, float, float], what: str
) -> PowerTerms:
    base_note = (
        "median of lines with GPU idle and CPU nearly so, at every GPU clock: the GPU clock adds nothing at "
        "idle; the CPU stood at 2035.2 MHz, and that its clock adds nothing at idle is assumed"
    )
    base = Coefficient(
        value=float(report.quiet_mw[0]), unit="mW", evidence="measured", source=LOGS, note=base_note
    )
    busy = report.fit.gpu_mw_per_ghz * float(inputs.voltage.factor(np.asarray(GPU_REFERENCE_MHZ / 1000.0)))
    busy_note = "at activity 1: the networks of the mixed log, with a traffic term of their own"
    traffic_note = "EMC load x 32 bytes x EMC clock, from vgg19 at memory 1866 MHz"
    return PowerTerms(
        base_mw=base,
        mem_idle_mw=_memory_steps(report),
        cores={CLUSTER: _core(inputs.cluster_to_core, report)},
        gpu=GpuPower(
            busy_mw=_fitted(busy, "mW", report.mixed, busy_note),
            reference_mhz=GPU_REFERENCE_MHZ,
            voltage=_gpu_voltage(inputs),
        ),
        traffic_mw_per_gbs=_fitted(
            report.fit.vgg_traffic_mw / BYTES_PER_CLOCK, "mW/(GB/s)", report.vgg, traffic_note
        ),
        activity=_activities(report, activity),
        fit=_power_fit(report, what),
    )


def _memory_steps(report: PowerReport) -> tuple[Coefficient, ...]:
    return tuple(
        Coefficient(
            value=float(quiet - report.quiet_mw[0]), unit="mW", evidence="measured", source=LOGS,
            note=f"quiet idle at memory {mhz:g} MHz less that at {MEMORY_MHZ[0]:g} MHz",
        )
        for mhz, quiet in zip(MEMORY_MHZ, report.quiet_mw, strict=True)
    )  # fmt: skip


def _core(cluster_to_core: float, report: PowerReport) -> CorePower:
    host = report.fit.host_mw
    core = host / (1.0 + cluster_to_core)
    note = (
        f"the one core that drives the GPU takes {host:.0f} mW at 2035.2 MHz (fitted); shared as cluster "
        ": core = "
        f"{cluster_to_core:.2f} : 1, from the CPU rail's rise with the number of busy cores (about 0.95 "
        "to 1.6 W "
        "busy); six cores are extrapolated, Denver2 and A57 taken as equal, no CPU clock was swept"
    )

    def assumed(value: float, low: float, high: float) -> Coefficient:
        return Coefficient(
            value=value, unit="mW", evidence="assumed", source=LOGS, range=(low, high), note=note
        )

    return CorePower(
        core_mw=assumed(core, 0.5 * core, host),
        cluster_mw=assumed(host - core, 0.0, host - 0.5 * core),
        reference_mhz=CPU_REFERENCE_MHZ,
    )


def _activities(report: PowerReport, unknown: tuple[float, float, float]) -> dict[str, Coefficient]:
    value, low, high = unknown
    mixed = Coefficient(
        value=value, unit="1", evidence="assumed", source=LOGS, range=(low, high),
        note="median over clock pairs of a log over several networks; which network ran when is not recorded",
    )  # fmt: skip
    vgg = _fitted(report.fit.vgg_activity, "1", report.vgg, "vgg19 alone, 13 GPU clocks at memory 1866 MHz")
    return {"inception-v4": mixed, "resnet50": mixed, "vgg19": vgg, "yolov3-tiny": mixed}


def _power_fit(report: PowerReport, what: str) -> Fit:
    return Fit(
        points=report.pairs,
        conditions=(
            f"{what}: group means of 1 Hz lines with the GPU busy, 13 GPU x 4 memory clocks of a log "
            f"over several networks (fit {report.mixed.fit:.1f} %) and 13 GPU clocks of vgg19 at memory "
            "1866 MHz (fit "
            f"{report.vgg.fit:.1f} %, "
            f"hold-out {report.vgg.holdout:.1f} %); CPU at 2035.2 MHz throughout; the mixed log's EMC "
            "load is an input"
        ),
        error_percent=report.mixed.fit,
        holdout_error_percent=report.mixed.holdout,
        holdout_worst_percent=report.mixed.holdout_worst_split,
        holdout_method=(
            "ten random fifths of the clock pairs held back whole; mean and worst split of the mixed log"
        ),
    )


def _gpu_voltage(inputs: PowerInputs) -> VoltageCurve:
    errors = {
        "error_percent": inputs.voltage_errors.fit,
        "holdout_error_percent": inputs.voltage_errors.holdout,
    }
    source = f"{TENSORRT_SOURCE} {VGG_LOG_FILE}, VDD_SYS_GPU"
    note = "vgg19, 13 GPU clocks; hold-out leaves out one clock at a time"

    def fitted(value: float, unit: str) -> Coefficient:
        return Coefficient(value=value, unit=unit, evidence="fitted", source=source, note=note, **errors)

    return VoltageCurve(
        knee_ghz=fitted(inputs.voltage.knee_ghz, "GHz"),
        slope_per_ghz=fitted(inputs.voltage.slope_per_ghz, "1/GHz"),
    )


def thermal_law(fit: ThermalFit) -> ThermalLaw:
    """The RC node before the fan starts, and assumed software trip points."""
    source = f"{TENSORRT_SOURCE} {VGG_LOG_FILE}: 'thermal' zone against VDD_IN"
    note = (
        f"first {fit.lines} s, before the fan starts at 59 C: follows the log to {fit.rms_error_c:.2f} C "
        "(root mean "
        f"square), {fit.worst_error_c:.1f} C at most; a device without a fan"
    )

    def fitted(value: float, unit: str) -> Coefficient:
        return Coefficient(value=value, unit=unit, evidence="fitted", source=source, note=note)

    trip_source = (
        "assumed: 6 C below the 101.5 C hardware shutdown that a user quotes from NVIDIA's L4T documentation "
        "(forums.developer.nvidia.com/t/61195); caps at about 70 % of the highest clock, released 5 C lower"
    )
    caps: tuple[tuple[Domain, float], ...] = (("gpu", 930.75), ("cpu", 1420.8))
    return ThermalLaw(
        ambient_c=fitted(fit.ambient_c, "C"),
        resistance_c_per_w=fitted(fit.resistance_c_per_w, "C/W"),
        time_constant_s=fitted(fit.time_constant_s, "s"),
        start_c=40.0,
        trips=tuple(
            Trip(
                temperature_c=95.5,
                release_c=90.5,
                domain=domain,
                max_mhz=mhz,
                evidence="assumed",
                source=trip_source,
            )
            for domain, mhz in caps
        ),
    )
