"""The latency law over cores and clocks as something to fit: forms, fits, and errors on held-out clocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.calibration.fitting import Errors, cross_validate, hold_out_groups, percent_error, relative_fit
from dvfo_env.devices.layers import Shares, soft_maximum
from dvfo_env.errors import MeasurementError

Array = NDArray[np.float64]

HOLDOUT_SHARE = 0.2
MIN_COPY_SIZES = 3
SHAPE_LIMIT = 20.0
"""Largest p that is told apart from a hard maximum."""


class Points(NamedTuple):
    """Measured latencies, each [points]: cores in use, clocks in GHz (0 where there is no such clock), ms."""

    cores: Array
    cpu_ghz: Array
    gpu_ghz: Array
    mem_ghz: Array
    latency_ms: Array

    def take(self, keep: NDArray[np.bool_]) -> Points:
        """The points where `keep` [points] is true."""
        return Points(*(column[keep] for column in self))

    @property
    def clocks(self) -> list[tuple[float, ...]]:
        """(CPU, GPU, memory) clocks of every point: what is held out whole."""
        return list(zip(self.cpu_ghz.tolist(), self.gpu_ghz.tolist(), self.mem_ghz.tolist(), strict=True))


class LawForm(NamedTuple):
    """Which parts of the law are fitted.

    `shape` fixes p; None fits it. `overlap` frees q between launching and computing, else they add up.
    """

    cpu: bool = False
    cores: bool = False
    gpu: bool = False
    memory: bool = False
    shape: float | None = None
    overlap: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the fitted parameters, in the order of `FittedLaw`."""
        free = {
            "t0_ms": True,
            "cpu_ms_ghz": self.cpu,
            "core_exponent": self.cores,
            "gpu_ms_ghz": self.gpu,
            "mem_ms_ghz": self.memory,
            "shape": self.gpu and self.memory and self.shape is None,
            "overlap": self.overlap,
        }
        return tuple(name for name, wanted in free.items() if wanted)


class FittedLaw(NamedTuple):
    """t = t0 + ((c / (n^a f_cpu))^q + (((g / f_gpu)^p + (m / f_mem)^p)^(1/p))^q)^(1/q); ms, ms*GHz.

    p is `shape`, q `overlap`: 1 is the plain sum, large values are the maximum.
    """

    t0_ms: float
    cpu_ms_ghz: float = 0.0
    core_exponent: float = 0.0
    gpu_ms_ghz: float = 0.0
    mem_ms_ghz: float = 0.0
    shape: float = 1.0
    overlap: float = 1.0

    def predict(self, points: Points) -> Array:
        """Latency (ms) at the cores and clocks of some points, [points]."""
        compute = _over(self.gpu_ms_ghz, points.gpu_ghz)
        memory = _over(self.mem_ms_ghz, points.mem_ghz)
        launch = _over(self.cpu_ms_ghz, points.cpu_ghz * points.cores**self.core_exponent)
        return self.t0_ms + soft_maximum(launch, soft_maximum(compute, memory, self.shape), self.overlap)

    def predict_layered(self, points: Points, share: Shares) -> Array:
        """GPU and memory alone, every segment with a soft maximum of its own, g by FLOPs, m by traffic."""
        compute = self.gpu_ms_ghz * share.flops[:, None] / points.gpu_ghz
        memory = self.mem_ms_ghz * share.traffic[:, None] / points.mem_ghz
        return self.t0_ms + np.asarray(soft_maximum(compute, memory, self.shape).sum(axis=0))

    def cpu_share(self, cpu_ghz: float) -> float:
        """Part of the time independent of GPU and memory clock that scales with the CPU clock, one core."""
        launch = self.cpu_ms_ghz / cpu_ghz
        return launch / (launch + self.t0_ms)


