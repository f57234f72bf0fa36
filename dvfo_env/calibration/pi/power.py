"""Power of ARM cores where somebody measured it: an Exynos 5422's A15 cluster, and a Raspberry Pi 5's SoC."""

from __future__ import annotations

import gzip
from collections import defaultdict
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.errors import MeasurementError

Array = NDArray[np.float64]

A15_SOURCE = (
    "kranik/ARMPM_BUILDMODEL@d3822e73263eec086e8f1509057a4494240e9717:"
    "Examples/Concatenated_Data/{PARSEC 1core_big, 2core_big, cBench el1_big}.data"
)
PI5_SOURCE = "roldebijvank/HW-NAS-Bench-360@a9b243e07fb8f0671ee56587696e7b8ef1ca702d:results/dataset.parquet"
PI5_IDLE_MW = 750.0
"""Idle power of the Pi 5's core rail that the data set has taken off (its README: about 0.75 W)."""

_FOLDER = Path("odroidxu3-armpm-a15-power")
_ONE_CORE = "xu3_cset_perfcpu_PARSEC_eMMC_1core_big.data.gz"
_TWO_CORES = "xu3_cset_perfcpu_PARSEC_eMMC_2core_big.data.gz"
_OTHER_PROGRAMS = "xu3_cset_perfcpu_cBench_eMMC_el1_big.data.gz"
_PARQUET = Path("pi5-pixel-hwnasbench360") / "dataset.parquet"
_BUSY_W = 0.05
_SAMPLE_S = 0.5
_SHORTEST_MS = 0.1


@dataclass(frozen=True)
class CoreShare:
    """P = (cluster * f + core * GHz of busy cycles) * V^2 of the A15 cluster, from programs on 1 and 2 cores.

    `cluster_share` is the cluster's part of the power of one busy core (the rest is the core's own);
    `share_range` spans it over the clocks alone. `holdout_*` with each program left out in turn.
    """

    cluster_share: float
    share_range: tuple[float, float]
    points: int
    error_percent: float
    holdout_error_percent: float
    holdout_worst_percent: float


@dataclass(frozen=True)
class RailLaw:
    """E = base + watts * t of the Pi 5's core rail above idle, one thread at 2.4 GHz; t in ms, E in mJ.

    `holdout_*`: each of the three tasks (input sizes) left out in turn.
    """

    runtime: str
    base_mj: float
    watts: float
    points: int
    error_percent: float
    holdout_error_percent: float
    holdout_worst_percent: float


def fit_a15_voltage(measurements: Path) -> tuple[float, tuple[float, float]]:
    """Slope (1/GHz) of the A15's supply voltage above 1 GHz relative to its voltage there, and its range.

    The range spans the slopes to each clock alone.

    Raises:
        MeasurementError: a file is missing, or holds no busy row (power above 0.05 W) at 1 GHz.
    """
    offsets, ratios = [], []
    for name in (_ONE_CORE, _OTHER_PROGRAMS):
        busy = np.array([row[1:] for row in _a15_rows(measurements, name)])
        volts = {mhz: float(busy[busy[:, 0] == mhz, 1].mean()) for mhz in np.unique(busy[:, 0])}
        if 1000.0 not in volts:
            raise MeasurementError(f"{Path(measurements) / _FOLDER / name}: no busy row at 1000 MHz")
        for mhz, volt in volts.items():
            if mhz > 1000.0:
                offsets.append(mhz / 1000.0 - 1.0)
                ratios.append(volt / volts[1000.0] - 1.0)
    x, y = np.array(offsets), np.array(ratios)
    slopes = y / x
    return float(x @ y / (x @ x)), (round(float(slopes.min()), 3), round(float(slopes.max()), 3))


