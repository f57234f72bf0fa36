"""Power law from a table of measured points: the waiting board, its cores, its GPU, its memory traffic.

P = idle(f_mem) + n core fV^2(f_cpu) + activity busy fV^2(f_gpu) + traffic GB/s          [mW]

`fV^2` is relative to the highest clock. With five GPU clocks the voltage's knee and slope are fitted, with
three or four the slope alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.calibration.fitting import Errors, cross_validate, hold_out_groups, percent_error, relative_fit
from dvfo_env.calibration.own.board import Board
from dvfo_env.calibration.own.latency import FEW_CLOCKS
from dvfo_env.calibration.own.table import Row
from dvfo_env.errors import MeasurementError

Array = NDArray[np.float64]

KNEE_SHARE = 0.62
"""Where a GPU's voltage begins to rise, as a share of its highest clock: 0.805 of 1.3005 GHz, Jetson TX2."""
A15_KNEE_GHZ, A15_SLOPE = 1.0, 0.36
"""Voltage of a Cortex-A15 above 1 GHz (0.90, 1.00, 1.176 V at 1.0, 1.4, 1.8 GHz)."""


class PowerForm(NamedTuple):
    """What the rows determine besides core and GPU power."""

    gpu: bool
    gpu_slope: bool
    gpu_knee: bool
    cpu_slope: bool
    traffic: bool
    workloads: tuple[str, ...]
    """Those run on the GPU; the first has activity 1."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the fitted parameters."""
        wanted = {"core_mw": True, "busy_mw": self.gpu, "gpu_slope": self.gpu_slope}
        wanted |= {"gpu_knee_ghz": self.gpu_knee, "cpu_slope": self.cpu_slope, "traffic": self.traffic}
        return (*(name for name, there in wanted.items() if there), *self.workloads[1:])


@dataclass(frozen=True)
class PowerFit:
    """Fitted power: parameters by name, idle power by memory clock, and errors in percent.

    `idle_mw` maps a memory clock (MHz, 0 where there is none) to the waiting board's power.
    """

    form: PowerForm
    values: Mapping[str, float]
    idle_mw: Mapping[float, float]
    errors: Errors
    method: str
    rows: tuple[Row, ...]
    residual_percent: tuple[float, ...]


def idle_power(rows: Sequence[Row]) -> dict[float, float]:
    """Median power (mW) of the waiting board by memory clock (MHz, 0 where there is none)."""
    clocks = sorted({row.mem_mhz or 0.0 for row in rows})
    return {
        mhz: float(np.median([row.power_mw for row in rows if (row.mem_mhz or 0.0) == mhz])) for mhz in clocks
    }


def fit_power(
    rows: Sequence[Row], idle_mw: Mapping[float, float], board: Board, traffic_gb: Mapping[str, float]
) -> PowerFit:
    """Fit the rows with power; `traffic_gb` is the memory traffic of one inference by workload, where known.

    Raises:
        MeasurementError: the points cannot tell the parts apart; the message says what to measure.
    """
    kept = tuple(rows)
    form = _form(kept, board, traffic_gb)
    model = _model(kept, form, idle_mw, board, traffic_gb)
    measured = np.asarray([row.power_mw for row in kept], dtype=np.float64)
    start, lower = _start(form, measured, idle_mw, board)

    def fit(keep: NDArray[np.bool_]) -> Array:
        return relative_fit(lambda x: model(x)[keep], measured[keep], start, lower, robust=True)

    def error(x: Array) -> Array:
        return percent_error(model(x), measured)

    masks, method = _masks(kept, form, board, traffic_gb)
    everything = np.ones(len(kept), dtype=bool)
    found = fit(everything)
    inside = float(error(found).mean())
    errors = Errors(inside, float("nan"), float("nan"), float("nan"))
    if masks:
        errors = cross_validate(fit, error, masks)
    residual = tuple(float(x) for x in (model(found) / measured - 1.0) * 100.0)
    values = dict(zip(form.parameters, (float(x) for x in found), strict=True))
    return PowerFit(form, values, dict(idle_mw), errors, method, kept, residual)


def _form(rows: Sequence[Row], board: Board, traffic_gb: Mapping[str, float]) -> PowerForm:
    on_gpu = [row for row in rows if row.runs_on_gpu]
    on_cpu = [row for row in rows if not row.runs_on_gpu]
    gpu_clocks = len({row.gpu_mhz for row in on_gpu})
    if on_gpu and gpu_clocks < 2 and not on_cpu:
        raise MeasurementError(
            "power on the GPU at one GPU clock: the GPU and the core that drives it cannot be told apart; "
            "add power_mw at a second GPU clock, or a row with power on CPU cores"
        )
    workloads = tuple(dict.fromkeys(row.workload for row in on_gpu))
    two_memories = len({row.mem_mhz for row in on_gpu}) > 1 and set(workloads) <= set(traffic_gb)
    form = PowerForm(
        gpu=bool(on_gpu),
        gpu_slope=gpu_clocks >= 3,
        gpu_knee=gpu_clocks >= 5,
        cpu_slope=len({row.cpu_mhz for row in on_cpu}) >= 3,
        traffic=two_memories and gpu_clocks >= 2,
        workloads=workloads,
    )
    found, needed = len({(row.mapping, row.workload, *row.clocks) for row in rows}), len(form.parameters)
    if found < needed:
        raise MeasurementError(
            f"power: {found} points for {needed} parameters ({', '.join(form.parameters)}); "
            "add power_mw to more rows"
        )
    return form


