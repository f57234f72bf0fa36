"""Fits of the Jetson TX2 power law to tegrastats logs: quiet idle, busy core, GPU with its voltage
curve, DRAM traffic.

P = quiet(f_mem) + host + activity * k * f_gpu V(f_gpu)^2 + b * (EMC load * f_mem)          [mW, GHz]

`quiet` is measured by memory clock. `host` is the one CPU core at 2.035 GHz that drives the GPU. V is
fitted to the GPU rail. The log over several networks has an activity (1) and a traffic coefficient of
its own, since which network ran when is not recorded: there more traffic also means another network.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.calibration.fitting import Errors, hold_out_groups, percent_error, relative_fit
from dvfo_env.calibration.tx2.readers import Tegrastats
from dvfo_env.errors import MeasurementError

Array = NDArray[np.float64]

MEMORY_MHZ = (1062.4, 1331.2, 1600.0, 1866.0)
BYTES_PER_CLOCK = 32.0
"""Bytes that the TX2's 128-bit double-data-rate memory moves per EMC clock (59.7 GB/s at 1866 MHz)."""
BUSY_LOAD = 0.9
QUIET_CORES = 0.15
MIN_LINES = 10
VGG_WEIGHT = 2.0
"""Weight of a vgg19 group mean: four times the lines of a group of the mixed log, so twice the residual."""


class Groups(NamedTuple):
    """Means over the busy lines of each clock pair, each [pairs]; clocks in GHz, `traffic` = EMC load *
    EMC GHz, mW.
    """

    gpu_ghz: Array
    mem_ghz: Array
    traffic: Array
    gpu_mw: Array
    board_mw: Array
    rails_mw: Array
    lines: Array


def rails_mw(log: Tegrastats) -> Array:
    """CPU, GPU and DDR rails together, per line."""
    return log.cpu_mw + log.gpu_mw + log.ddr_mw


def busy_groups(log: Tegrastats, gpu_points_mhz: tuple[float, ...]) -> Groups:
    """Mean of the lines with a GPU load of at least 90 % by the clock pair each line reports, 10 lines
    or more.

    Raises:
        MeasurementError: no clock pair has that many lines.
    """
    rows = []
    for gpu in gpu_points_mhz:
        for mem in MEMORY_MHZ:
            at = (log.gpu_mhz == int(gpu)) & (log.mem_mhz == int(mem)) & (log.gpu_load >= BUSY_LOAD)
            if at.sum() >= MIN_LINES:
                traffic = (log.mem_load * log.mem_mhz)[at].mean() / 1000.0
                power = [values[at].mean() for values in (log.gpu_mw, log.board_mw, rails_mw(log))]
                rows.append((gpu / 1000.0, mem / 1000.0, traffic, *power, at.sum()))
    if not rows:
        raise MeasurementError(f"tegrastats: no clock pair has {MIN_LINES} lines with the GPU busy")
    return Groups(*np.asarray(rows, dtype=np.float64).T)


def quiet_idle_mw(logs: tuple[Tegrastats, ...], rails: bool) -> tuple[Array, int]:
    """Median power by memory clock [4] of lines with GPU idle and CPU load below 0.15 cores, and the
    number of lines.

    Raises:
        MeasurementError: a memory clock has no such line.
    """
    power, memory = [], []
    for log in logs:
        quiet = (log.gpu_load == 0.0) & (log.busy_cores < QUIET_CORES) & (log.gpu_mw < 500.0)
        power.append((rails_mw(log) if rails else log.board_mw)[quiet])
        memory.append(log.mem_mhz[quiet])
    values, clocks = np.concatenate(power), np.concatenate(memory)
    medians = [values[clocks == int(mhz)] for mhz in MEMORY_MHZ]
    if any(len(lines) == 0 for lines in medians):
        raise MeasurementError("tegrastats: a memory clock has no quiet idle lines")
    return np.asarray([np.median(lines) for lines in medians]), len(values)


class Voltage(NamedTuple):
    """V(f) = max(1, 1 + slope * (f - knee)), f in GHz."""

    knee_ghz: float
    slope_per_ghz: float

    def factor(self, ghz: Array) -> Array:
        """F V(f)^2, GHz."""
        return np.asarray(ghz * np.maximum(1.0, 1.0 + self.slope_per_ghz * (ghz - self.knee_ghz)) ** 2)


def fit_gpu_voltage(vgg: Groups) -> tuple[Voltage, Errors]:
    """Voltage curve from the GPU rail of the vgg19 runs; hold-out leaves out one clock at a time."""

    def predict(x: Array, ghz: Array) -> Array:
        return np.asarray(x[0] + x[1] * Voltage(x[2], x[3]).factor(ghz))

    def fit(keep: NDArray[np.bool_]) -> Array:
        ghz, rail = vgg.gpu_ghz[keep], vgg.gpu_mw[keep]
        return relative_fit(lambda x: predict(x, ghz), rail, [120.0, 3700.0, 0.8, 0.5])

    everything = fit(np.ones(len(vgg.gpu_ghz), dtype=bool))
    inside = percent_error(predict(everything, vgg.gpu_ghz), vgg.gpu_mw)
    held = []
    for index in range(len(vgg.gpu_ghz)):
        keep = np.arange(len(vgg.gpu_ghz)) != index
        held.append(float(percent_error(predict(fit(keep), vgg.gpu_ghz), vgg.gpu_mw)[index]))
    errors = Errors(float(inside.mean()), float(np.mean(held)), max(held), max(held))
    return Voltage(float(everything[2]), float(everything[3])), errors