def fit_core_share(measurements: Path) -> CoreShare:
    """What one busy A15 core costs besides itself, from the same programs on one and on two cores.

    Raises:
        MeasurementError: a file is missing or malformed.
    """
    groups: dict[tuple[int, str, float], list[tuple[float, float, float]]] = defaultdict(list)
    for cores, name in ((1, _ONE_CORE), (2, _TWO_CORES)):
        for program, mhz, volt, watt, cycles in _a15_rows(measurements, name):
            groups[cores, program, mhz].append((volt, watt, cycles / _SAMPLE_S / 1e9))
    means = {key: np.mean(rows, axis=0) for key, rows in sorted(groups.items())}
    programs = np.array([program for _, program, _ in means])
    clocks = np.array([mhz / 1000.0 for _, _, mhz in means])
    volt, watt, busy_ghz = np.array(list(means.values())).T
    design = np.column_stack([clocks * volt**2, busy_ghz * volt**2])

    def fit(chosen: NDArray[np.bool_]) -> Array:
        part = design[chosen] / watt[chosen, None]
        return np.asarray(np.linalg.lstsq(part, np.ones(len(part)), rcond=None)[0])

    def error(parameters: Array) -> Array:
        return np.asarray(np.abs(design @ parameters / watt - 1.0) * 100.0)

    def share(parameters: Array) -> float:
        return round(float(parameters[0] / parameters.sum()), 3)

    best = fit(np.ones(len(watt), dtype=bool))
    held = [float(error(fit(programs != p))[programs == p].mean()) for p in np.unique(programs)]
    by_clock = [share(fit(clocks == ghz)) for ghz in np.unique(clocks)]
    return CoreShare(
        cluster_share=share(best),
        share_range=(min(by_clock), max(by_clock)),
        points=len(watt),
        error_percent=round(float(error(best).mean()), 2),
        holdout_error_percent=round(float(np.mean(held)), 2),
        holdout_worst_percent=round(max(held), 2),
    )


def fit_pi5_rail(measurements: Path) -> list[RailLaw]:
    """The core rail's energy against time for each runtime, distinct measured networks above 0.1 ms only.

    Raises:
        MeasurementError: the file is missing or malformed, or pyarrow is not installed.
    """
    table = _read_parquet(Path(measurements) / _PARQUET)
    try:
        own = np.asarray(table["arch_idx"]) == np.asarray(table["rep_arch_idx"])
        board, runtime, task = (np.asarray(table[c], dtype=str) for c in ("device", "framework", "task"))
        time_ms, energy_mj = (np.asarray(table[c], dtype=np.float64) for c in ("lat_ms_median", "energy_mj"))
    except (KeyError, ValueError) as error:
        raise MeasurementError(f"{Path(measurements) / _PARQUET}: unexpected columns: {error}") from None
    with np.errstate(invalid="ignore"):
        usable = own & (board == "pi5") & (time_ms > _SHORTEST_MS) & (energy_mj > 0.0)
    return [
        _rail_law(str(name), time_ms[chosen], energy_mj[chosen], task[chosen])
        for name in sorted(set(runtime[usable]))
        for chosen in [usable & (runtime == name)]
    ]


def _rail_law(runtime: str, time_ms: Array, energy_mj: Array, task: NDArray[Any]) -> RailLaw:
    def fit(chosen: NDArray[np.bool_]) -> Array:
        design = np.column_stack([np.ones(int(chosen.sum())), time_ms[chosen]]) / energy_mj[chosen, None]
        return np.asarray(np.linalg.lstsq(design, np.ones(len(design)), rcond=None)[0])

    def error(parameters: Array) -> Array:
        return np.asarray(np.abs((parameters[0] + parameters[1] * time_ms) / energy_mj - 1.0) * 100.0)

    best = fit(np.ones(len(time_ms), dtype=bool))
    held = [float(error(fit(task != name))[task == name].mean()) for name in np.unique(task)]
    return RailLaw(
        runtime=runtime,
        base_mj=round(float(best[0]), 3),
        watts=round(float(best[1]), 4),
        points=len(time_ms),
        error_percent=round(float(error(best).mean()), 2),
        holdout_error_percent=round(float(np.mean(held)), 2),
        holdout_worst_percent=round(max(held), 2),
    )


def _read_parquet(path: Path) -> Any:
    if not path.is_file():
        raise MeasurementError(f"{path}: cannot be read: no such file")
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise MeasurementError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
    try:
        return parquet.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's own exceptions are among them
        raise MeasurementError(f"{path}: cannot be read: {error}") from None


def _a15_rows(measurements: Path, name: str) -> list[tuple[str, float, float, float, float]]:
    """(program, MHz, V, W, CPU cycles in the sample) of every busy sample."""
    path = Path(measurements) / _FOLDER / name
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()[1:]
        fields = [line.split("\t") for line in lines if line]
        rows = [(f[1], float(f[3]), float(f[5]), float(f[7]), float(f[8])) for f in fields]
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MeasurementError(f"{path}: cannot be read: {reason}") from None
    except (ValueError, IndexError) as error:
        raise MeasurementError(f"{path}: expected nine columns of figures: {error}") from None
    busy = [row for row in rows if row[3] > _BUSY_W]
    if not busy:
        raise MeasurementError(f"{path}: no busy row (power above {_BUSY_W} W)")
    return busy
