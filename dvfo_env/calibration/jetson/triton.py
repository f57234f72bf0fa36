"""MobileNetV2 on the Jetson AGX Xavier and Nano, served by Triton: latency and wall power over the GPU clock.

The network is the ONNX model zoo's `mobilenetv2-7` (the repository's `triton/download_models.sh`). The CPU
stood at its highest clock, the memory clock was not set; watts are those of a meter at the wall socket.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.calibration.fitting import Errors, cross_validate, hold_out_groups, percent_error, relative_fit
from dvfo_env.calibration.laws import HOLDOUT_SHARE, Points
from dvfo_env.devices.layers import soft_maximum
from dvfo_env.errors import MeasurementError

Array = NDArray[np.float64]

TRITON_SOURCE = "emwjacobson/JetsonEfficiencyTesting@2b4408066d65e2fd39921097f0a15ffc27d08040 triton/data"
FOLDER = "xavier-nano-triton-mobilenet"
BATCHES = (1, 2, 8, 16, 32)
SETTLED_AFTER_MS = 20_000
"""The meter on the Nano averages over seconds: a run's power is read from here to its end."""
SPLITS = 10


class TritonGrid(NamedTuple):
    """Measured points, each [points]: GPU clock (GHz), batch, median latency of the request (ms), power (W).

    `idle_w` is the median over the batches of the lowest line before a batch's first run, `idle_range_w` the
    lowest and the highest of them.
    """

    gpu_ghz: Array
    batch: Array
    latency_ms: Array
    wall_w: Array
    idle_w: float
    idle_range_w: tuple[float, float] = (float("nan"), float("nan"))

    def take(self, keep: NDArray[np.bool_]) -> TritonGrid:
        """The points where `keep` [points] is true."""
        return self._replace(
            gpu_ghz=self.gpu_ghz[keep],
            batch=self.batch[keep],
            latency_ms=self.latency_ms[keep],
            wall_w=self.wall_w[keep],
        )

    def latency_points(self, cpu_ghz: float, mem_ghz: float) -> Points:
        """The latencies with the clocks that stood still, for `laws.fit_law`."""
        still = np.ones_like(self.gpu_ghz)
        return Points(still, cpu_ghz * still, self.gpu_ghz, mem_ghz * still, self.latency_ms)


def read_triton(measurements: Path, board: str) -> TritonGrid:
    """The grid of `board` (`agx` or `nano`) over GPU clocks and batches.

    Raises:
        MeasurementError: a file is missing, lacks a column, or holds no power during a run.
    """
    rows, idle = [], []
    for batch in BATCHES:
        stem = Path(measurements) / FOLDER / board / f"batch_{batch}"
        power = np.asarray(
            [_figures(row, (0, 1), stem) for row in _lines(stem, "power") if row], dtype=np.float64
        ).reshape(-1, 2)
        runs = {row["Frequency"]: row for row in _table(stem, "timings")}
        first = min((_time(row, "Start", stem) for row in runs.values()), default=0.0)
        idle.append(float(power[power[:, 0] < first, 1].min(initial=np.inf)))
        for row in _table(stem, "data"):
            run = runs.get(row.get("Frequency", ""))
            if run is None:
                raise MeasurementError(f"{stem}_timings.csv: no run at Frequency {row.get('Frequency')}")
            start, end = _time(run, "Start", stem) + SETTLED_AFTER_MS, _time(run, "End", stem)
            watts = power[(power[:, 0] >= start) & (power[:, 0] <= end), 1]
            if not len(watts):
                raise MeasurementError(f"{stem}_power.csv: nothing during the run at {row['Frequency']}")
            latency = _time(row, "p50 latency", stem) / 1000.0
            rows.append((_time(row, "Frequency", stem) / 1e9, batch, latency, float(np.median(watts))))
    if not rows or not np.all(np.isfinite(idle)):
        raise MeasurementError(f"{Path(measurements) / FOLDER / board}: no runs, or no power before them")
    gpu_ghz, batches, latency_ms, wall_w = np.asarray(rows, dtype=np.float64).T
    span = (min(idle), max(idle))
    return TritonGrid(gpu_ghz, batches, latency_ms, wall_w, float(np.median(idle)), span)


