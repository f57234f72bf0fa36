"""Calibration of the Jetson TX2 profile from published measurements, with fit and hold-out errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dvfo_env.calibration.encoder import encoder
from dvfo_env.calibration.fitting import Errors, percent_error
from dvfo_env.calibration.laws import FittedLaw, Points
from dvfo_env.calibration.pinned import pinned_tx2
from dvfo_env.calibration.tx2 import latency as tx2_latency
from dvfo_env.calibration.tx2 import parts as tx2_parts
from dvfo_env.calibration.tx2 import power as tx2_power
from dvfo_env.calibration.tx2 import readers as tx2_readers
from dvfo_env.calibration.tx2 import thermal as tx2_thermal
from dvfo_env.calibration.tx2.readers import LATENCY_FILES
from dvfo_env.devices.layers import shares
from dvfo_env.devices.profile import ClockLaw, DeviceProfile, Fit, Law
from dvfo_env.record_yaml import rounded
from dvfo_env.schema import Coefficient
from dvfo_env.workloads import load_workload

Rows = list[dict[str, Any]]

FULL_GRIDS = ("inception-v4", "vgg19", "yolov3-tiny")
SPLIT_NOTE = (
    "assumed: every segment has the network's own ratio of compute to memory time. Summing segments of "
    "different ratio "
    "(g by FLOPs, m by traffic) misses the measured sharp turn of vgg19 and yolov3-tiny (see docs/devices.md)"
)
INFERENCE = (
    "one image; TensorRT through NVIDIA's jetson_benchmarks, whose TX2 table sets batch 1 for every network "
    "(benchmark_csv/tx2-nano-benchmarks.csv), and whose FPS is batch x 1000 / latency: the files' FPS "
    "gives batch 1"
)
VGG_NOTE = (
    "; 'N2' is part of the published network file's name. Two images of 39 GFLOP in 577 ms at 114.75 MHz "
    "would be 136 "
    "GFLOP/s, above the GPU's fp16 peak of 118 (256 cores x 4 x clock)"
)
NCNN_NEAREST = {
    # workload: (network in the tables, FLOP ratio, why, (low, high) factor on the scaled time)
    "resnet50": ("resnet50", 1.0, "the same network", (1.0, 1.0)),
    "vgg19": ("vgg16", 39.264 / 30.96, "FLOPs 39.26 G against vgg16's 30.96 G, same layers", (0.9, 1.1)),
    "yolov3-tiny": (
        "yolov4-tiny",
        5.565 / 6.91,
        "FLOPs 5.565 G against yolov4-tiny's 6.91 G (AlexeyAB/darknet: 6.9 BFLOPs)",
        (0.6, 1.5),
    ),
    "inception-v4": (
        "googlenet",
        24.508 / 3.0,
        "FLOPs 24.51 G against GoogLeNet's 3.0 G (1.5 G multiply-adds, Szegedy et al. 2015)",
        (0.4, 1.2),
    ),
}


def calibrate_tx2(measurements: Path) -> tuple[list[DeviceProfile], Rows]:
    """Fit the profile `jetson-tx2` to the measurements in a folder.

    Returns the profile and the one pinned to its CPU clock, and one row per fit: part, name, points,
    error_percent, holdout_error_percent, holdout_worst_percent, note. What is not latency, power or heat
    (the encoder's time) is carried over from elsewhere.

    Raises:
        MeasurementError: a data set is missing, unreadable or too small.
    """
    folder = measurements
    grids = {name: tx2_readers.read_latency_grid(folder, name) for name in tx2_readers.TENSORRT_NAMES}
    keras_rows, cpu_share = _keras(folder)
    laws, rows, fits = _tensorrt(grids, cpu_share)
    latency: dict[str, dict[str, Law]] = {name: dict(by_mapping) for name, by_mapping in laws.items()}
    rows += keras_rows
    _add_cpu_mappings(folder, latency, rows)
    inputs, power_rows = _power(folder, grids, fits)
    thermal = tx2_thermal.fit_thermal(tx2_readers.read_tegrastats(folder, vgg=True))
    gpu_mhz = tuple(round(1000.0 * ghz, 2) for ghz in sorted(set(grids["vgg19"].gpu_ghz.tolist())))
    cpu, gpu, memory = tx2_parts.clock_domains(gpu_mhz)
    profile = DeviceProfile(
        name="jetson-tx2",
        title="NVIDIA Jetson TX2",
        description=(
            "Latency over GPU and memory clock and power are measured; see each coefficient's evidence."
        ),
        cores={tx2_parts.CLUSTER: 6},
        cpu=cpu,
        gpu=gpu,
        memory=memory,
        mappings=tx2_parts.mappings(),
        out_of_the_box="gpu",
        inference={name: INFERENCE + (VGG_NOTE if name == "vgg19" else "") for name in latency},
        latency=latency,
        copies=tx2_parts.copy_costs(),
        power=tx2_parts.power_law(inputs),
        thermal=tx2_parts.thermal_law(thermal),
        supporting={f"latency, Keras, {row['name']}": _keras_fit(row) for row in keras_rows},
        encoder_ms_ghz=encoder("jetson-tx2").coefficient,
    )
    note = f"{thermal.rms_error_c:.2f} C root mean square over {thermal.lines} s before the fan starts"
    rows += [*power_rows, _row("thermal", "RC node", thermal.lines, None, note)]
    whole = rounded(profile)
    return [whole, pinned_tx2(whole)], rows


def _row(part: str, name: str, points: int, errors: Errors | None, note: str = "") -> dict[str, Any]:
    return {
        "part": part,
        "name": name,
        "points": points,
        "error_percent": errors.fit if errors else None,
        "holdout_error_percent": errors.holdout if errors else None,
        "holdout_worst_percent": errors.holdout_worst_split if errors else None,
        "note": note,
    }


def _tensorrt(
    grids: dict[str, Points], share: tuple[float, float, float]
) -> tuple[dict[str, dict[str, ClockLaw]], Rows, dict[str, FittedLaw]]:
    rows: Rows = []
    fits, errors = {}, {}
    for name in FULL_GRIDS:
        grid = grids[name]
        fits[name], errors[name] = tx2_latency.fit_roofline(grid), tx2_latency.roofline_errors(grid)
        layered = tx2_latency.roofline_errors(grid, shares(load_workload(name)))
        note = f"summed over segments of different ratio instead: hold-out {layered.holdout:.2f} %"
        rows.append(_row("latency, TensorRT", name, len(grid.latency_ms), errors[name], note))
    choice = tx2_latency.choose_six_point_shape({name: grids[name] for name in FULL_GRIDS})
    six = grids["resnet50"]
    fits["resnet50"] = tx2_latency.fit_roofline(six, choice.shape)
    inside = float(percent_error(fits["resnet50"].predict(six), six.latency_ms).mean())
    errors["resnet50"] = Errors(
        inside, choice.mean_percent, choice.worst_mean_percent, choice.worst_point_percent
    )
    form = "p fitted from the six points" if choice.shape is None else f"p = {choice.shape:g}"
    note = (
        f"{form}; hold-out expected from the other three networks, calibrated on the same six clock "
        "pairs and "
        f"tested on their other 46 (worst point {choice.worst_point_percent:.1f} %)"
    )
    rows.append(_row("latency, TensorRT", "resnet50", len(six.latency_ms), errors["resnet50"], note))
    methods = {
        name: "ten random fifths of the clock pairs held back; mean, worst split" for name in FULL_GRIDS
    }
    methods["resnet50"] = note
    laws = {
        name: {
            "gpu": _gpu_law(name, fits[name], errors[name], len(grids[name].latency_ms), methods[name], share)
        }
        for name in fits
    }
    return laws, rows, fits


def _gpu_law(
    name: str, law: FittedLaw, errors: Errors, points: int, method: str, share: tuple[float, float, float]
) -> ClockLaw:
    source = f"{tx2_readers.TENSORRT_SOURCE} {LATENCY_FILES}/{tx2_readers.TENSORRT_NAMES[name]}_*_output.txt"

    def fitted(value: float, unit: str) -> Coefficient:
        return Coefficient(
            value=value, unit=unit, evidence="fitted", source=source,
            error_percent=errors.fit, holdout_error_percent=errors.holdout,
        )  # fmt: skip

    at_ghz = tx2_parts.CPU_REFERENCE_MHZ / 1000.0
    middle, low, high = share
    why = (
        f"assumed: {middle:.2f} of the fitted {law.t0_ms:.3f} ms scales with the CPU clock, the mean "
        "over six Keras grids on "
        "the same board (tx2_sampled_output_*.csv); at 2035.2 MHz the sum is the fitted one"
    )
    source = f"{source}; {tx2_readers.KERAS_SOURCE} data/measurements"
    constant = Coefficient(
        value=law.t0_ms * (1.0 - middle), unit="ms", evidence="assumed", source=source,
        range=(law.t0_ms * round(1.0 - high, 6), law.t0_ms * round(1.0 - low, 6)), note=why,
    )  # fmt: skip
    launch = Coefficient(
        value=law.t0_ms * middle * at_ghz, unit="ms*GHz", evidence="assumed", source=source,
        range=(law.t0_ms * low * at_ghz, law.t0_ms * high * at_ghz), note=why,
    )  # fmt: skip
    return ClockLaw(
        t0_ms=constant,
        cpu_ms_ghz=launch,
        gpu_ms_ghz=fitted(law.gpu_ms_ghz, "ms*GHz"),
        mem_ms_ghz=fitted(law.mem_ms_ghz, "ms*GHz"),
        shape=fitted(law.shape, "1"),
        split="uniform",
        split_note=SPLIT_NOTE,
        fit=Fit(
            points=points,
            conditions="TensorRT, CPU at 2035.2 MHz, GPU 114.75-1300.5 MHz, memory 1062.4-1866 MHz",
            error_percent=errors.fit,
            holdout_error_percent=errors.holdout,
            holdout_worst_percent=errors.holdout_worst_split,
            holdout_method=method,
        ),
    )


def _keras(folder: Path) -> tuple[Rows, tuple[float, float, float]]:
    """Rows of the Keras fits, and (mean, lowest, highest) share of the GPU-independent time that is the
    CPU's.
    """
    rows, found = [], []
    for name in tx2_readers.KERAS_GRIDS:
        grid = tx2_readers.read_keras_grid(folder, name)
        law = tx2_latency.fit_keras(grid, overlap=False)
        found.append(law.cpu_share(tx2_parts.CPU_REFERENCE_MHZ / 1000.0))
        overlap = tx2_latency.keras_errors(grid, overlap=True)
        note = (
            f"CPU share {found[-1]:.2f}, core exponent {law.core_exponent:.2f}; "
            f"launch and compute overlapping: hold-out {overlap.holdout:.1f} %"
        )
        errors = tx2_latency.keras_errors(grid, overlap=False)
        rows.append(_row("latency, Keras", name, len(grid.latency_ms), errors, note))
    return rows, (float(np.mean(found)), min(found), max(found))


def _keras_fit(row: dict[str, Any]) -> Fit:
    return Fit(
        points=row["points"],
        conditions=(
            "Keras, t = t0 + c / (n^a f_cpu) + ((g / f_gpu)^p + (m / f_mem)^p)^(1/p) over 1-4 cores, 12 CPU, "
            "4 GPU and 4 memory clocks; gives the share of t0 that follows the CPU clock"
        ),
        error_percent=row["error_percent"],
        holdout_error_percent=row["holdout_error_percent"],
        holdout_worst_percent=row["holdout_worst_percent"],
        holdout_method="three random fifths of the clock combinations held back whole, all cores",
    )


def _add_cpu_mappings(folder: Path, latency: dict[str, dict[str, Law]], rows: Rows) -> None:
    tables = tx2_readers.read_ncnn_tx2nx(folder)
    for workload, (network, ratio, why, (low, high)) in NCNN_NEAREST.items():
        for threads in sorted(tables):
            latency[workload][f"cpu{threads}"] = _cpu_law(
                tables[threads][network], ratio, why, (low, high), network, threads
            )
        note = f"ncnn on a Jetson TX2 NX, one clock: {network} ({why})"
        rows.append(_row("latency, CPU", workload, len(tables) if ratio == 1.0 else 0, None, note))


def _cpu_law(
    measured_ms: float, ratio: float, why: str, bounds: tuple[float, float], network: str, threads: int
) -> ClockLaw:
    ghz = tx2_parts.CPU_REFERENCE_MHZ / 1000.0
    value = measured_ms * ratio * ghz
    exact = ratio == 1.0
    conditions = (
        f"{network} {measured_ms:g} ms, {threads} threads, ncnn on a Jetson TX2 NX (same chip) at 2.0 GHz"
    )
    note = (
        f"{conditions}; {why}; t = c / f_cpu is assumed: the tables know one clock, and no memory "
        "part is separable"
    )
    coefficient = Coefficient(
        value=value, unit="ms*GHz", evidence="measured" if exact else "assumed",
        source=f"{tx2_readers.NCNN_SOURCE}, section NVIDIA Jetson TX2 NX",
        range=None if exact else (value * bounds[0], value * bounds[1]), note=note,
    )  # fmt: skip
    split = "assumed: time follows FLOPs over the layers"
    return ClockLaw(
        cpu_ms_ghz=coefficient, split_note=split, fit=Fit(points=1 if exact else 0, conditions=conditions)
    )


def _power(
    folder: Path, grids: dict[str, Points], fits: dict[str, FittedLaw]
) -> tuple[tx2_parts.PowerInputs, Rows]:
    logs = (tx2_readers.read_tegrastats(folder, vgg=True), tx2_readers.read_tegrastats(folder, vgg=False))
    gpu_mhz = tuple(round(1000.0 * ghz, 2) for ghz in sorted(set(grids["vgg19"].gpu_ghz.tolist())))
    vgg, mixed = (tx2_power.busy_groups(log, gpu_mhz) for log in logs)
    voltage, voltage_errors = tx2_power.fit_gpu_voltage(vgg)
    rows = [
        _row("power", "GPU rail, vgg19 (voltage curve)", len(vgg.lines), voltage_errors, "one clock left out")
    ]
    reports, activities = [], []
    for only_rails, label in ((False, "board"), (True, "CPU + GPU + DDR rails")):
        quiet, lines = tx2_power.quiet_idle_mw(logs, only_rails)
        report = tx2_power.fit_power(vgg, mixed, quiet, voltage, only_rails)
        reports.append(report)
        activities.append(tx2_power.mixed_activity(report.fit, mixed, quiet, voltage, only_rails))
        note = f"quiet idle from {lines} lines; 13 GPU clocks, memory 1866 MHz"
        rows.append(_row("power", f"{label}, vgg19", len(vgg.lines), report.vgg, note))
        note = "networks of the log mixed, 13 GPU x 4 memory clocks; EMC load is an input"
        rows.append(_row("power", f"{label}, mixed", len(mixed.lines), report.mixed, note))
    cluster, core, _ = tx2_power.core_shares(logs[0])
    fast = grids["vgg19"].mem_ghz > 1.8
    measured = tx2_power.traffic_gb(vgg, grids["vgg19"].latency_ms[fast])
    dram = {name: _dram_gb(name, measured, fits) for name in fits}
    (board, rails), (board_activity, rails_activity) = reports, activities
    inputs = tx2_parts.PowerInputs(
        board, rails, board_activity, rails_activity, voltage, voltage_errors, cluster / core, dram
    )
    return inputs, rows


def _dram_gb(name: str, vgg: tuple[float, float, float], fits: dict[str, FittedLaw]) -> Coefficient:
    source = f"{tx2_parts.LOGS} and {LATENCY_FILES}"
    if name == "vgg19":
        note = "EMC load x 32 bytes x EMC clock x latency, median over 13 GPU clocks"
        return Coefficient(
            value=vgg[0], unit="GB", evidence="fitted", source=source, range=vgg[1:], note=note
        )
    by_time = vgg[0] * fits[name].mem_ms_ghz / fits["vgg19"].mem_ms_ghz
    cards = [float(load_workload(workload).traffic_bytes.sum()) for workload in (name, "vgg19")]
    by_card = vgg[0] * cards[0] / cards[1]
    note = "vgg19's traffic x the fitted memory times' ratio; the range's other end uses the cards' traffic"
    return Coefficient(
        value=by_time, unit="GB", evidence="assumed", source=source,
        range=(min(by_time, by_card), max(by_time, by_card)), note=note,
    )  # fmt: skip
