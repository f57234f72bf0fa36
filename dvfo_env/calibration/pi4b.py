"""From raw measurements to the Raspberry Pi 4B profile: cores x CPU clock, no other knob.

Whole-network times come from the ncnn tables (1 and 4 threads at 1.8 GHz), how they follow the clock from a
pose network timed at ten clocks on the same board, the shape of the power curve from another ARM core.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping as Table
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.calibration.ncnn_tables import (
    NEAREST_NETWORKS,
    BenchRow,
    network_latency,
    read_ncnn_tables,
    select_run,
)
from dvfo_env.devices.profile import (
    ClockDomain,
    ClockLaw,
    CorePower,
    DeviceProfile,
    Fit,
    Law,
    Mapping,
    PowerLaw,
    PowerTerms,
    ThermalLaw,
    Trip,
    VoltageCurve,
)
from dvfo_env.errors import MeasurementError
from dvfo_env.schema import Coefficient

POSE_SOURCE = (
    "GXG-CS/Smart-Cameras@5efb9c7d1c18a2e62aa63d0a4c0a78327cc91bbf:"
    "Benchmark/data_collection/pi4b/pi4b_tf_pose_estimation_results.csv"
)
A15_SOURCE = (
    "kranik/ARMPM_BUILDMODEL@d3822e73263eec086e8f1509057a4494240e9717:"
    "Examples/Concatenated_Data/{PARSEC 1core_big, cBench el1_big}.data"
)
BOARD_POWER_SOURCE = (
    "chipwired.com/raspberry-pi-power-use"
    " (one Pi 4B, two USB meters: 2.4 and 2.3 W quiet, 5.4 and 5.1 W at high CPU load)"
)
_POSE_FILE = Path("rpi-smartcameras-cores-cpu-sdram") / "pi4b_tf_pose_estimation_results.csv"
_A15_FILES = (
    "xu3_cset_perfcpu_PARSEC_eMMC_1core_big.data.gz",
    "xu3_cset_perfcpu_cBench_eMMC_el1_big.data.gz",
)
_CPU_MHZ = tuple(float(mhz) for mhz in range(600, 1501, 100))
_TABLE_GHZ = 1.8
_FITTED_GHZ = 1.2
_UNMEASURED = "no measurement in the sources"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClockShape:
    """t = t0 + c / f of the pose network on four cores, f in GHz, times in ms.

    `error_percent` in sample up to 1.2 GHz, `holdout_*` with each clock left out in turn,
    `all_clocks_percent` over all clocks including those at which the board throttled.
    """

    t0_ms: float
    c_ms_ghz: float
    points: int
    error_percent: float
    holdout_error_percent: float
    holdout_worst_percent: float
    all_clocks_percent: float

    @property
    def fixed_share(self) -> float:
        """Share of the time at 1.8 GHz that does not shrink with the clock."""
        return self.t0_ms / (self.t0_ms + self.c_ms_ghz / _TABLE_GHZ)


def fit_clock_shape(ghz: Array, time_ms: Array) -> ClockShape:
    """Least squares on relative errors of t = t0 + c / f over the rows up to 1.2 GHz.

    Raises:
        MeasurementError: fewer than three clocks up to 1.2 GHz.
    """
    cool = ghz <= _FITTED_GHZ + 1e-9
    clocks = np.unique(ghz[cool])
    if len(clocks) < 3:
        raise MeasurementError(f"pose rows: {len(clocks)} clocks up to {_FITTED_GHZ} GHz, 3 are needed")
    t0, c = _least_squares(ghz[cool], time_ms[cool])
    error = np.abs((t0 + c / ghz) / time_ms - 1.0) * 100.0
    held_back = []
    for clock in clocks:
        a, b = _least_squares(ghz[cool & (ghz != clock)], time_ms[cool & (ghz != clock)])
        held_back.append(float(np.mean(np.abs((a + b / clock) / time_ms[ghz == clock] - 1.0)) * 100.0))
    return ClockShape(
        t0_ms=t0,
        c_ms_ghz=c,
        points=int(cool.sum()),
        error_percent=round(float(error[cool].mean()), 2),
        holdout_error_percent=round(float(np.mean(held_back)), 2),
        holdout_worst_percent=round(max(held_back), 2),
        all_clocks_percent=round(float(error.mean()), 2),
    )


def read_pose_rows(measurements: Path) -> tuple[Array, Array]:
    """Clock (GHz) and time per frame (ms) of the four-core rows; runs on fewer cores do not compare.

    Raises:
        MeasurementError: the file is missing, or a row lacks a column or holds no positive number.
    """
    path = Path(measurements) / _POSE_FILE
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        four = [row for row in rows if row["cpu_cores"] == "4"]
        ghz = np.array([float(row["cpu_freq"]) / 1000.0 for row in four])
        fps = np.array([float(row["avg_fps"]) for row in four])
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise MeasurementError(f"{path}: expected columns cpu_cores, cpu_freq, avg_fps: {error}") from None
    if not len(fps) or not np.all(fps > 0.0):
        raise MeasurementError(f"{path}: avg_fps must be above 0 in every four-core row")
    return ghz, 1000.0 / fps


def fit_a15_voltage(measurements: Path) -> tuple[float, tuple[float, float]]:
    """Slope (1/GHz) of the A15's supply voltage above 1 GHz relative to its voltage there, and its range.

    The range spans the slopes to each clock alone.

    Raises:
        MeasurementError: a file is missing, or holds no busy row (power above 0.05 W) at 1 GHz.
    """
    offsets, ratios = [], []
    for name in _A15_FILES:
        path = Path(measurements) / "odroidxu3-armpm-a15-power" / name
        try:
            lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()[1:]
        except (OSError, EOFError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MeasurementError(f"{path}: cannot be read: {reason}") from None
        table = np.array([[float(line.split("\t")[k]) for k in (3, 5, 7)] for line in lines if line])
        busy = table[table[:, 2] > 0.05]
        volts = {mhz: float(busy[busy[:, 0] == mhz, 1].mean()) for mhz in np.unique(busy[:, 0])}
        if 1000.0 not in volts:
            raise MeasurementError(f"{path}: no busy row at 1000 MHz")
        for mhz, volt in volts.items():
            if mhz > 1000.0:
                offsets.append(mhz / 1000.0 - 1.0)
                ratios.append(volt / volts[1000.0] - 1.0)
    x, y = np.array(offsets), np.array(ratios)
    slopes = y / x
    return float(x @ y / (x @ x)), (round(float(slopes.min()), 3), round(float(slopes.max()), 3))


def calibrate_pi4b(measurements: Path) -> tuple[list[DeviceProfile], list[dict[str, Any]]]:
    """Build the Raspberry Pi 4B profile from a folder of raw measurements.

    Returns the profile and one report row per workload and mapping: time at 1.8 GHz (where the tables are),
    at 600 and at 1500 MHz, its evidence, and the errors of the clock shape.

    Raises:
        MeasurementError: a raw file is missing, unreadable or too small.
    """
    shape = fit_clock_shape(*read_pose_rows(measurements))
    rows = read_ncnn_tables(measurements)
    runs = {n: select_run(rows, "Raspberry Pi 4 Model B", threads=n) for n in (1, 4)}
    a72 = {n: select_run(rows, "Rockchip RK3399", threads=n, power_save=2) for n in (1, 2)}
    times = {workload: _times(runs, a72, workload) for workload in sorted(NEAREST_NETWORKS)}
    latency: dict[str, dict[str, Law]] = {
        workload: {f"cpu{n}": _law(total, shape) for n, total in by_threads.items()}
        for workload, by_threads in times.items()
    }
    profile = DeviceProfile(
        name="raspberry-pi-4b",
        title="Raspberry Pi 4 Model B (4 x Cortex-A72)",
        description="CPU only: cores and CPU clock. Whole-network times measured at 1.8 GHz; the clock shape"
        " was fitted on another network, power and thermal constants are assumed.",
        cores={"a72": 4},
        cpu=_cpu_domain(),
        mappings={
            f"cpu{n}": Mapping(kind="cpu", cluster="a72", threads=n, title=_TITLES[n]) for n in (1, 2, 4)
        },
        out_of_the_box="cpu4",
        inference={workload: "ncnn, fp32, batch 1" for workload in times},
        latency=latency,
        power=_power(*fit_a15_voltage(measurements)),
        thermal=_thermal(),
    )
    return [profile], [_row(w, n, total, shape) for w, by in times.items() for n, total in by.items()]


_TITLES = {1: "one core", 2: "two cores", 4: "all four cores"}


def _least_squares(ghz: Array, time_ms: Array) -> tuple[float, float]:
    design = np.column_stack([np.ones_like(ghz), 1.0 / ghz]) / time_ms[:, None]
    t0, c = np.linalg.lstsq(design, np.ones_like(ghz), rcond=None)[0]
    return float(t0), float(c)


def _times(
    runs: Table[int, Table[str, BenchRow]], a72: Table[int, Table[str, BenchRow]], workload: str
) -> dict[int, Coefficient]:
    """Whole-network time at 1.8 GHz with 1, 2 and 4 threads; two by Amdahl's law from the others."""
    one, four = network_latency(runs[1], workload), network_latency(runs[4], workload)
    nearest = next(name for name in NEAREST_NETWORKS[workload] if name in runs[4])
    speedup = a72[1][nearest].avg_ms / a72[2][nearest].avg_ms
    ones, fours = one.range or (one.value, one.value), four.range or (four.value, four.value)
    two = Coefficient(
        value=round((one.value + 2.0 * four.value) / 3.0, 3),
        unit="ms",
        evidence="assumed",
        source=one.source,
        range=(round(ones[0] / speedup, 3), round((ones[1] * fours[1]) ** 0.5, 3)),
        note=f"Amdahl's law through 1 and 4 threads; range: two A72 cores of an RK3399 gain {speedup:.2f}"
        " on the same network, to a power law through 1 and 4 threads",
    )
    return {1: one, 2: two, 4: four}


