"""Times of the networks on the phones, by operation or whole, as tables over the segments of their cards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dvfo_env.calibration.ncnn_tables import (
    BenchRow,
    network_latency,
    select_run,
    split_by_flops,
    workloads_of,
)
from dvfo_env.calibration.phone.phones import Phone
from dvfo_env.calibration.phone.readers import (
    COLUMNS,
    WHOLE_REPOSITORY,
    WholeTime,
    layer_file,
    read_layer_rows,
    read_whole_networks,
    segment_times,
    source_of,
)
from dvfo_env.devices.profile import Fit, SegmentTable
from dvfo_env.schema import Coefficient
from dvfo_env.workloads import load_workload

_QEDUSC_NETWORKS: Mapping[str, tuple[str, str]] = {
    "mobilenet-v2": ("tflite_cnn_e2e.csv", "mobilenetv2b_w1"),
    "resnet18": ("tflite_cnn_e2e.csv", "resnet18"),
    "squeezenet": ("tflite_cnn_e2e.csv", "squeezenet_v1_1"),
    "vit-b16": ("tflite_transformer_e2e.csv", "vit-base-patch16-224-in21k"),
}
"""Workload -> file and name of the network in it that is the card's (equal FLOPs)."""


class Timed(NamedTuple):
    """One network's tables by mapping, the runtime behind them, and the raw files' own sums (ms)."""

    runtime: str
    tables: dict[str, SegmentTable]
    raw_ms: dict[str, float]


def layered_networks(measurements: Path, phone: Phone) -> dict[str, Timed]:
    """Networks timed operation by operation: sums over the segments of their cards."""
    found = {}
    for workload, timed in phone.layered.items():
        path = layer_file(measurements, timed.network, timed.phone)
        rows, card = read_layer_rows(path), load_workload(workload)
        tables, raw = {}, {}
        for mapping in timed.mappings:
            column = COLUMNS.index(mapping)
            segments = segment_times(card, rows, column)
            raw[mapping] = sum(times[column] for _, times in rows)
            off = abs(sum(segments.values()) / raw[mapping] - 1.0) * 100.0
            tables[mapping] = SegmentTable(
                segment_ms=segments,
                evidence="measured",
                source=source_of(path),
                split_note="sums of the operations' own times, one after another; `gpu` alone counts neither"
                " the input's copy to the GPU nor the answer's back",
                fit=Fit(
                    points=len(rows),
                    conditions="every operation timed, governor's default clocks, chip inferred from the"
                    " phone's name; the error is that of rounding to 1 us",
                    error_percent=round(off, 4),
                ),
            )
        found[workload] = Timed(timed.runtime, tables, raw)
    return found


def whole_networks(measurements: Path, phone: Phone) -> dict[str, Timed]:
    """Whole networks timed core set by core set, shared out over the segments by FLOPs."""
    if not phone.whole:
        return {}
    files = {
        file: read_whole_networks(measurements, file, phone.whole)
        for file in sorted({file for file, _ in _QEDUSC_NETWORKS.values()})
        if phone.whole != "mi8se" or "cnn" in file  # the transformers were not timed on that phone
    }
    found = {}
    for workload, (file, network) in _QEDUSC_NETWORKS.items():
        sets = files.get(file, {}).get(network, {})
        totals = {
            mapping: _mean(sets[name], f"{WHOLE_REPOSITORY}/{file}, {network}, {phone.whole}|{name}|float")
            for mapping, name in phone.core_sets.items()
            if name in sets
        }
        if totals:
            note = f"{phone.whole}, TFLite, governor's default clocks"
            tables = {mapping: split_by_flops(total, workload, note) for mapping, total in totals.items()}
            found[workload] = Timed("TensorFlow Lite, fp32, batch 1", tables, {})
    return found


def _mean(time: WholeTime, source: str) -> Coefficient:
    return Coefficient(
        value=round(time.mean_ms, 3),
        unit="ms",
        evidence="measured",
        source=source,
        range=(round(max(0.0, time.mean_ms - time.std_ms), 3), round(time.mean_ms + time.std_ms, 3)),
        note="range: one standard deviation of the runs",
    )


def ncnn_runs_of(phone: Phone, tables: list[BenchRow]) -> dict[str, dict[str, BenchRow]]:
    """The ncnn tables' runs of the chip, by mapping."""
    return {
        mapping: select_run(tables, phone.ncnn, threads=threads, gpu_device=gpu, power_save=2)
        for mapping, (threads, gpu) in phone.ncnn_runs.items()
    }


def from_ncnn(phone: Phone, runs: Mapping[str, Mapping[str, BenchRow]]) -> dict[str, Timed]:
    """Whole networks of the same chip in another phone, shared out over the segments by FLOPs."""
    found = {}
    for workload in sorted({name for run in runs.values() for name in workloads_of(run)}):
        totals = {
            m: network_latency(run, workload) for m, run in runs.items() if workload in workloads_of(run)
        }
        laws = {
            mapping: split_by_flops(total, workload, phone.ncnn_note) for mapping, total in totals.items()
        }
        found[workload] = Timed("ncnn, batch 1", laws, {})
    return found
