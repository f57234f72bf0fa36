"""Power laws of the Jetsons: fitted at a wall socket, fitted to power modes, or assumed from a budget."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.calibration.fitting import Errors, cross_validate, percent_error, relative_fit
from dvfo_env.calibration.jetson.boards import CLUSTER, Board, Guess, cpu_voltage
from dvfo_env.calibration.jetson.triton import TRITON_SOURCE, WallPower
from dvfo_env.devices.layers import soft_maximum
from dvfo_env.devices.power import clock_factor
from dvfo_env.devices.profile import CorePower, Fit, GpuPower, PowerLaw, PowerTerms, VoltageCurve
from dvfo_env.errors import MeasurementError
from dvfo_env.schema import Coefficient

Array = NDArray[np.float64]

MODES_SOURCE = (
    "amikom-gace-research-group/JOp-system@1b1c5a47c33c3fce1268bef59922362ee0f211e2 "
    "dataset/xavier-nx/od_perf/dataset_od_coco.csv"
)
MODE_CAPS = {
    "MODE_10W_2CORE": (803.25, 1600.0),
    "MODE_10W_4CORE": (803.25, 1600.0),
    "MODE_10W_DESKTOP": (510.0, 1600.0),
    "MODE_15W_2CORE": (1109.25, 1600.0),
    "MODE_15W_4CORE": (1109.25, 1600.0),
    "MODE_15W_6CORE": (1109.25, 1600.0),
    "MODE_20W_2CORE": (1109.25, 1866.0),
    "MODE_20W_4CORE": (1109.25, 1866.0),
    "MODE_20W_6CORE": (1109.25, 1866.0),
}
"""Caps of GPU and memory clock (MHz) of the power modes; NVIDIA, Jetson Linux Developer Guide 32.7.5."""
BUSY_NETWORKS = ("retinanet", "frcnn")
"""Detectors that keep the GPU busy: their clocks stand at the caps."""


class ModeRow(NamedTuple):
    """One median of the power modes: which load (network, instances), GPU and memory GHz, ms per image, W."""

    load: tuple[str, int]
    gpu_ghz: float
    mem_ghz: float
    image_ms: float
    power_w: float


def read_power_modes(measurements: Path) -> list[ModeRow]:
    """Medians of the GPU-bound detectors on the Xavier NX, one or two instances.

    Raises:
        MeasurementError: the file is missing, lacks a column, or holds none of them.
    """
    path = Path(measurements) / "xaviernx-jop-powermodes" / "dataset_od_coco.csv"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MeasurementError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    rows: list[ModeRow] = []
    for row in csv.DictReader(lines):
        try:
            load, mode = (row["Model"], int(row["CL"])), row["Mode"]
            image_ms = 1000.0 / float(row["Median of Throughput"])
            watts = float(row["Median of Power"]) / 1000.0
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise MeasurementError(f"{path}: line {len(rows) + 2}: cannot be read: {error}") from None
        if load[0] in BUSY_NETWORKS and load[1] <= 2 and mode in MODE_CAPS:
            gpu, mem = MODE_CAPS[mode]
            rows.append(ModeRow(load, gpu / 1000.0, mem / 1000.0, image_ms, watts))
    if not rows:
        raise MeasurementError(f"{path}: no rows of {', '.join(BUSY_NETWORKS)}")
    return rows


class ModePower(NamedTuple):
    """P = base + memory step (given) at the higher clock + busy(load) f V(f)^2; W."""

    base_w: float
    busy_w: dict[tuple[str, int], float]
    errors: Errors


def fit_power_modes(
    rows: list[ModeRow], voltage: VoltageCurve, top_ghz: float, memory_step_w: float
) -> ModePower:
    """Relative fit with a busy power per load at `top_ghz`; held out are whole clock pairs, one at a time."""
    loads = sorted({row.load for row in rows})
    gpu, mem, power = (np.asarray([row[k] for row in rows]) for k in (1, 2, 4))
    which = np.asarray([loads.index(row.load) for row in rows])
    factor = clock_factor(voltage, gpu, 1000.0 * top_ghz)
    step = memory_step_w * (mem > mem.min())

    def predict(x: Array) -> Array:
        return np.asarray(x[0] + step + x[1:][which] * factor)

    def fit(keep: NDArray[np.bool_]) -> Array:
        start = [5.0, *[6.0] * len(loads)]
        return relative_fit(lambda x: predict(x)[keep], power[keep], start, 0.0, robust=True)

    pairs = list(zip(gpu.tolist(), mem.tolist(), strict=True))
    masks = [np.asarray([pair == held for pair in pairs]) for held in sorted(set(pairs))]
    errors = cross_validate(fit, lambda x: percent_error(predict(x), power), masks)
    found = fit(np.ones(len(rows), dtype=bool))
    return ModePower(float(found[0]), dict(zip(loads, found[1:].tolist(), strict=True)), errors)


def mode_latency_error(rows: list[ModeRow], load: tuple[str, int]) -> tuple[int, Errors]:
    """How the soft maximum (p = 3, no constant) follows a load over the modes' clock pairs; one pair out."""
    chosen = [row for row in rows if row.load == load]
    gpu, mem, time = (np.asarray([row[k] for row in chosen]) for k in (1, 2, 3))

    def predict(x: Array) -> Array:
        return soft_maximum(x[0] / gpu, x[1] / mem, 3.0)

    def fit(keep: NDArray[np.bool_]) -> Array:
        start = [0.7 * float((time * gpu).min()), float((time * mem).min())]
        return relative_fit(lambda x: predict(x)[keep], time[keep], start)

    pairs = list(zip(gpu.tolist(), mem.tolist(), strict=True))
    masks = [np.asarray([pair == held for pair in pairs]) for held in sorted(set(pairs))]
    return len(chosen), cross_validate(fit, lambda x: percent_error(predict(x), time), masks)