class PowerFit(NamedTuple):
    """Parameters of the module's formula; mW, mW/GHz (of f V^2) and mW/GHz (of load * GHz)."""

    host_mw: float
    gpu_mw_per_ghz: float
    vgg_activity: float
    vgg_traffic_mw: float
    mixed_traffic_mw: float


class PowerReport(NamedTuple):
    """A power fit with the quiet idle [4] behind it and its errors on each log's group means."""

    fit: PowerFit
    quiet_mw: Array
    vgg: Errors
    mixed: Errors
    pairs: int


def fit_power(vgg: Groups, mixed: Groups, quiet_mw: Array, voltage: Voltage, rails: bool) -> PowerReport:
    """Fit board or rail power jointly to both logs; hold-out keeps a fifth of the clock pairs back, in
    both logs.
    """
    both = Groups(*(np.concatenate(pair) for pair in zip(vgg, mixed, strict=True)))
    is_vgg = np.arange(len(both.gpu_ghz)) < len(vgg.gpu_ghz)
    measured = both.rails_mw if rails else both.board_mw
    quiet = np.interp(both.mem_ghz, np.asarray(MEMORY_MHZ) / 1000.0, quiet_mw)
    drive = voltage.factor(both.gpu_ghz)

    def predict(x: Array) -> Array:
        activity = np.where(is_vgg, x[2], 1.0)
        traffic = np.where(is_vgg, x[3], x[4]) * both.traffic
        return np.asarray(quiet + x[0] + activity * x[1] * drive + traffic)

    def fit(keep: NDArray[np.bool_]) -> Array:
        weight = np.where(is_vgg, VGG_WEIGHT, 1.0)[keep]
        start = [1000.0, 2500.0, 1.3, 4000.0, 5000.0]
        return relative_fit(lambda x: predict(x)[keep], measured[keep], start, weight=weight)

    keys = list(zip(both.gpu_ghz.tolist(), both.mem_ghz.tolist(), strict=True))
    masks = hold_out_groups(keys, splits=10, share=0.2)
    held = [(mask, percent_error(predict(fit(~mask)), measured)) for mask in masks]
    parameters = fit(np.ones(len(keys), dtype=bool))
    inside = percent_error(predict(parameters), measured)
    vgg_errors, mixed_errors = (_errors(inside, held, part) for part in (is_vgg, ~is_vgg))
    law = PowerFit(*(float(v) for v in parameters))
    return PowerReport(law, quiet_mw, vgg_errors, mixed_errors, len(set(keys)))


def _errors(inside: Array, held: list[tuple[NDArray[np.bool_], Array]], part: NDArray[np.bool_]) -> Errors:
    points = [error[mask & part] for mask, error in held if (mask & part).any()]
    means = [float(errors.mean()) for errors in points]
    worst = max(float(errors.max()) for errors in points)
    return Errors(float(inside[part].mean()), float(np.mean(means)), max(means), worst)


def mixed_activity(
    fit: PowerFit, mixed: Groups, quiet_mw: Array, voltage: Voltage, rails: bool
) -> tuple[float, float, float]:
    """Median and 10th and 90th percentile of the GPU activity in the mixed log, with vgg19's traffic
    coefficient.

    What an unknown network does: power above quiet, host and traffic over k f V^2, per clock pair.
    """
    quiet = np.interp(mixed.mem_ghz, np.asarray(MEMORY_MHZ) / 1000.0, quiet_mw)
    measured = mixed.rails_mw if rails else mixed.board_mw
    rest = measured - quiet - fit.host_mw - fit.vgg_traffic_mw * mixed.traffic
    activity = rest / (fit.gpu_mw_per_ghz * voltage.factor(mixed.gpu_ghz))
    low, middle, high = np.percentile(activity, (10, 50, 90))
    return float(middle), float(low), float(high)


def core_shares(log: Tegrastats) -> tuple[float, float, int]:
    """(first core's extra, per core, lines) of the CPU rail (mW) at 2.035 GHz from lines with at least
    0.9 busy cores.

    The rail is a straight line in busy cores there; its distance from the quiet rail at zero load is what the
    first busy core wakes besides itself (cluster, cache).
    """
    quiet = (log.gpu_load == 0.0) & (log.busy_cores < QUIET_CORES) & (log.gpu_mw < 500.0)
    busy = log.busy_cores >= BUSY_LOAD
    slope, intercept = np.polyfit(log.busy_cores[busy], log.cpu_mw[busy], 1)
    return float(intercept - np.median(log.cpu_mw[quiet])), float(slope), int(busy.sum())


def traffic_gb(vgg: Groups, latency_ms: Array) -> tuple[float, float, float]:
    """Median, lowest and highest DRAM traffic of one inference (10^9 bytes) over the clocks, from EMC
    load and latency.
    """
    gigabytes = vgg.traffic * BYTES_PER_CLOCK * latency_ms / 1000.0
    return float(np.median(gigabytes)), float(gigabytes.min()), float(gigabytes.max())