def _lines(stem: Path, kind: str) -> Iterator[list[str]]:
    path = stem.with_name(f"{stem.name}_{kind}.csv")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MeasurementError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    return csv.reader(text.splitlines())


def _table(stem: Path, kind: str) -> list[dict[str, str]]:
    lines = _lines(stem, kind)
    heading = next(lines, [])
    return [dict(zip(heading, row, strict=False)) for row in lines if row]


def _figures(row: list[str], columns: tuple[int, ...], stem: Path) -> list[float]:
    try:
        return [float(row[column]) for column in columns]
    except (IndexError, ValueError):
        raise MeasurementError(f"{stem}_power.csv: expected 'unix ms,watts', found {row!r:.60}") from None


def _time(row: dict[str, str], column: str, stem: Path) -> float:
    try:
        return float(row[column])
    except (KeyError, ValueError):
        raise MeasurementError(f"{stem}_*.csv: no figure in column {column!r}") from None


class BatchLatency(NamedTuple):
    """t = a + b B + (((c + d B) / f_gpu)^p + (e + h B)^p)^(1/p), in ms and GHz, B the batch."""

    base_ms: float
    base_ms_per_item: float
    gpu_ms_ghz: float
    gpu_ms_ghz_per_item: float
    flat_ms: float
    flat_ms_per_item: float
    shape: float

    def predict(self, gpu_ghz: Array, batch: Array) -> Array:
        """Latency of a request (ms), broadcasts."""
        compute = (self.gpu_ms_ghz + self.gpu_ms_ghz_per_item * batch) / gpu_ghz
        flat = (self.flat_ms + self.flat_ms_per_item * batch) * np.ones_like(compute)
        return self.base_ms + self.base_ms_per_item * batch + soft_maximum(compute, flat, self.shape)


def fit_batch_latency(grid: TritonGrid) -> BatchLatency:
    """Relative least squares over all clocks and batches."""
    least = float((grid.latency_ms * grid.gpu_ghz / grid.batch).min())
    start = [1.0, 0.1, least, least, 1.0, 0.5 * least, 3.0]
    found = relative_fit(
        lambda x: BatchLatency(*x).predict(grid.gpu_ghz, grid.batch),
        grid.latency_ms,
        start,
        [0.0] * 6 + [1.0],
    )
    return BatchLatency(*(float(value) for value in found))


class WallPower(NamedTuple):
    """P = base + busy f V(f)^2 B^e in W and GHz, V(f) = max(1, 1 + slope (f - knee)), B the batch."""

    base_w: float
    busy_w_per_ghz: float
    slope_per_ghz: float
    knee_ghz: float
    batch_exponent: float = 0.0

    def predict(self, gpu_ghz: Array, batch: Array) -> Array:
        """Power at the wall (W), broadcasts."""
        voltage = np.maximum(1.0, 1.0 + self.slope_per_ghz * (gpu_ghz - self.knee_ghz))
        dynamic = self.busy_w_per_ghz * gpu_ghz * voltage**2 * batch**self.batch_exponent
        return np.asarray(self.base_w + dynamic)


def fit_wall_power(grid: TritonGrid, batches: bool) -> WallPower:
    """Relative least squares, from several knees; with `batches` the exponent of the batch is free."""
    top = float(grid.gpu_ghz.max())
    lowest, highest = float(grid.wall_w.min()), float(grid.wall_w.max())
    tail, tail_bound = ([0.1], [-0.5]) if batches else ([], [])

    def model(x: Array) -> Array:
        return WallPower(*x).predict(grid.gpu_ghz, grid.batch)

    def attempt(knee: float) -> tuple[float, Array]:
        start = [0.9 * lowest, 0.7 * (highest - lowest) / top, 0.4, knee * top, *tail]
        found = relative_fit(model, grid.wall_w, start, [0.0, 0.0, 0.0, 0.01, *tail_bound])
        return float(np.square(np.log(model(found) / grid.wall_w)).sum()), found

    best = min((attempt(knee) for knee in (0.2, 0.4, 0.6, 0.8)), key=lambda pair: pair[0])[1]
    return WallPower(*(float(value) for value in best))