def _assumed(guess: Guess, unit: str, source: str, scale: float = 1.0) -> Coefficient:
    return Coefficient(
        value=guess.value * scale, unit=unit, evidence="assumed", source=source,
        range=(guess.low * scale, guess.high * scale), note=guess.why,
    )  # fmt: skip


def _core(board: Board) -> CorePower:
    return CorePower(
        core_mw=_assumed(board.core, "mW", "no power per core is published for this board"),
        reference_mhz=board.top_mhz[0],
    )


def _memory(board: Board, top_mw: Coefficient) -> tuple[Coefficient, ...]:
    """What each memory clock adds above the lowest: in proportion, `top_mw` at the highest."""
    lowest, highest = board.mem_mhz[0], board.mem_mhz[-1]
    steps = []
    for mhz in board.mem_mhz:
        share = (mhz - lowest) / (highest - lowest)
        low, high = top_mw.range or (top_mw.value, top_mw.value)
        steps.append(
            top_mw.model_copy(update={"value": top_mw.value * share, "range": (low * share, high * share)})
        )
    return tuple(steps)


def _wall_base(board: Board, fit: WallPower, idle_w: float, source: str) -> Coefficient:
    """Power with nothing to do: the fit at GPU clock 0 less the waiting core and the memory's step."""
    driving_mw, step = 0.3 * board.core.value, board.mem_step
    base_mw = 1000.0 * fit.base_w - driving_mw - step.value
    note = (
        f"fitted {1000.0 * fit.base_w:.0f} mW at GPU clock 0 less the waiting core ({driving_mw:.0f}) and "
        f"the memory's step ({step.value:.0f}), both assumed; quiet idle at the wall read "
        f"{1000.0 * idle_w:.0f} mW before the runs; "
        "that the GPU clock adds nothing at idle is taken from the TX2"
    )
    return Coefficient(
        value=base_mw,
        unit="mW",
        evidence="assumed",
        source=source,
        note=note,
        range=(min(base_mw, 1000.0 * idle_w) - step.high, 1000.0 * fit.base_w),
    )