def _law(total: Coefficient, shape: ClockShape) -> ClockLaw:
    """Split a time at 1.8 GHz into the part that shrinks with the clock and the part that does not."""
    fixed = total.value * shape.fixed_share
    moving = total.value * (1.0 - shape.fixed_share) * _TABLE_GHZ
    low, high = total.range or (total.value, total.value)
    measured = total.evidence == "measured"
    borrowed = f"share of the pose network ({shape.fixed_share:.3f} of the time at 1.8 GHz)"
    reason = f"{borrowed}, whose time also holds capture and drawing; range: from none to that share"
    return ClockLaw(
        t0_ms=Coefficient(
            value=round(fixed, 3),
            unit="ms",
            evidence="assumed",
            source=f"{total.source}; {POSE_SOURCE}",
            range=(0.0, round(high * shape.fixed_share, 3)),
            note="; ".join(filter(None, (reason, total.note))),
        ),
        cpu_ms_ghz=Coefficient(
            value=round(moving, 3),
            unit="ms GHz",
            evidence="fitted" if measured else "assumed",
            source=f"{total.source}; {POSE_SOURCE}",
            error_percent=shape.error_percent if measured else None,
            holdout_error_percent=shape.holdout_error_percent if measured else None,
            range=(round(low * (1.0 - shape.fixed_share) * _TABLE_GHZ, 3), round(high * _TABLE_GHZ, 3)),
            note="; ".join(
                filter(None, ("from the time at 1.8 GHz; errors: the pose network's", total.note))
            ),
        ),
        split_note="the fixed part is split by operations, the rest by FLOPs; no layer was timed: assumed",
        fit=Fit(
            points=shape.points,
            conditions="pose network on four cores, 0.6 to 1.2 GHz; scaled to this network's time at 1.8 GHz."
            f" To 1.5 GHz, where the board throttled, the error is {shape.all_clocks_percent} %",
            error_percent=shape.error_percent,
            holdout_error_percent=shape.holdout_error_percent,
            holdout_worst_percent=shape.holdout_worst_percent,
            holdout_method="each clock left out in turn",
        ),
    )


