"""Published phone measurements as rows: time per layer and core set, copies, whole networks."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from dvfo_env.calibration.phone.operations import segment_of_operation
from dvfo_env.devices.profile import Fit, LayerTable
from dvfo_env.errors import MeasurementError
from dvfo_env.workloads import WorkloadCard

COLUMNS = ("big1", "big2", "big4", "gpu", "little1", "little2", "little4")
"""Mapping of each number column of a layer file, in its order; some files end after the GPU."""

LayerRow = tuple[str, tuple[float, ...]]
"""An operation's name and its time (ms) in each column of its file."""

LAYER_REPOSITORY = "summerspringwei/DAG-Scheduler@9acc93f27b4f91c72782c17b7799cdc4be0a9b9d:models"
WHOLE_REPOSITORY = "qed-usc/mobile-ml-benchmark@40ba833a9ca560a3035a76a5c3da504082dec001:dataset"

_LAYER_FOLDER = Path("phones-dagscheduler-layerwise")
_WHOLE_FOLDER = Path("phones-qedusc-core-mapping")


@dataclass(frozen=True)
class CopyRow:
    """Time to hand one tensor over, both ways, ms; `megabytes` (10^6) at four bytes an element."""

    megabytes: float
    to_gpu_ms: float
    to_cpu_ms: float


@dataclass(frozen=True)
class WholeTime:
    """Mean and standard deviation (ms) of a whole network's time on one core set."""

    mean_ms: float
    std_ms: float


def layer_file(measurements: Path, network: str, phone: str) -> Path:
    """Where a network's layer times on a phone lie in a folder of raw measurements."""
    return Path(measurements) / _LAYER_FOLDER / network / f"{phone}-{network}-layerwise-latency.csv"


def copy_file(measurements: Path, network: str, phone: str) -> Path:
    """Where a network's copy times on a phone lie in a folder of raw measurements."""
    return Path(measurements) / _LAYER_FOLDER / network / f"{network}-{phone}-data-trans.csv"


def layer_files(measurements: Path) -> list[Path]:
    """Every layer file in a folder of raw measurements, sorted."""
    return sorted((Path(measurements) / _LAYER_FOLDER).glob("*/*-layerwise-latency.csv"))


def source_of(path: Path) -> str:
    """Repository, commit and path of a layer or copy file."""
    network = path.parent.name
    phone = path.name.replace(f"-{network}-layerwise-latency.csv", "").replace(f"{network}-", "")
    return f"{LAYER_REPOSITORY}/{network}/{phone.replace('-data-trans.csv', '')}/{path.name}"


def read_layer_rows(path: Path) -> list[LayerRow]:
    """Rows of a layer-wise file: operation name, then a time per core set in ms (the file has microseconds).

    A file has all of `COLUMNS`, or those up to the GPU; its first row says which.

    Raises:
        MeasurementError: the file is missing, empty, or a row has another number of columns or a negative
            time.
    """
    rows: list[LayerRow] = []
    for number, fields in _lines(path):
        try:
            times = tuple(float(item) / 1000.0 for item in fields[1:])
        except ValueError as error:
            raise MeasurementError(f"{path}: line {number}: {error}") from None
        expected = (len(rows[0][1]),) if rows else (4, len(COLUMNS))
        if len(times) not in expected or min(times) < 0.0:
            wanted = " or ".join(map(str, expected))
            raise MeasurementError(f"{path}: line {number}: expected a name and {wanted} times >= 0")
        rows.append((fields[0], times))
    if not rows:
        raise MeasurementError(f"{path}: no rows")
    return rows


def mappings_of(rows: Sequence[LayerRow]) -> tuple[str, ...]:
    """Mappings a layer file tells of: its columns, without little cores that are a copy of the big ones."""
    found = COLUMNS[: len(rows[0][1])]
    copied = len(found) == len(COLUMNS) and all(times[:3] == times[4:] for _, times in rows)
    return found[:4] if copied else found