def fit_law(points: Points, form: LawForm, share: Shares | None = None, robust: bool = False) -> FittedLaw:
    """Relative least squares; `share` fits through the layered sum, `robust` damps residuals above 10 %.

    Raises:
        MeasurementError: fewer points than parameters.
    """
    names = form.parameters
    if len(points.latency_ms) < len(names):
        raise MeasurementError(f"{len(points.latency_ms)} points are too few to fit {len(names)} parameters")
    start, lower = _start(points, form)

    def unpack(x: Array) -> FittedLaw:
        fixed = {} if form.shape is None else {"shape": form.shape}
        found = dict(zip(names, (float(value) for value in x), strict=True))
        if "shape" in found:
            found["shape"] = min(found["shape"], SHAPE_LIMIT)
        return FittedLaw(**(found | fixed))

    def model(x: Array) -> Array:
        law = unpack(x)
        return law.predict(points) if share is None else law.predict_layered(points, share)

    chosen = [(start[name], lower[name]) for name in names]
    found = relative_fit(
        model, points.latency_ms, [a for a, _ in chosen], [b for _, b in chosen], robust=robust
    )
    return unpack(found)


def law_errors(
    points: Points,
    form: LawForm,
    masks: Sequence[NDArray[np.bool_]],
    share: Shares | None = None,
    robust: bool = False,
) -> Errors:
    """Fit error, and errors on what each mask [points] holds back."""

    def error(x: Array) -> Array:
        law = FittedLaw(*x)
        predicted = law.predict(points) if share is None else law.predict_layered(points, share)
        return percent_error(predicted, points.latency_ms)

    return cross_validate(
        lambda keep: np.asarray(fit_law(points.take(keep), form, share, robust)), error, masks
    )


class FittedCopy(NamedTuple):
    """Handing a tensor from one processor to another: t = base + slope * size; ms, ms per 10^6 bytes."""

    base_ms: float
    ms_per_mb: float

    def predict(self, megabytes: Array) -> Array:
        """Time (ms) of tensors of some sizes, [tensors]."""
        return self.base_ms + self.ms_per_mb * megabytes


def fit_copy(megabytes: Sequence[float] | Array, time_ms: Sequence[float] | Array) -> FittedCopy:
    """Robust relative least squares, neither part below 0.

    Times of copies scatter, small tensors' most. On 40 published tables of phones this objective predicts
    sizes left out best: median error 13 % (27 % mean), against 15 % (29 %) by plain squares of logarithms and
    18 % (28 %) by squares of relative errors, which leans to what is too small.

    Raises:
        MeasurementError: fewer than three sizes, or a time not above 0.
    """
    size, time = np.asarray(megabytes, dtype=np.float64), np.asarray(time_ms, dtype=np.float64)
    if len(set(size.tolist())) < MIN_COPY_SIZES or not np.all(time > 0.0):
        raise MeasurementError(
            f"{len(set(size.tolist()))} tensor sizes, {MIN_COPY_SIZES} are needed, and times above 0"
        )
    start = [0.5 * float(time.min()), max(float((time / size).min()), 1e-6)]
    return FittedCopy(*map(float, relative_fit(lambda x: x[0] + x[1] * size, time, start, robust=True)))


def clock_masks(points: Points, splits: int = 10) -> list[NDArray[np.bool_]]:
    """Random masks that hold back a fifth of the clock combinations, whole."""
    return hold_out_groups(points.clocks, splits, HOLDOUT_SHARE)


def leave_one_clock_out(points: Points) -> list[NDArray[np.bool_]]:
    """One mask per clock combination: everything measured there is held back."""
    keys = points.clocks
    return [np.asarray([key == held for key in keys]) for held in sorted(set(keys))]


def _over(work: float, speed: Array) -> Array:
    return np.divide(work, speed, out=np.zeros_like(speed), where=speed > 0.0)


def _start(points: Points, form: LawForm) -> tuple[dict[str, float], dict[str, float]]:
    """Start values and lower bounds: the part that the form expects to be largest takes all of the time."""
    fastest = float(points.latency_ms.min())
    at_once = {"cpu": points.cpu_ghz, "gpu": points.gpu_ghz, "mem": points.mem_ghz}
    whole = {name: float((points.latency_ms * ghz).min()) or fastest for name, ghz in at_once.items()}
    start = {
        "t0_ms": 0.03 * fastest,
        "cpu_ms_ghz": (0.3 if form.gpu else 1.0) * whole["cpu"],
        "core_exponent": 0.1 if form.gpu else 0.8,
        "gpu_ms_ghz": whole["gpu"],
        "mem_ms_ghz": (0.9 if form.gpu else 0.1) * fastest,
        "shape": 3.0,
        "overlap": 1.5,
    }
    lower = dict.fromkeys(start, 0.0) | {"core_exponent": -0.2, "shape": 1.0, "overlap": 1.0}
    return start, lower
