"""Errors of a shipped Jetson TX2 profile against the raw measurements, through the model that users call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dvfo_env.calibration.fitting import percent_error
from dvfo_env.calibration.laws import Points
from dvfo_env.calibration.tx2 import power as tx2_power
from dvfo_env.calibration.tx2 import readers as tx2_readers
from dvfo_env.devices.model import DeviceModel
from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.workloads import load_workload


def validate_tx2(profile: DeviceProfile, measurements: Path) -> list[dict[str, Any]]:
    """Recompute latency, power and energy errors: one row per quantity, with points, mean and worst
    error in percent.

    Latency: every measured clock pair of the GPU mapping. Power and energy: vgg19's clocks at memory
    1866 MHz, where both are measured. Quiet idle: four memory clocks.

    Raises:
        MeasurementError: a data set is missing or unreadable.
    """
    rows = []
    for workload in tx2_readers.TENSORRT_NAMES:
        grid = tx2_readers.read_latency_grid(measurements, workload)
        model = DeviceModel(profile, load_workload(workload))
        cpu, gpu, mem = model.cpu_mhz[-1:], model.gpu_mhz, model.mem_mhz
        predicted = model.head_latency_ms("gpu", cpu, gpu, mem)[-1, 0]
        rows.append(_row("latency_ms", workload, predicted[_indices(grid, gpu, mem)], grid.latency_ms))
    logs = (
        tx2_readers.read_tegrastats(measurements, vgg=True),
        tx2_readers.read_tegrastats(measurements, vgg=False),
    )
    rows += _power_rows(profile, measurements, logs)
    model = DeviceModel(profile, load_workload("vgg19"))
    quiet, _ = tx2_power.quiet_idle_mw(logs, rails=False)
    idle = model.idle_power_mw(model.cpu_mhz[-1:], model.gpu_mhz[-1:], model.mem_mhz, "board")[0, 0]
    rows.append(_row("idle_power_mw", "board, quiet", idle, quiet))
    return rows


def _power_rows(
    profile: DeviceProfile, measurements: Path, logs: tuple[tx2_readers.Tegrastats, tx2_readers.Tegrastats]
) -> list[dict[str, Any]]:
    model = DeviceModel(profile, load_workload("vgg19"))
    groups = tx2_power.busy_groups(logs[0], model.gpu_mhz)
    grid = tx2_readers.read_latency_grid(measurements, "vgg19")
    measured_ms = grid.latency_ms[grid.mem_ghz > 1.8]
    point = (model.cpu_mhz[-1:], model.gpu_mhz, model.mem_mhz[-1:])
    latency_ms = model.head_latency_ms("gpu", *point)[-1, 0, :, 0]
    board_mj = model.head_energy_mj("gpu", *point, "board")[-1, 0, :, 0]
    rails_mj = model.head_energy_mj("gpu", *point, "rails")[-1, 0, :, 0]
    return [
        _row("power_mw", "board, vgg19", 1000.0 * board_mj / latency_ms, groups.board_mw),
        _row("power_mw", "rails, vgg19", 1000.0 * rails_mj / latency_ms, groups.rails_mw),
        _row("energy_mj", "board, vgg19", board_mj, groups.board_mw * measured_ms / 1000.0),
    ]


def _indices(
    grid: Points, gpu_mhz: tuple[float, ...], mem_mhz: tuple[float, ...]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    gpu = np.abs(np.asarray(gpu_mhz)[None, :] - 1000.0 * grid.gpu_ghz[:, None]).argmin(axis=1)
    mem = np.abs(np.asarray(mem_mhz)[None, :] - 1000.0 * grid.mem_ghz[:, None]).argmin(axis=1)
    return gpu, mem


def _row(
    quantity: str, name: str, predicted: np.ndarray[Any, Any], measured: np.ndarray[Any, Any]
) -> dict[str, Any]:
    errors = percent_error(np.asarray(predicted), np.asarray(measured))
    return {
        "quantity": quantity,
        "name": name,
        "points": len(errors),
        "error_percent": float(errors.mean()),
        "worst_percent": float(errors.max()),
    }