def layer_table(rows: Sequence[LayerRow], column: int, source: str) -> LayerTable:
    """One column as a table of layers, each to 1 us; an operation listed twice counts twice."""
    times: dict[str, float] = defaultdict(float)
    for name, values in rows:
        times[name] += values[column]
    return LayerTable(
        layer_ms={name: round(time, 3) for name, time in times.items()},
        evidence="measured",
        source=source,
        fit=Fit(points=len(rows), conditions="governor's default clocks"),
    )


def segment_times(card: WorkloadCard, rows: Sequence[LayerRow], column: int) -> dict[str, float]:
    """Sum of one column's times (ms) over each segment of the card, keyed by the cut that ends it, to 1 us.

    Raises:
        ConfigError: an operation's name matches no layer of the card.
    """
    sums = np.zeros(len(card.segments))
    for name, times in rows:
        sums[segment_of_operation(card, name)] += times[column]
    return {cut: round(float(total), 3) for cut, total in zip(card.cut_names[1:], sums, strict=True)}


def read_copy_rows(path: Path) -> list[CopyRow]:
    """Rows of a data-transfer file: shape, CPU to GPU and GPU to CPU time.

    Rows of one-dimensional tensors (a few numbers, timed once at start-up) are left out.

    Raises:
        MeasurementError: the file is missing, or a row is not a shape and two positive times.
    """
    rows = []
    for number, fields in _lines(path):
        try:
            shape = [int(size) for size in fields[0].split(",")]
            to_gpu, to_cpu = (float(item) / 1000.0 for item in fields[1:])
        except ValueError:
            raise MeasurementError(f"{path}: line {number}: expected a shape and two times") from None
        if len(shape) > 1:
            rows.append(CopyRow(prod(shape) * 4.0 / 1e6, to_gpu, to_cpu))
    return rows


def fit_copy(megabytes: Sequence[float], time_ms: Sequence[float]) -> tuple[float, float, float]:
    """Base (ms), ms per megabyte and mean absolute error (%) of base + slope * size, least relative squares.

    Raises:
        MeasurementError: fewer than three sizes, or a time not above 0.
    """
    size, time = np.asarray(megabytes, dtype=np.float64), np.asarray(time_ms, dtype=np.float64)
    if len(set(megabytes)) < 3 or not np.all(time > 0.0):
        raise MeasurementError("copy times: at least three tensor sizes and times above 0 are needed")
    design = np.column_stack([np.ones_like(size), size]) / time[:, None]
    base, slope = np.linalg.lstsq(design, np.ones_like(time), rcond=None)[0]
    error = float(np.mean(np.abs((base + slope * size) / time - 1.0)) * 100.0)
    return float(base), float(slope), error


def read_whole_networks(measurements: Path, table: str, device: str) -> dict[str, dict[str, WholeTime]]:
    """Float times of every network of a table on one device: network -> core set -> time.

    `table` is the file's name (`tflite_cnn_e2e.csv`), `device` and the core sets (`1large`, `3med`, `gpu`) as
    in its header. A core set that was not timed is left out.

    Raises:
        MeasurementError: the file is missing, has no column of the device, or holds no number.
    """
    path = Path(measurements) / _WHOLE_FOLDER / table
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        found = {row["model"]: _core_sets(row, device) for row in rows}
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise MeasurementError(f"{path}: unexpected row: {error}") from None
    if not any(found.values()):
        raise MeasurementError(f"{path}: no times of device {device!r}")
    return found


def _core_sets(row: Mapping[str, str], device: str) -> dict[str, WholeTime]:
    sets = {}
    for column, mean in row.items():
        if column.startswith(f"{device}|") and column.endswith("|float|mean") and mean:
            std = row[f"{column.removesuffix('mean')}std"]
            sets[column.split("|")[1]] = WholeTime(float(mean) / 1000.0, float(std) / 1000.0)
    return sets


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MeasurementError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    return [(n, line.split()) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
