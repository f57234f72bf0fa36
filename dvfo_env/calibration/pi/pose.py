"""How time follows the clocks of Raspberry Pis: a pose network timed over cores, CPU and SDRAM clocks."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.calibration.fitting import cross_validate, hold_out_groups, percent_error, relative_fit
from dvfo_env.errors import MeasurementError

Array = NDArray[np.float64]
_FOLDER = Path("rpi-smartcameras-cores-cpu-sdram")
_COMMIT = "GXG-CS/Smart-Cameras@5efb9c7d1c18a2e62aa63d0a4c0a78327cc91bbf:Benchmark/data_collection"
_SPLITS, _SHARE = 20, 0.2


class Shares(NamedTuple):
    """Parts of a time that follow nothing, the CPU clock and the SDRAM clock; they add up to 1."""

    fixed: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class PoseLaw:
    """t = t0 + c / (n^a f_cpu) + m / f_sdram of the pose network on n cores; f in GHz, times in ms.

    `error_percent` in sample; `holdout_*` on what the fit has not seen, by `holdout_method`. `cores_percent`
    is the in-sample error by number of cores. `scope` says which rows were fitted.
    """

    t0_ms: float
    cpu_ms_ghz: float
    core_exponent: float
    mem_ms_ghz: float
    points: int
    error_percent: float
    holdout_error_percent: float
    holdout_worst_percent: float
    holdout_method: str
    scope: str
    cores_percent: dict[int, float]

    def latency_ms(self, cores: int, cpu_ghz: float, sdram_ghz: float) -> float:
        """Time of the pose network, ms."""
        return float(_time(self._parameters, _point(cores, cpu_ghz, sdram_ghz))[0])

    def shares(self, cores: int, cpu_ghz: float, sdram_ghz: float) -> Shares:
        """What part of the time at one point follows which clock."""
        total = self.latency_ms(cores, cpu_ghz, sdram_ghz)
        fixed, memory = self.t0_ms / total, self.mem_ms_ghz / sdram_ghz / total
        return Shares(fixed, 1.0 - fixed - memory, memory)

    @property
    def _parameters(self) -> Array:
        return np.array([self.t0_ms, self.cpu_ms_ghz, self.mem_ms_ghz, self.core_exponent])


class PoseRows(NamedTuple):
    """Measured rows, all [n]: cores, CPU and SDRAM clock in GHz, time per frame in ms."""

    cores: Array
    cpu_ghz: Array
    sdram_ghz: Array
    time_ms: Array

    def where(self, chosen: NDArray[np.bool_]) -> PoseRows:
        """The rows that a mask [n] chooses."""
        return PoseRows(*(column[chosen] for column in self))

    @property
    def pairs(self) -> list[tuple[float, ...]]:
        """(CPU, SDRAM) clock of every row."""
        return list(zip(self.cpu_ghz.tolist(), self.sdram_ghz.tolist(), strict=True))


def pose_source(board: str) -> str:
    """Repository, commit and file of a board's rows; `board` as in the file names (pi0, pi2b, pi3b, pi4b)."""
    return f"{_COMMIT}/{board}/{board}_tf_pose_estimation_results.csv"


def read_pose_rows(measurements: Path, board: str) -> PoseRows:
    """Every row of a board's file.

    Raises:
        MeasurementError: the file is missing, or a row lacks a column or holds no positive rate.
    """
    path = Path(measurements) / _FOLDER / f"{board}_tf_pose_estimation_results.csv"
    columns = ("cpu_cores", "cpu_freq", "sdram_freq", "avg_fps")
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        cores, cpu, sdram, fps = (np.array([float(row[column]) for row in rows]) for column in columns)
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise MeasurementError(f"{path}: expected columns {', '.join(columns)}: {error}") from None
    if not len(fps) or not np.all(fps > 0.0):
        raise MeasurementError(f"{path}: avg_fps must be above 0 in every row")
    return PoseRows(cores, cpu / 1000.0, sdram / 1000.0, 1000.0 / fps)