def fit_wall_power_jointly(grid: TritonGrid) -> WallPower:
    """The law of batch 1, base and voltage curve shared by every batch, each with a busy power of its own.

    A clock whose reading at batch 1 is off by itself then counts for a fifth.
    """
    top = float(grid.gpu_ghz.max())
    lowest, highest = float(grid.wall_w.min()), float(grid.wall_w.max())
    batches, which = np.unique(grid.batch, return_inverse=True)

    def model(x: Array) -> Array:
        each = WallPower(0.0, 1.0, float(x[1]), float(x[2])).predict(grid.gpu_ghz, grid.batch)
        return np.asarray(x[0] + x[3 + which] * each)

    def attempt(knee: float) -> tuple[float, Array]:
        busy = [0.7 * (highest - lowest) / top] * len(batches)
        found = relative_fit(
            model, grid.wall_w, [0.9 * lowest, 0.4, knee * top, *busy], [0.0, 0.0, 0.01, *(0.0 for _ in busy)]
        )
        return float(np.square(np.log(model(found) / grid.wall_w)).sum()), found

    best = min((attempt(knee) for knee in (0.2, 0.4, 0.6, 0.8)), key=lambda pair: pair[0])[1]
    first = int(np.flatnonzero(batches == 1)[0])
    return WallPower(float(best[0]), float(best[3 + first]), float(best[1]), float(best[2]))


def batch_latency_errors(grid: TritonGrid, by_batch: bool = False) -> Errors:
    """Fit and hold-out errors of `BatchLatency`: random fifths of clocks, or one inner batch at a time."""
    return _errors(
        grid,
        lambda part: np.asarray(fit_batch_latency(part)),
        lambda x: percent_error(BatchLatency(*x).predict(grid.gpu_ghz, grid.batch), grid.latency_ms),
        by_batch,
    )


def wall_power_errors(grid: TritonGrid, batches: bool, by_batch: bool = False) -> Errors:
    """The same of `WallPower`."""
    return _errors(
        grid,
        lambda part: np.asarray(fit_wall_power(part, batches)),
        lambda x: percent_error(WallPower(*x).predict(grid.gpu_ghz, grid.batch), grid.wall_w),
        by_batch,
    )


def joint_wall_power_errors(grid: TritonGrid) -> Errors:
    """The same of `fit_wall_power_jointly`, on batch 1 alone; clocks are held back in every batch at once."""
    one = grid.take(grid.batch == 1)

    def fit(keep: NDArray[np.bool_]) -> Array:
        return np.asarray(fit_wall_power_jointly(grid.take(np.isin(grid.gpu_ghz, one.gpu_ghz[keep]))))

    def error(x: Array) -> Array:
        return percent_error(WallPower(*x).predict(one.gpu_ghz, one.batch), one.wall_w)

    masks = hold_out_groups([(ghz,) for ghz in one.gpu_ghz.tolist()], SPLITS, HOLDOUT_SHARE)
    return cross_validate(fit, error, masks)


def _errors(
    grid: TritonGrid,
    fit: Callable[[TritonGrid], Array],
    error: Callable[[Array], Array],
    by_batch: bool,
) -> Errors:
    if by_batch:
        masks = [grid.batch == batch for batch in sorted(set(grid.batch.tolist()))[1:-1]]
    else:
        masks = hold_out_groups([(ghz,) for ghz in grid.gpu_ghz.tolist()], SPLITS, HOLDOUT_SHARE)
    return cross_validate(lambda keep: fit(grid.take(keep)), error, masks)
