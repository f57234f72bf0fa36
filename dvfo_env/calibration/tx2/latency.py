"""Fits of the Jetson TX2 latency law to TensorRT grids (GPU and memory clock) and Keras grids (CPU
clock, cores).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dvfo_env.calibration.fitting import Errors, percent_error
from dvfo_env.calibration.laws import FittedLaw, LawForm, Points, clock_masks, fit_law, law_errors
from dvfo_env.devices.layers import Shares
from dvfo_env.errors import MeasurementError

SIX_POINTS = tuple((gpu, mem) for gpu in (0.11475, 0.62475, 1.3005) for mem in (1.0624, 1.866))
"""The (GPU, memory) clock pairs (GHz) at which resnet50 was measured."""
SHAPE_CANDIDATES = (2.0, 2.5, 3.0, 3.2, 3.5, 4.0, 5.0)
KERAS_SPLITS = 3


def fit_roofline(grid: Points, shape: float | None = None) -> FittedLaw:
    """Fit t0, g, m and p (unless `shape` fixes it) to a grid over GPU and memory clocks.

    Raises:
        MeasurementError: fewer points than parameters.
    """
    return fit_law(grid, LawForm(gpu=True, memory=True, shape=shape))


def roofline_errors(grid: Points, share: Shares | None = None) -> Errors:
    """Fit and hold-out errors over random splits that hold back a fifth of the clock pairs."""
    return law_errors(grid, LawForm(gpu=True, memory=True), clock_masks(grid), share)


class SixPointChoice(NamedTuple):
    """How the shape is set when only six clock pairs are known; errors are of other networks' other pairs.

    `shape` is the p to fix, or None to fit it from the six points. `mean_percent` averages the networks' mean
    errors, `worst_mean_percent` is the worst network's, `worst_point_percent` the worst single point.
    """

    shape: float | None
    mean_percent: float
    worst_mean_percent: float
    worst_point_percent: float


def choose_six_point_shape(grids: dict[str, Points]) -> SixPointChoice:
    """Try every candidate on fully measured networks: calibrate on the six clock pairs, test on all others.

    Raises:
        MeasurementError: no grid, or one that lacks the six clock pairs.
    """
    choices = [_six_point_errors(grids, shape) for shape in (None, *SHAPE_CANDIDATES)]
    return min(choices, key=lambda choice: choice.mean_percent)


def _six_point_errors(grids: dict[str, Points], shape: float | None) -> SixPointChoice:
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


def keras_form(overlap: bool) -> LawForm:
    """The whole law; `overlap` frees q, else launching and computing add up."""
    return LawForm(cpu=True, cores=True, gpu=True, memory=True, overlap=overlap)


def fit_keras(grid: Points, overlap: bool) -> FittedLaw:
    """Fit one Keras grid over cores, CPU, GPU and memory clocks."""
    return fit_law(grid, keras_form(overlap), robust=True)


def keras_errors(grid: Points, overlap: bool) -> Errors:
    """Fit and hold-out errors over three splits that hold back a fifth of the clock combinations, all
    cores.
    """
    return law_errors(grid, keras_form(overlap), clock_masks(grid, KERAS_SPLITS), robust=True)
