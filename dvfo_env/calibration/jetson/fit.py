"""Calibration of the Jetsons beside the TX2: Nano, TX2 NX, Xavier NX, AGX Xavier, Orin Nano, AGX Orin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dvfo_env.calibration.encoder import encoder
from dvfo_env.calibration.fitting import Errors
from dvfo_env.calibration.jetson import triton
from dvfo_env.calibration.jetson.boards import BOARDS, CLUSTER, Board, clock_domains, copy_costs, mappings
from dvfo_env.calibration.jetson.laws import LIKE, Shape, anchored_law, cpu_law, shape_of, triton_law
from dvfo_env.calibration.jetson.power import (
    assumed_power_law,
    fit_power_modes,
    mode_latency_error,
    mode_power_law,
    read_power_modes,
    wall_power_law,
)
from dvfo_env.calibration.ncnn_tables import (
    NEAREST_NETWORKS,
    SCALING,
    BenchRow,
    network_latency,
    read_ncnn_tables,
    scaling_fit,
    select_run,
)
from dvfo_env.calibration.pinned import pinned_triton
from dvfo_env.devices.library import load_device
from dvfo_env.devices.profile import ClockLaw, DeviceProfile, Fit, Law, PowerLaw, VoltageCurve
from dvfo_env.record_yaml import rounded
from dvfo_env.schema import Coefficient

Rows = list[dict[str, Any]]
MOBILENET = "mobilenet-v2"
XAVIER_CORES = (512, 384)
XAVIER_BITS = (256, 128)
"""CUDA cores and memory width of the AGX Xavier and the Xavier NX (NVIDIA's data sheets)."""


class Part(NamedTuple):
    """What one board adds: latency by workload and mapping, power, fits behind it, and the runtimes used."""

    latency: dict[str, dict[str, Law]]
    power: PowerLaw
    supporting: dict[str, Fit]
    runtime: str


def calibrate_jetsons(measurements: Path) -> tuple[list[DeviceProfile], Rows]:
    """Fit every Jetson profile but the TX2's to the measurements in a folder.

    Returns the profiles, and one row per fit: device, part, name, points, error_percent,
    holdout_error_percent, holdout_worst_percent, note. What the TX2 lends comes from its shipped profile.

    Raises:
        MeasurementError: a data set is missing, unreadable or too small.
    """
    folder = Path(measurements)
    tables = read_ncnn_tables(folder)
    tx2 = load_device("jetson-tx2")
    shares = _tx2_shares(tx2)
    launch = _launch_share(tx2)
    fitted: dict[str, tuple[triton.TritonGrid, ClockLaw]] = {}
    rows: Rows = []
    for board in BOARDS:
        if board.triton:
            grid = triton.read_triton(folder, board.triton)
            one = grid.take(grid.batch == 1)
            points = one.latency_points(board.top_mhz[0] / 1000.0, board.top_mhz[2] / 1000.0)
            source = f"{triton.TRITON_SOURCE}/{board.triton}/batch_1_data.csv"
            law, errors = triton_law(points, board, launch, source)
            fitted[board.name] = grid, law
            shares[board.name] = shape_of(law, board.top_mhz, f"MobileNetV2 on the {board.title}")
            rows.append(_row(board, "latency", f"{MOBILENET}, Triton", len(points.latency_ms), errors, ""))
    done: dict[str, DeviceProfile] = {"jetson-tx2": tx2}
    for board in BOARDS:
        runs = _runs(tables, board)
        latency = _measured_laws(board, runs, shares)
        if board.triton:
            part = _triton_part(board, latency, *fitted[board.name], rows)
        elif board.like == "jetson-agx-xavier":
            part = _xavier_nx(board, done[board.like], folder, rows)
        else:
            lender = done.get(board.like or "jetson-agx-xavier", tx2)
            part = Part(latency, assumed_power_law(board, _lent_voltage(lender)), {}, "ncnn with Vulkan")
        if runs:
            supporting = {**part.supporting, SCALING: scaling_fit(runs.values())}
            part = part._replace(supporting=supporting)
        done[board.name] = rounded(_profile(board, part, runs.get("cpu1")))
        rows += _ncnn_rows(board, done[board.name])
    pinned = [
        pinned_triton(done[board.name], board, fitted[board.name][0]) for board in BOARDS if board.triton
    ]
    return [*(done[board.name] for board in BOARDS), *pinned], rows


def _row(board: Board, part: str, name: str, points: int, errors: Errors | None, note: str) -> dict[str, Any]:
    return {
        "device": board.name,
        "part": part,
        "name": name,
        "points": points,
        "error_percent": errors.fit if errors else None,
        "holdout_error_percent": errors.holdout if errors else None,
        "holdout_worst_percent": errors.holdout_worst_split if errors else None,
        "note": note,
    }


def _tx2_shares(tx2: DeviceProfile) -> dict[str, Shape]:
    """How the TX2's networks, fitted over their clocks, share out their time at the highest clocks."""
    top = tuple(domain.mhz[-1] for domain in (tx2.cpu, tx2.gpu, tx2.memory) if domain)
    return {
        workload: shape_of(law, (top[0], top[1], top[2]), f"{workload} on the TX2")
        for workload, laws in tx2.latency.items()
        if isinstance(law := laws.get("gpu"), ClockLaw) and law.fit.points > 1
    }


def _launch_share(tx2: DeviceProfile) -> tuple[float, float, float]:
    """(middle, lowest, highest) part of t0 that follows the CPU clock, as the TX2's laws have it."""
    law = tx2.latency["resnet50"]["gpu"]
    if not (isinstance(law, ClockLaw) and law.t0_ms and law.cpu_ms_ghz and law.cpu_ms_ghz.range and tx2.cpu):
        raise ValueError("jetson-tx2: latency.resnet50.gpu has no t0_ms and cpu_ms_ghz with a range")
    ghz = tx2.cpu.mhz[-1] / 1000.0
    whole = law.t0_ms.value + law.cpu_ms_ghz.value / ghz
    low, high = (bound / ghz / whole for bound in law.cpu_ms_ghz.range)
    return law.cpu_ms_ghz.value / ghz / whole, low, high


def _runs(tables: list[BenchRow], board: Board) -> dict[str, Mapping[str, BenchRow]]:
    """The board's runs in the ncnn tables by mapping; none where it has no section."""
    if not board.ncnn:
        return {}
    heading = [row for row in tables if row.board.split("(")[0].strip() == board.ncnn]
    found = {f"cpu{threads}": select_run(heading, board.ncnn, threads=threads) for threads in board.threads}
    return {"gpu": select_run(heading, board.ncnn, threads=board.gpu_threads, gpu_device=0), **found}


def _measured_laws(
    board: Board, runs: Mapping[str, Mapping[str, BenchRow]], shares: Mapping[str, Shape]
) -> dict[str, dict[str, Law]]:
    own = board.name if board.name in shares else "jetson-agx-xavier"
    laws: dict[str, dict[str, Law]] = {}
    for workload in sorted(NEAREST_NETWORKS):
        for mapping, run in runs.items():
            if not any(name in run for name in NEAREST_NETWORKS[workload]):
                continue
            if (workload, mapping) == ("vit-b16", "gpu"):
                continue  # the tables' program had no attention on GPUs: their times are mostly the CPU's
            row = network_latency(run, workload)
            like = LIKE.get(workload, "resnet50")
            law: Law = (
                anchored_law(row, board, shares[own if like == MOBILENET else like], shares)
                if mapping == "gpu"
                else cpu_law(row, board, int(mapping.removeprefix("cpu")))
            )
            laws.setdefault(workload, {})[mapping] = law
    return laws


def _triton_part(
    board: Board, latency: dict[str, dict[str, Law]], grid: triton.TritonGrid, law: ClockLaw, rows: Rows
) -> Part:
    power, errors, points, alike = _wall_power(grid)
    rows.append(_row(board, "power", "wall socket, batch 1", points, errors, alike))
    supporting = {}
    clocks = "GPU clocks held back whole, ten random fifths; mean, worst split"
    batches = "one of the inner batches 2, 8 and 16 held back at a time; mean, worst batch"
    for what, conditions, fits in (
        (
            "latency",
            "t = a + b B + (((c + d B)/f)^p + (e + h B)^p)^(1/p)",
            (triton.batch_latency_errors(grid), triton.batch_latency_errors(grid, by_batch=True)),
        ),
        (
            "wall power",
            "P = p0 + p1 f V(f)^2 B^e",
            (
                triton.wall_power_errors(grid, batches=True),
                triton.wall_power_errors(grid, batches=True, by_batch=True),
            ),
        ),
    ):
        for found, method in zip(fits, (clocks, batches), strict=True):
            held = "clocks" if method is clocks else "batches"
            name = f"{what}, MobileNetV2, batches 1-32, {held} held out"
            supporting[name] = Fit(
                points=len(grid.batch),
                conditions=conditions,
                error_percent=found.fit,
                holdout_error_percent=found.holdout,
                holdout_worst_percent=found.holdout_worst_split,
                holdout_method=method,
            )
            label = f"batches 1-32, {held} held out"
            rows.append(_row(board, what, label, len(grid.batch), found, conditions))
    latency[MOBILENET] = {**latency.get(MOBILENET, {}), "gpu": law}
    exponent = triton.fit_wall_power(grid, batches=True).batch_exponent
    activity = _activity(exponent, [name for name in latency if name != MOBILENET])
    law_of_power = wall_power_law(board, power, errors, grid.idle_w, points, activity, alike)
    return Part(latency, law_of_power, supporting, "ncnn with Vulkan (MobileNetV2: Triton, ONNX Runtime)")


def _wall_power(grid: triton.TritonGrid) -> tuple[triton.WallPower, Errors, int, str]:
    """Law of batch 1, errors, points and what it shares: of two ways, the one better at clocks held out."""
    one = grid.take(grid.batch == 1)
    alone, joint = triton.wall_power_errors(one, batches=False), triton.joint_wall_power_errors(grid)
    if alone.holdout <= joint.holdout:
        return triton.fit_wall_power(one, batches=False), alone, len(one.wall_w), ""
    shared = "base and voltage curve shared with batches 2-32"
    return triton.fit_wall_power_jointly(grid), joint, len(grid.wall_w), shared


def _activity(exponent: float, workloads: list[str]) -> dict[str, Coefficient]:
    """Busy power of other networks against MobileNetV2's: larger ones fill the GPU as a larger batch does."""
    bounds = sorted((1.0, 32.0**exponent))
    note = f"a larger network fills the GPU as a batch of 8 does: B^{exponent:.3f}, range: 1-32 and 20 %"
    source = f"{triton.TRITON_SOURCE}, batches 1-32"
    return {
        name: Coefficient(
            value=8.0**exponent, unit="1", evidence="assumed", source=source, note=note,
            range=(0.8 * bounds[0], 1.2 * bounds[1]),
        )
        for name in sorted(workloads)
    }  # fmt: skip


def _lent_voltage(lender: DeviceProfile) -> VoltageCurve:
    """The fitted GPU voltage curve of another board, as an assumption about this one."""
    gpu = lender.power.board.gpu if lender.power else None
    if gpu is None or gpu.voltage is None:
        raise ValueError(f"{lender.name}: has no GPU voltage curve to lend")

    def lent(value: float, unit: str) -> Coefficient:
        return Coefficient(
            value=value, unit=unit, evidence="assumed", source=f"the fitted curve of {lender.name}",
            range=(0.7 * value, 1.3 * value), note=f"no power over the GPU clock is published; "
                                                   f"{lender.title}'s curve",
        )  # fmt: skip

    return VoltageCurve(
        knee_ghz=lent(gpu.voltage.knee_ghz.value, "GHz"),
        slope_per_ghz=lent(gpu.voltage.slope_per_ghz.value, "1/GHz"),
    )


def _xavier_nx(board: Board, agx: DeviceProfile, folder: Path, rows: Rows) -> Part:
    """The AGX Xavier's laws with fewer GPU cores and half the memory width; power from the power modes."""
    factors = {
        "gpu_ms_ghz": XAVIER_CORES[0] / XAVIER_CORES[1],
        "mem_ms_ghz": XAVIER_BITS[0] / XAVIER_BITS[1],
    }
    note = (
        "the AGX Xavier's, x 512/384 for the GPU's cores, x 256/128 for the memory's width; range: half "
        "to twice that "
        "ratio's excess"
    )
    latency: dict[str, dict[str, Law]] = {}
    for workload, laws in agx.latency.items():
        for mapping in ("gpu", *(f"cpu{threads}" for threads in board.threads)):
            law = laws.get(mapping)
            if isinstance(law, ClockLaw):
                latency.setdefault(workload, {})[mapping] = _lent_law(law, agx.title, factors, note)
    modes = read_power_modes(folder)
    voltage = _lent_voltage(agx)
    found = fit_power_modes(modes, voltage, board.top_mhz[1] / 1000.0, board.mem_step.value / 1000.0)
    rows.append(
        _row(board, "power", "module, nine power modes", len(modes), found.errors, "one clock pair held out")
    )
    supporting = {}
    for load in sorted({row.load for row in modes}):
        points, errors = mode_latency_error(modes, load)
        name = f"latency, {load[0]}, {load[1]} instance{'s' if load[1] > 1 else ''}, nine power modes"
        supporting[name] = Fit(
            points=points,
            conditions="t = ((g / f_gpu)^3 + (m / f_mem)^3)^(1/3) over four pairs of GPU and memory clock",
            error_percent=errors.fit,
            holdout_error_percent=errors.holdout,
            holdout_worst_percent=errors.holdout_worst_split,
            holdout_method="one of the four clock pairs held back at a time; mean, worst pair",
        )
        rows.append(_row(board, "latency", name.removeprefix("latency, "), points, errors, "p = 3"))
    return Part(
        latency, mode_power_law(board, found, voltage, len(modes)), supporting, "as on the AGX Xavier"
    )


def _lent_law(law: ClockLaw, whose: str, factors: Mapping[str, float], note: str) -> ClockLaw:
    update: dict[str, Any] = {"anchor": None, "fit": Fit(points=0, conditions=f"taken over from the {whose}")}
    for name in ("t0_ms", "cpu_ms_ghz", "gpu_ms_ghz", "mem_ms_ghz", "shape"):
        coefficient: Coefficient | None = getattr(law, name)
        if coefficient is None:
            continue
        factor = factors.get(name, 1.0)
        low, high = coefficient.range or (coefficient.value, coefficient.value)
        spread = 0.5 * (factor - 1.0)
        update[name] = coefficient.model_copy(
            update={
                "value": coefficient.value * factor,
                "evidence": "assumed",
                "error_percent": None,
                "holdout_error_percent": None,
                "range": (low * (1.0 + spread) * 0.9, high * (factor + spread) * 1.1),
                "note": note if factor != 1.0 else f"the {whose}'s, same kind of cores; range 10 % wider",
            }
        )
    return law.model_copy(update=update)


def _profile(board: Board, part: Part, one_thread: Mapping[str, BenchRow] | None) -> DeviceProfile:
    cpu, gpu, memory = clock_domains(board)
    encoding = encoder(board.name, one_thread)
    return DeviceProfile(
        name=board.name,
        title=board.title,
        description=board.about,
        cores={CLUSTER: board.cores},
        cpu=cpu,
        gpu=gpu,
        memory=memory,
        mappings=mappings(board, part.runtime),
        out_of_the_box="gpu",
        inference={name: f"one image; GPU: {part.runtime}; CPU: ncnn" for name in sorted(part.latency)},
        latency={name: part.latency[name] for name in sorted(part.latency)},
        copies=copy_costs(),
        power=part.power,
        supporting={**part.supporting, **encoding.supporting()},
        encoder_ms_ghz=encoding.coefficient,
    )


def _ncnn_rows(board: Board, profile: DeviceProfile) -> Rows:
    """One row per network: on how many mappings its whole time was measured."""
    rows = []
    for workload, laws in profile.latency.items():
        measured = sorted(name for name, law in laws.items() if law.fit.points > 0)
        note = f"measured on {', '.join(measured)}" if measured else "assumed on every mapping"
        rows.append(_row(board, "latency, whole network", workload, len(measured), None, note))
    return rows
