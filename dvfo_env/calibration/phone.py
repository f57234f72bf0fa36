"""From raw measurements to the profile of a Snapdragon 835 phone (OnePlus 5T): big, little, GPU, one setting.

Inception-v4 was timed operation by operation on every core set; whole-network times of the other workloads
come from the ncnn tables of another phone with the same chip. No clock was set or recorded, no power
measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dvfo_env.calibration.ncnn_tables import NEAREST_NETWORKS, network_latency, read_ncnn_tables, select_run
from dvfo_env.devices.profile import (
    CopyCost,
    CorePower,
    DeviceProfile,
    Fit,
    GpuPower,
    Law,
    Mapping,
    PowerLaw,
    PowerTerms,
    SegmentTable,
)
from dvfo_env.errors import MeasurementError
from dvfo_env.schema import Coefficient
from dvfo_env.workloads import WorkloadCard, load_workload, segment_of

_COMMIT = "summerspringwei/DAG-Scheduler@9acc93f27b4f91c72782c17b7799cdc4be0a9b9d:models"
LAYER_SOURCE = f"{_COMMIT}/inception-v4/oneplus5t/oneplus5t-inception-v4-layerwise-latency.csv"
COPY_SOURCE = f"{_COMMIT}/inception-v4/oneplus5t/inception-v4-oneplus5t-data-trans.csv"
COLUMNS = ("big1", "big2", "big4", "gpu", "little1", "little2", "little4")
"""Mapping of each number column of the layer file, in its order."""

_FOLDER = Path("phones-dagscheduler-layerwise")
_LAYERS = _FOLDER / "inception-v4" / "oneplus5t-inception-v4-layerwise-latency.csv"
_COPIES = _FOLDER / "inception-v4" / "inception-v4-oneplus5t-data-trans.csv"
_OTHER_COPIES = _FOLDER / "inception-v3" / "inception-v3-oneplus5t-data-trans.csv"
_NCNN_RUNS = {"big1": (1, -1), "big4": (4, -1), "gpu": (1, 0)}
_OTHER_PHONE = "Pixel 2 XL, the same chip; split over segments assumed"
_UNMEASURED = "no measurement of a phone's power in the sources"


@dataclass(frozen=True)
class CopyRow:
    """Time to hand one tensor over, both ways, ms; `megabytes` (10^6) at four bytes an element."""

    megabytes: float
    to_gpu_ms: float
    to_cpu_ms: float


def read_layer_rows(path: Path, columns: int = len(COLUMNS)) -> list[tuple[str, tuple[float, ...]]]:
    """Rows of a layer-wise file: operation name, then a time per core set in ms (the file has microseconds).

    Raises:
        MeasurementError: the file is missing, empty, or a row has another number of columns or a negative
            time.
    """
    rows = []
    for number, fields in _lines(path):
        try:
            times = tuple(float(field) / 1000.0 for field in fields[1:])
        except ValueError as error:
            raise MeasurementError(f"{path}: line {number}: {error}") from None
        if len(times) != columns or min(times) < 0.0:
            raise MeasurementError(f"{path}: line {number}: expected a name and {columns} times >= 0")
        rows.append((fields[0], times))
    if not rows:
        raise MeasurementError(f"{path}: no rows")
    return rows


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
            to_gpu, to_cpu = (float(field) / 1000.0 for field in fields[1:])
        except ValueError:
            raise MeasurementError(f"{path}: line {number}: expected a shape and two times") from None
        if len(shape) > 1:
            rows.append(CopyRow(prod(shape) * 4.0 / 1e6, to_gpu, to_cpu))
    return rows


def segment_times(
    card: WorkloadCard, rows: Sequence[tuple[str, tuple[float, ...]]], column: int
) -> dict[str, float]:
    """Sum of one column's times (ms) over each segment of the card, keyed by the cut that ends it, to 1 us.

    Raises:
        ConfigError: an operation's name matches no layer of the card.
    """
    sums = np.zeros(len(card.segments))
    for name, times in rows:
        sums[segment_of(card, name)] += times[column]
    return {cut: round(float(total), 3) for cut, total in zip(card.cut_names[1:], sums, strict=True)}


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


def calibrate_phone(measurements: Path) -> tuple[list[DeviceProfile], list[dict[str, Any]]]:
    """Build the Snapdragon 835 phone's profile from a folder of raw measurements.

    Returns the profile and one report row per workload and mapping (time, evidence, sum of the raw table and
    the difference to it in ms) and per copy direction (base, slope, error, hold-out error on another
    network's tensors).

    Raises:
        MeasurementError: a raw file is missing or malformed.
    """
    folder = Path(measurements)
    rows = read_layer_rows(folder / _LAYERS)
    card = load_workload("inception-v4")
    latency: dict[str, dict[str, Law]] = {"inception-v4": {}}
    report = []
    for column, mapping in enumerate(COLUMNS):
        table = segment_times(card, rows, column)
        latency["inception-v4"][mapping] = _measured_table(table, len(rows))
        raw = sum(times[column] for _, times in rows)
        total = sum(table.values())
        report.append(_row("inception-v4", mapping, total, "measured") | {"raw_sum_ms": round(raw, 3)})
    for workload in sorted(set(NEAREST_NETWORKS) - {"inception-v4"}):
        tables = _whole_networks(folder, workload)
        latency[workload] = {**tables}
        for mapping, whole in tables.items():
            report.append(_row(workload, mapping, sum(whole.segment_ms.values()), whole.evidence))
    copies, copy_report = _copies(folder)
    profile = DeviceProfile(
        name="phone-snapdragon835",
        title="OnePlus 5T (Snapdragon 835: 4 big + 4 little Kryo 280, Adreno 540)",
        description="Core mapping is the knob: clocks are the governor's and were not recorded. Latency of"
        " Inception-v4 is measured operation by operation; all power figures are assumed.",
        cores={"big": 4, "little": 4},
        mappings=_mappings(),
        out_of_the_box="big4",
        inference={w: "ncnn, batch 1" if w != "inception-v4" else "MNN, batch 1" for w in sorted(latency)},
        latency=latency,
        copies=copies,
        power=_power(),
    )
    return [profile], report + copy_report


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MeasurementError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    return [(n, line.split()) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _row(workload: str, mapping: str, total_ms: float, evidence: str) -> dict[str, Any]:
    return {"workload": workload, "mapping": mapping, "latency_ms": round(total_ms, 3), "evidence": evidence}


def _mappings() -> dict[str, Mapping]:
    mappings = {}
    for cluster, title in (("big", "big"), ("little", "little")):
        for threads in (1, 2, 4):
            plural = "s" if threads > 1 else ""
            mappings[f"{cluster}{threads}"] = Mapping(
                kind="cpu", cluster=cluster, threads=threads, title=f"{threads} {title} core{plural}"
            )
    mappings["gpu"] = Mapping(kind="gpu", cluster="big", threads=1, title="GPU, driven by one big core")
    return mappings


def _measured_table(table: dict[str, float], rows: int) -> SegmentTable:
    return SegmentTable(
        segment_ms=table,
        evidence="measured",
        source=LAYER_SOURCE,
        split_note="sums of the operations' own times, one after another; `gpu` alone counts neither the"
        " input's copy to the GPU nor the answer's back",
        fit=Fit(points=rows, conditions="governor's default clocks, chip inferred from the phone's name"),
    )


def _whole_networks(folder: Path, workload: str) -> dict[str, SegmentTable]:
    """Whole-network times of the same chip in another phone, shared out over the segments by FLOPs."""
    rows = read_ncnn_tables(folder)
    card = load_workload(workload)
    share = card.flops / card.flops.sum()
    tables = {}
    for mapping, (threads, gpu) in _NCNN_RUNS.items():
        run = select_run(rows, "Qualcomm MSM8998", threads=threads, gpu_device=gpu, power_save=2)
        total = network_latency(run, workload)
        cuts = zip(card.cut_names[1:], share, strict=True)
        tables[mapping] = SegmentTable(
            segment_ms={cut: round(total.value * float(part), 3) for cut, part in cuts},
            evidence=total.evidence,
            source=total.source,
            range_ms=total.range,
            split_note="only the whole network's time is known; its split by FLOPs is assumed",
            fit=Fit(points=1, conditions="; ".join(filter(None, (_OTHER_PHONE, total.note)))),
        )
    return tables


def _copies(folder: Path) -> tuple[dict[str, CopyCost], list[dict[str, Any]]]:
    own, other = read_copy_rows(folder / _COPIES), read_copy_rows(folder / _OTHER_COPIES)
    seen = {row.megabytes for row in own}
    unseen = [row for row in other if row.megabytes not in seen]
    copies, report = {}, []
    for name, field in (("cpu>gpu", "to_gpu_ms"), ("gpu>cpu", "to_cpu_ms")):
        times = [getattr(row, field) for row in own]
        base, slope, error = fit_copy([row.megabytes for row in own], times)
        held = [abs((base + slope * r.megabytes) / getattr(r, field) - 1.0) * 100.0 for r in unseen]
        holdout = round(sum(held) / len(held), 1) if held else None
        shared = {
            "evidence": "fitted",
            "source": COPY_SOURCE,
            "error_percent": round(error, 1),
            "holdout_error_percent": holdout,
        }
        copies[name] = CopyCost(
            base_ms=Coefficient(value=round(base, 3), unit="ms", **shared),
            ms_per_mb=Coefficient(value=round(slope, 3), unit="ms/MB", **shared),
        )
        report.append(
            {
                "copy": name,
                "base_ms": round(base, 3),
                "ms_per_mb": round(slope, 3),
                "points": len(own),
                "error_percent": round(error, 1),
                "holdout_points": len(held),
                "holdout_error_percent": holdout,
            }
        )
    return copies, report


def _power() -> PowerLaw:
    def assumed(value: float, span: tuple[float, float], note: str) -> Coefficient:
        return Coefficient(
            value=value, unit="mW", evidence="assumed", source=_UNMEASURED, range=span, note=note
        )

    a15 = "a Cortex-A15 (28 nm) was measured at 0.59, 0.98 and 1.64 W at 1.0, 1.4 and 1.8 GHz"
    big = f"{a15}; half of the last for a 10 nm core of the same rank; range: a quarter to all of it"
    little = (
        "a fifth of a big core: the little cores of such pairs are 2.5 times slower and still save energy"
    )
    gpu = "of the order of three big cores; range: one to four of them"
    terms = PowerTerms(
        base_mw=assumed(
            700.0, (300.0, 1500.0), "the phone awake with its screen off; with it on, the upper end"
        ),
        cores={
            "big": CorePower(core_mw=assumed(800.0, (400.0, 1640.0), big)),
            "little": CorePower(core_mw=assumed(160.0, (80.0, 320.0), little)),
        },
        gpu=GpuPower(busy_mw=assumed(2400.0, (800.0, 3200.0), gpu)),
        fit=Fit(points=0, conditions="nobody measured this phone's power: all assumed"),
    )
    return PowerLaw(board=terms)
