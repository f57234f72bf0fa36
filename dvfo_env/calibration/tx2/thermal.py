"""Fit of the Jetson TX2's thermal RC node to the temperature and board power of a tegrastats log."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.signal import lfilter

from dvfo_env.calibration.tx2.readers import Tegrastats

Array = NDArray[np.float64]

FAN_STARTS_C = 59.0
"""The log's temperature falls at unchanged load when it has first reached this: the fan starts, which is
no RC node.
"""


class ThermalFit(NamedTuple):
    """dT/dt = (ambient + resistance * P - T) / time_constant, and how well it follows the log (root mean
    square, C).
    """

    ambient_c: float
    resistance_c_per_w: float
    time_constant_s: float
    rms_error_c: float
    worst_error_c: float
    lines: int


def fit_thermal(log: Tegrastats) -> ThermalFit:
    """Fit the node to the lines before the fan starts, one line a second, from the first temperature on."""
    hot = np.flatnonzero(log.temperature_c >= FAN_STARTS_C)
    lines = int(hot[0]) if len(hot) else len(log.temperature_c)
    celsius, watts = log.temperature_c[:lines], log.board_mw[:lines] / 1000.0

    def residual(x: Array) -> Array:
        return _simulate(x, watts, float(celsius[0])) - celsius

    bounds = ([0.0, 0.1, 5.0], [60.0, 20.0, 5000.0])
    solution = least_squares(residual, [27.0, 3.0, 200.0], bounds=bounds, x_scale=[10.0, 1.0, 100.0])
    error = residual(solution.x)
    ambient, resistance, constant = (float(value) for value in solution.x)
    rms = float(np.sqrt(np.mean(error**2)))
    return ThermalFit(ambient, resistance, constant, rms, float(np.abs(error).max()), lines)


def _simulate(x: Array, watts: Array, start_c: float) -> Array:
    decay = float(np.exp(-1.0 / x[2]))
    settled = (1.0 - decay) * (x[0] + x[1] * watts)
    return np.asarray(lfilter([1.0], [1.0, -decay], settled, zi=[decay * start_c])[0])
