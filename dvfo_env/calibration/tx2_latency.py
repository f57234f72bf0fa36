"""Fits of the Jetson TX2 latency law to TensorRT grids (GPU and memory clock) and Keras grids (CPU
clock, cores).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.calibration.fitting import Errors, cross_validate, hold_out_groups, percent_error, relative_fit
from dvfo_env.calibration.tx2_readers import KerasGrid, LatencyGrid
from dvfo_env.devices.layers import Shares, soft_maximum
from dvfo_env.errors import MeasurementError

Array = NDArray[np.float64]

HOLDOUT_SPLITS = 10
HOLDOUT_SHARE = 0.2
SIX_POINTS = tuple((gpu, mem) for gpu in (0.11475, 0.62475, 1.3005) for mem in (1.0624, 1.866))
"""The (GPU, memory) clock pairs (GHz) at which resnet50 was measured."""
SHAPE_CANDIDATES = (2.0, 2.5, 3.0, 3.2, 3.5, 4.0, 5.0)


class RooflineFit(NamedTuple):
    """t = t0 + ((g / f_gpu)^p + (m / f_mem)^p)^(1/p); ms and ms*GHz."""

    t0_ms: float
    gpu_ms_ghz: float
    mem_ms_ghz: float
    shape: float

    def predict(self, grid: LatencyGrid) -> Array:
        """Latency (ms) at the clocks of a grid, [points]."""
        compute, memory = self.gpu_ms_ghz / grid.gpu_ghz, self.mem_ms_ghz / grid.mem_ghz
        return self.t0_ms + soft_maximum(compute, memory, self.shape)

    def predict_layered(self, grid: LatencyGrid, share: Shares) -> Array:
        """The same with every segment's own soft maximum, g by FLOPs and m by traffic, summed."""
        compute = self.gpu_ms_ghz * share.flops[:, None] / grid.gpu_ghz
        memory = self.mem_ms_ghz * share.traffic[:, None] / grid.mem_ghz
        return self.t0_ms + np.asarray(soft_maximum(compute, memory, self.shape).sum(axis=0))


def fit_roofline(grid: LatencyGrid, shape: float | None = None, share: Shares | None = None) -> RooflineFit:
    """Relative least squares fit; `shape` fixes p, `share` fits through the layered sum.

    Raises:
        MeasurementError: fewer points than parameters.
    """
    if len(grid.latency_ms) < (4 if shape is None else 3):
        raise MeasurementError(f"latency grid: {len(grid.latency_ms)} points are too few to fit")
    fastest = float(grid.latency_ms.min())
    start = [0.03 * fastest, float((grid.latency_ms * grid.gpu_ghz).min()), 0.9 * fastest]

    def unpack(x: Array) -> RooflineFit:
        return RooflineFit(x[0], x[1], x[2], x[3] if shape is None else shape)

    def model(x: Array) -> Array:
        law = unpack(x)
        return law.predict(grid) if share is None else law.predict_layered(grid, share)

    free = [3.0] if shape is None else []
    return unpack(relative_fit(model, grid.latency_ms, start + free, [0.0] * 3 + [1.0] * len(free)))


def roofline_errors(grid: LatencyGrid, share: Shares | None = None) -> Errors:
    """Fit and hold-out errors over random splits that hold back a fifth of the clock pairs."""
    keys = list(zip(grid.gpu_ghz.tolist(), grid.mem_ghz.tolist(), strict=True))

    def error(x: Array) -> Array:
        law = RooflineFit(*x)
        predicted = law.predict(grid) if share is None else law.predict_layered(grid, share)
        return percent_error(predicted, grid.latency_ms)

    masks = hold_out_groups(keys, HOLDOUT_SPLITS, HOLDOUT_SHARE)
    return cross_validate(lambda keep: np.asarray(fit_roofline(grid.take(keep), share=share)), error, masks)


class SixPointChoice(NamedTuple):
    """How the shape is set when only six clock pairs are known; errors are of other networks' other pairs.

    `shape` is the p to fix, or None to fit it from the six points. `mean_percent` averages the networks' mean
    errors, `worst_mean_percent` is the worst network's, `worst_point_percent` the worst single point.
    """

    shape: float | None
    mean_percent: float
    worst_mean_percent: float
    worst_point_percent: float