def wall_power_law(
    board: Board,
    fit: WallPower,
    errors: Errors,
    idle_w: float,
    points: int,
    activity: dict[str, Coefficient],
    shares: str,
) -> PowerLaw:
    """Power at the wall socket, fitted to MobileNetV2; base is what core and memory leave.

    `shares` says what the law of batch 1 has in common with other batches; empty: nothing.
    """
    top_ghz = board.top_mhz[1] / 1000.0
    top = max(1.0, 1.0 + fit.slope_per_ghz * (top_ghz - fit.knee_ghz))
    source = f"{TRITON_SOURCE}/{board.triton}/batch_{'*' if shares else '1'}_power.csv"

    def fitted(value: float, unit: str, note: str | None = None) -> Coefficient:
        return Coefficient(
            value=value, unit=unit, evidence="fitted", source=source, note=note, error_percent=errors.fit,
            holdout_error_percent=errors.holdout,
        )  # fmt: skip

    return PowerLaw(
        meter=board.meter,
        board=PowerTerms(
            base_mw=_wall_base(board, fit, idle_w, source),
            mem_idle_mw=_memory(board, _assumed(board.mem_step, "mW", source)),
            cores={CLUSTER: _core(board)},
            gpu=GpuPower(
                busy_mw=fitted(1000.0 * fit.busy_w_per_ghz * top_ghz * top**2, "mW", "MobileNetV2, batch 1"),
                reference_mhz=board.top_mhz[1],
                voltage=VoltageCurve(
                    knee_ghz=fitted(fit.knee_ghz, "GHz"), slope_per_ghz=fitted(fit.slope_per_ghz, "1/GHz")
                ),
            ),
            activity=activity,
            fit=Fit(
                points=points,
                conditions=(
                    "power at the wall socket (supply loss, fan and carrier included), MobileNetV2 "
                    "through Triton, batch "
                    f"1{shares and f' ({shares})'}, median from 20 s after a run's start, CPU at "
                    f"{board.top_mhz[0]:g} MHz"
                ),
                error_percent=errors.fit,
                holdout_error_percent=errors.holdout,
                holdout_worst_percent=errors.holdout_worst_split,
                holdout_method="ten random fifths of the GPU clocks held back whole; mean, worst split",
            ),
        ),
        cpu_voltage=cpu_voltage(),
    )  # fmt: skip


def mode_power_law(board: Board, found: ModePower, voltage: VoltageCurve, points: int) -> PowerLaw:
    """Power at the module's input over the power modes; busy power is RetinaNet's."""
    note = "medians of nine power modes whose caps move together; the CPU's part is not separable"
    busy = {load: 1000.0 * watts for load, watts in found.busy_w.items()}

    def fitted(value: float, note: str) -> Coefficient:
        return Coefficient(
            value=value, unit="mW", evidence="fitted", source=MODES_SOURCE, note=note,
            error_percent=found.errors.fit, holdout_error_percent=found.errors.holdout,
        )  # fmt: skip

    driving = 0.3 * board.core.value
    return PowerLaw(
        meter=board.meter,
        board=PowerTerms(
            base_mw=fitted(
                1000.0 * found.base_w - driving,
                f"{note}; less {driving:.0f} mW for the waiting core, assumed",
            ),
            mem_idle_mw=_memory(board, _assumed(board.mem_step, "mW", MODES_SOURCE)),
            cores={CLUSTER: _core(board)},
            gpu=GpuPower(
                busy_mw=fitted(busy["retinanet", 1], f"{note}; RetinaNet, one instance"),
                reference_mhz=board.top_mhz[1],
                voltage=voltage,
            ),
            fit=Fit(
                points=points,
                conditions=(
                    "module power, RetinaNet and Faster R-CNN, one and two instances, nine power modes "
                    "(four pairs of GPU "
                    "and memory clock), a busy power for each load"
                ),
                error_percent=found.errors.fit,
                holdout_error_percent=found.errors.holdout,
                holdout_worst_percent=found.errors.holdout_worst_split,
                holdout_method="one of the four clock pairs held back at a time; mean, worst pair",
            ),
        ),
        cpu_voltage=cpu_voltage(),
    )


def assumed_power_law(board: Board, voltage: VoltageCurve) -> PowerLaw:
    """Power from the board's budget: nobody measured it over the clocks."""
    source = "no power over the clocks is published for this board"
    if board.base is None or board.gpu_busy is None:
        raise ValueError(f"{board.name}: no assumed power")
    return PowerLaw(
        meter=board.meter,
        board=PowerTerms(
            base_mw=_assumed(board.base, "mW", source),
            mem_idle_mw=_memory(board, _assumed(board.mem_step, "mW", source)),
            cores={CLUSTER: _core(board)},
            gpu=GpuPower(
                busy_mw=_assumed(board.gpu_busy, "mW", source),
                reference_mhz=board.top_mhz[1],
                voltage=voltage,
            ),
            fit=Fit(points=0, conditions="not measured: every term is assumed"),
        ),
        cpu_voltage=cpu_voltage(),
    )