def _cpu_domain() -> ClockDomain:
    return ClockDomain(
        mhz=_CPU_MHZ,
        effect_delay_ms=Coefficient(
            value=1.0,
            unit="ms",
            evidence="assumed",
            source=_UNMEASURED,
            range=(0.1, 5.0),
            note="a firmware call and a voltage step; no source times it on this board",
        ),
        source=POSE_SOURCE,
    )


def _power(slope: float, slopes: tuple[float, float]) -> PowerLaw:
    terms = PowerTerms(
        base_mw=Coefficient(
            value=2400.0,
            unit="mW",
            evidence="assumed",
            source=BOARD_POWER_SOURCE,
            range=(1700.0, 3000.0),
            note="one board on USB meters; range: without Wi-Fi, to a wall meter with its supply",
        ),
        cores={
            "a72": CorePower(
                core_mw=Coefficient(
                    value=750.0,
                    unit="mW",
                    evidence="assumed",
                    source=BOARD_POWER_SOURCE,
                    range=(600.0, 1000.0),
                    note="(5.4 - 2.4 W) / 4 cores at 1.5 GHz; that load was not a neural network",
                ),
                reference_mhz=1500.0,
            )
        },
        fit=Fit(
            points=0, conditions="nobody measured this board's power against clock and cores: all assumed"
        ),
    )
    source = f"{A15_SOURCE} (Cortex-A15, not A72)"
    curve = VoltageCurve(
        knee_ghz=Coefficient(
            value=1.0,
            unit="GHz",
            evidence="assumed",
            source=source,
            range=(0.6, 1.2),
            note="the lowest clock at which the A15's voltage was read",
        ),
        slope_per_ghz=Coefficient(
            value=round(slope, 3),
            unit="1/GHz",
            evidence="assumed",
            source=source,
            range=slopes,
            note="measured on the A15, carried over to this core; range: to each of its clocks alone",
        ),
    )
    return PowerLaw(board=terms, cpu_voltage=curve)