def _model(
    rows: Sequence[Row],
    form: PowerForm,
    idle_mw: Mapping[float, float],
    board: Board,
    traffic_gb: Mapping[str, float],
) -> Callable[[Array], Array]:
    cpu, gpu, mem = (np.asarray(axis) / 1000.0 for axis in zip(*(row.clocks for row in rows), strict=True))
    idle = np.interp(mem * 1000.0, list(idle_mw), list(idle_mw.values()))
    on_gpu = np.asarray([row.runs_on_gpu for row in rows])
    cores = np.asarray([row.cores for row in rows], dtype=np.float64)
    seconds = np.asarray([(row.latency_ms or float("nan")) / 1000.0 for row in rows])
    moved = np.asarray([traffic_gb.get(row.workload, 0.0) for row in rows]) / seconds
    which = {name: np.asarray([row.workload == name for row in rows]) for name in form.workloads[1:]}
    top_cpu, top_gpu = (max(axis.max(), 1e-9) for axis in (cpu, gpu))
    if board.cpu_mhz:
        top_cpu = board.cpu_mhz[-1] / 1000.0
    if board.gpu_mhz:
        top_gpu = board.gpu_mhz[-1] / 1000.0

    def model(x: Array) -> Array:
        value = dict(zip(form.parameters, x, strict=True))
        knee, slope = voltage_of(value, form, top_gpu)
        cpu_slope = value.get("cpu_slope", A15_SLOPE)
        activity = np.ones(len(rows))
        for name, there in which.items():
            activity = np.where(there, value[name], activity)
        power = idle + cores * value["core_mw"] * drive(cpu, top_cpu, A15_KNEE_GHZ, cpu_slope)
        if form.gpu:
            power = power + on_gpu * activity * value["busy_mw"] * drive(gpu, top_gpu, knee, slope)
        if form.traffic:
            power = power + on_gpu * value["traffic"] * moved
        return np.asarray(power)

    return model


def voltage_of(value: Mapping[str, float], form: PowerForm, top_ghz: float) -> tuple[float, float]:
    """(knee in GHz, slope per GHz) of the GPU's voltage; slope 0 where the points cannot tell."""
    return value.get("gpu_knee_ghz", KNEE_SHARE * top_ghz), value.get("gpu_slope", 0.0)


def drive(ghz: Array, top_ghz: float, knee_ghz: float, slope: float) -> Array:
    """F V(f)^2 relative to the highest clock; 1 where there is no clock."""

    def level(f: Array) -> Array:
        return np.asarray(f * np.maximum(1.0, 1.0 + slope * (f - knee_ghz)) ** 2)

    return np.where(ghz > 0.0, level(ghz) / level(np.asarray(top_ghz)), 1.0)


def _start(
    form: PowerForm, measured: Array, idle_mw: Mapping[float, float], board: Board
) -> tuple[list[float], list[float]]:
    above = max(float(measured.max()) - min(idle_mw.values()), 0.05 * float(measured.max()))
    top_gpu = board.gpu_mhz[-1] / 1000.0 if board.gpu_mhz else 1.0
    start = {
        "core_mw": 0.2 * above,
        "busy_mw": 0.7 * above,
        "gpu_slope": 0.5,
        "gpu_knee_ghz": KNEE_SHARE * top_gpu,
        "cpu_slope": A15_SLOPE,
        "traffic": 50.0,
    }
    values = [start.get(name, 1.0) for name in form.parameters]
    return values, [0.0] * len(values)


def _masks(
    rows: Sequence[Row], form: PowerForm, board: Board, traffic_gb: Mapping[str, float]
) -> tuple[list[NDArray[np.bool_]], str]:
    keys = [row.clocks for row in rows]
    distinct = sorted(set(keys))
    if len(distinct) > FEW_CLOCKS:
        masks = hold_out_groups(keys, 10, 0.2)
        method = "ten random fifths of the clock combinations held back"
    else:
        masks = [np.asarray([key == held for key in keys]) for held in distinct]
        method = "each clock combination left out in turn"
    kept = []
    for mask in masks:
        rest = [row for row, held in zip(rows, mask, strict=True) if not held]
        try:
            smaller = _form(rest, board, traffic_gb)
        except MeasurementError:
            continue
        same = smaller._replace(gpu_slope=form.gpu_slope, gpu_knee=form.gpu_knee, cpu_slope=form.cpu_slope)
        if same == form and len(rest) >= len(form.parameters):
            kept.append(mask)
    return kept, method if kept else "none held back: the law needs every point"
