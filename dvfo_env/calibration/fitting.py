"""What every calibration shares: relative least squares, percentage errors, and held-out splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Array = NDArray[np.float64]


class Errors(NamedTuple):
    """Errors of a fit in percent: in sample, held out (mean over splits), the worst split, and the worst
    point.
    """

    fit: float
    holdout: float
    holdout_worst_split: float
    holdout_worst_point: float


def relative_fit(
    model: Callable[[Array], Array],
    measured: Array,
    start: Sequence[float],
    lower: float | Sequence[float] = 0.0,
    weight: Array | float = 1.0,
    robust: bool = False,
) -> Array:
    """Parameters that minimise the squared logarithm of model / measured, none below `lower`.

    The solver works in units of `start`, whose entries must be above `lower`. `weight` scales each point's
    residual; `robust` counts residuals above 10 % less than squared.
    """
    scale = np.asarray(start, dtype=np.float64)
    bound = np.broadcast_to(np.asarray(lower, dtype=np.float64), scale.shape) / scale

    def residual(x: Array) -> Array:
        return np.asarray(np.log(np.maximum(model(x * scale), 1e-9) / measured) * weight)

    bounds = (bound, np.full_like(scale, np.inf))
    loss = "soft_l1" if robust else "linear"
    solution = least_squares(residual, np.ones_like(scale), bounds=bounds, loss=loss, f_scale=0.1)
    return np.asarray(solution.x * scale)


def percent_error(predicted: Array, measured: Array) -> Array:
    """Absolute percentage error of every point."""
    return np.abs(predicted / measured - 1.0) * 100.0


def hold_out_groups(
    keys: Sequence[tuple[float, ...]], splits: int, share: float, seed: int = 0
) -> list[NDArray[np.bool_]]:
    """`splits` masks [points] that hold back a random `share` of the distinct `keys` (clock
    combinations), whole.
    """
    distinct = sorted(set(keys))
    count = max(1, round(share * len(distinct)))
    generator = np.random.default_rng(seed)
    masks = []
    for _ in range(splits):
        chosen = {distinct[i] for i in generator.permutation(len(distinct))[:count]}
        masks.append(np.asarray([key in chosen for key in keys]))
    return masks


def cross_validate(
    fit: Callable[[NDArray[np.bool_]], Array],
    error: Callable[[Array], Array],
    masks: Sequence[NDArray[np.bool_]],
) -> Errors:
    """Fit on everything, then on what each mask leaves, and measure on what it holds back.

    `fit` takes the points to use and gives parameters; `error` gives the percentage error of all points.
    """
    everything = np.ones_like(masks[0])
    inside = float(error(fit(everything)).mean())
    held = [error(fit(~mask))[mask] for mask in masks]
    means = [float(part.mean()) for part in held]
    return Errors(inside, float(np.mean(means)), max(means), max(float(part.max()) for part in held))