def _thermal() -> ThermalLaw:
    def assumed(value: float, unit: str, span: tuple[float, float], note: str) -> Coefficient:
        return Coefficient(
            value=value, unit=unit, evidence="assumed", source=_UNMEASURED, range=span, note=note
        )

    return ThermalLaw(
        ambient_c=assumed(25.0, "degC", (15.0, 35.0), "a room"),
        resistance_c_per_w=assumed(
            11.0,
            "degC/W",
            (10.0, 12.5),
            "the pose runs throttled at 1.5 GHz, not at 1.2: 80 degC lies between 4.4 and 5.4 W of this law",
        ),
        time_constant_s=assumed(
            120.0, "s", (30.0, 300.0), "a bare board without a heat sink warms in minutes"
        ),
        start_c=45.0,
        trips=(
            Trip(
                temperature_c=80.0,
                release_c=75.0,
                domain="cpu",
                max_mhz=1200.0,
                evidence="assumed",
                source="raspberrypi/documentation#1348 (cores are throttled from 80 degC on); the cap is"
                " the clock at which the law matches the throttled rows of " + POSE_SOURCE,
            ),
        ),
    )


def _row(workload: str, threads: int, total: Coefficient, shape: ClockShape) -> dict[str, Any]:
    relative = {
        mhz: shape.fixed_share + (1.0 - shape.fixed_share) * _TABLE_GHZ / (mhz / 1000.0)
        for mhz in (600, 1500)
    }
    low, high = total.range or (total.value, total.value)
    return {
        "workload": workload,
        "mapping": f"cpu{threads}",
        "ms_1800_mhz": total.value,
        "low_ms": low,
        "high_ms": high,
        "ms_1500_mhz": round(total.value * relative[1500], 1),
        "ms_600_mhz": round(total.value * relative[600], 1),
        "evidence": total.evidence,
        "shape_error_percent": shape.error_percent,
        "shape_holdout_error_percent": shape.holdout_error_percent,
    }