def choose_six_point_shape(grids: dict[str, LatencyGrid]) -> SixPointChoice:
    """Try every candidate on fully measured networks: calibrate on the six clock pairs, test on all others.

    Raises:
        MeasurementError: no grid, or one that lacks the six clock pairs.
    """
    choices = [_six_point_errors(grids, shape) for shape in (None, *SHAPE_CANDIDATES)]
    return min(choices, key=lambda choice: choice.mean_percent)


def _six_point_errors(grids: dict[str, LatencyGrid], shape: float | None) -> SixPointChoice:
    means, worst = [], 0.0
    for name, grid in grids.items():
        clocks = zip(grid.gpu_ghz, grid.mem_ghz, strict=True)
        six = np.asarray([any(abs(g - a) + abs(m - b) < 1e-3 for a, b in SIX_POINTS) for g, m in clocks])
        if six.sum() != len(SIX_POINTS):
            raise MeasurementError(f"{name}: has {six.sum()} of the {len(SIX_POINTS)} calibration points")
        rest = grid.take(~six)
        errors = percent_error(fit_roofline(grid.take(six), shape).predict(rest), rest.latency_ms)
        means.append(float(errors.mean()))
        worst = max(worst, float(errors.max()))
    if not means:
        raise MeasurementError("no fully measured network to choose the six-point form with")
    return SixPointChoice(shape, float(np.mean(means)), max(means), worst)


class KerasFit(NamedTuple):
    """t = t0 + c / (n^a f_cpu) + ((g / f_gpu)^p + (m / f_mem)^p)^(1/p), or with `overlap` q between the
    last two.

    With `overlap`: t = t0 + ((c / (n^a f_cpu))^q + roofline^q)^(1/q): launching and computing overlap.
    `overlap` 1 is the plain sum. ms and ms*GHz.
    """

    t0_ms: float
    cpu_ms_ghz: float
    gpu_ms_ghz: float
    mem_ms_ghz: float
    shape: float
    core_exponent: float
    overlap: float

    def predict(self, grid: KerasGrid) -> Array:
        """Latency (ms) at the cores and clocks of a grid, [points]."""
        compute, memory = self.gpu_ms_ghz / grid.gpu_ghz, self.mem_ms_ghz / grid.mem_ghz
        launch = self.cpu_ms_ghz / (grid.cpu_ghz * grid.cores**self.core_exponent)
        return self.t0_ms + soft_maximum(launch, soft_maximum(compute, memory, self.shape), self.overlap)

    def cpu_share(self, cpu_ghz: float) -> float:
        """Part of the time that is independent of GPU and memory clock that scales with the CPU clock,
        one core.
        """
        launch = self.cpu_ms_ghz / cpu_ghz
        return launch / (launch + self.t0_ms)


def fit_keras(grid: KerasGrid, overlap: bool) -> KerasFit:
    """Relative least squares fit of one Keras grid; `overlap` frees q, else the plain sum."""
    fastest = float(grid.latency_ms.min())
    start = [0.05 * fastest, 0.5 * fastest, 0.6 * fastest, 0.6 * fastest, 2.0, 0.1]
    lower = [0.0, 0.0, 0.0, 0.0, 1.0, -0.2]
    if overlap:
        start, lower = [*start, 1.5], [*lower, 1.0]

    def unpack(x: Array) -> KerasFit:
        return KerasFit(x[0], x[1], x[2], x[3], x[4], x[5], x[6] if overlap else 1.0)

    return unpack(relative_fit(lambda x: unpack(x).predict(grid), grid.latency_ms, start, lower, robust=True))


def keras_errors(grid: KerasGrid, overlap: bool) -> Errors:
    """Fit and hold-out errors over three splits that hold back a fifth of the clock combinations, all
    cores.
    """
    columns = (grid.cpu_ghz.tolist(), grid.gpu_ghz.tolist(), grid.mem_ghz.tolist())
    masks = hold_out_groups(list(zip(*columns, strict=True)), splits=3, share=HOLDOUT_SHARE)
    return cross_validate(
        lambda keep: np.asarray(fit_keras(grid.take(keep), overlap)),
        lambda x: percent_error(KerasFit(*x).predict(grid), grid.latency_ms),
        masks,
    )