def fit_pose_law(rows: PoseRows, scope: str) -> PoseLaw:
    """Least squares on the logarithm over the given rows; whole (CPU, SDRAM) clock pairs are held back.

    The core exponent is fitted where more than one number of cores is there, else 0.

    Raises:
        MeasurementError: fewer than three CPU or two SDRAM clocks.
    """
    cpu_clocks, sdram_clocks = len(np.unique(rows.cpu_ghz)), len(np.unique(rows.sdram_ghz))
    if cpu_clocks < 3 or sdram_clocks < 2:
        raise MeasurementError(
            f"pose rows: {cpu_clocks} CPU and {sdram_clocks} SDRAM clocks, 3 and 2 are needed"
        )
    several = len(np.unique(rows.cores)) > 1
    middle = float(np.median(rows.time_ms))
    start = [0.2 * middle, 0.5 * middle, 0.1 * middle * float(rows.sdram_ghz.mean()), *([0.8] * several)]

    def fit(chosen: NDArray[np.bool_]) -> Array:
        part = rows.where(chosen)
        return relative_fit(lambda x: _time(x, part), part.time_ms, start)

    def error(parameters: Array) -> Array:
        return percent_error(_time(parameters, rows), rows.time_ms)

    errors = cross_validate(fit, error, hold_out_groups(rows.pairs, _SPLITS, _SHARE))
    best = fit(np.ones(len(rows.time_ms), dtype=bool))
    every = error(best)
    return PoseLaw(
        t0_ms=float(best[0]),
        cpu_ms_ghz=float(best[1]),
        core_exponent=float(best[3]) if several else 0.0,
        mem_ms_ghz=float(best[2]),
        points=len(rows.time_ms),
        error_percent=round(errors.fit, 2),
        holdout_error_percent=round(errors.holdout, 2),
        holdout_worst_percent=round(errors.holdout_worst_split, 2),
        holdout_method=f"a fifth of the (CPU, SDRAM) clock pairs left out whole, {_SPLITS} times",
        scope=scope,
        cores_percent={int(n): round(float(every[rows.cores == n].mean()), 2) for n in np.unique(rows.cores)},
    )


def fit_cpu_law(rows: PoseRows, top_ghz: float, scope: str) -> PoseLaw:
    """Least squares on relative errors of t = t0 + c / f over the rows up to `top_ghz`, blind to SDRAM.

    For a board on which the SDRAM clock shows no effect; each CPU clock is left out in turn.

    Raises:
        MeasurementError: fewer than three clocks up to `top_ghz`.
    """
    cool = rows.where(rows.cpu_ghz <= top_ghz + 1e-9)
    clocks = np.unique(cool.cpu_ghz)
    if len(clocks) < 3:
        raise MeasurementError(f"pose rows: {len(clocks)} clocks up to {top_ghz} GHz, 3 are needed")
    t0, c = _line(cool)
    every = percent_error(t0 + c / rows.cpu_ghz, rows.time_ms)
    held_back = []
    for clock in clocks:
        out = cool.cpu_ghz == clock
        a, b = _line(cool.where(~out))
        held_back.append(float(percent_error(a + b / cool.cpu_ghz[out], cool.time_ms[out]).mean()))
    inside = float(percent_error(t0 + c / cool.cpu_ghz, cool.time_ms).mean())
    throttled = f"{scope}. To {rows.cpu_ghz.max():g} GHz, where the board throttled, the error is"
    return PoseLaw(
        t0_ms=t0,
        cpu_ms_ghz=c,
        core_exponent=0.0,
        mem_ms_ghz=0.0,
        points=len(cool.time_ms),
        error_percent=round(inside, 2),
        holdout_error_percent=round(float(np.mean(held_back)), 2),
        holdout_worst_percent=round(max(held_back), 2),
        holdout_method="each clock left out in turn",
        scope=f"{throttled} {round(float(every.mean()), 2)} %" if every.size > cool.time_ms.size else scope,
        cores_percent={int(n): round(inside, 2) for n in np.unique(cool.cores)},
    )


def repeat_spread_percent(rows: PoseRows) -> float:
    """Mean absolute deviation (%) of repeated rows from the median of their own setting.

    No law of the clocks can come nearer to the rows than this.
    """
    settings = list(zip(rows.cores.tolist(), *zip(*rows.pairs, strict=True), strict=True))
    spread = np.zeros_like(rows.time_ms)
    for setting in set(settings):
        same = np.array([found == setting for found in settings])
        spread[same] = percent_error(rows.time_ms[same], np.median(rows.time_ms[same]))
    return round(float(spread.mean()), 2)


def _time(parameters: Array, rows: PoseRows) -> Array:
    t0, c, m = parameters[:3]
    exponent = parameters[3] if len(parameters) > 3 else 0.0
    return np.asarray(t0 + c / (rows.cores**exponent * rows.cpu_ghz) + m / rows.sdram_ghz)


def _point(cores: int, cpu_ghz: float, sdram_ghz: float) -> PoseRows:
    return PoseRows(*(np.array([float(value)]) for value in (cores, cpu_ghz, sdram_ghz, 1.0)))


def _line(rows: PoseRows) -> tuple[float, float]:
    design = np.column_stack([np.ones_like(rows.cpu_ghz), 1.0 / rows.cpu_ghz]) / rows.time_ms[:, None]
    t0, c = np.linalg.lstsq(design, np.ones_like(rows.cpu_ghz), rcond=None)[0]
    return float(t0), float(c)
