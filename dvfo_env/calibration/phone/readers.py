"""Published phone measurements as rows: time per layer and core set, copies, whole networks."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvfo_env.calibration.files import read_text
from dvfo_env.calibration.headless import CopyRow, LayerRow, copy_rows, layer_rows
from dvfo_env.calibration.phone.operations import segment_of_operation
from dvfo_env.devices.profile import Fit, LayerTable
from dvfo_env.errors import MeasurementError
from dvfo_env.workloads import WorkloadCard

COLUMNS = ("big1", "big2", "big4", "gpu", "little1", "little2", "little4")
"""Mapping of each number column of a layer file, in its order; some files end after the GPU."""

LAYER_REPOSITORY = "summerspringwei/DAG-Scheduler@9acc93f27b4f91c72782c17b7799cdc4be0a9b9d:models"
WHOLE_REPOSITORY = "qed-usc/mobile-ml-benchmark@40ba833a9ca560a3035a76a5c3da504082dec001:dataset"

_LAYER_FOLDER = Path("phones-dagscheduler-layerwise")
_WHOLE_FOLDER = Path("phones-qedusc-core-mapping")


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
    """Rows of a layer-wise file: operation name, then a time per core set in ms.

    A file has all of `COLUMNS`, or those up to the GPU; its first row says which.

    Raises:
        MeasurementError: the file is missing, empty or torn.
    """
    return layer_rows(read_text(path)[0], str(path), (4, len(COLUMNS)))


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
    """Rows of a data-transfer file, without the one-dimensional tensors.

    Raises:
        MeasurementError: the file is missing, empty or torn.
    """
    return copy_rows(read_text(path)[0], str(path))


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
