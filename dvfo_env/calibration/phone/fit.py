"""From raw measurements to the profiles of six phones: big, middle and little cores and GPU at one setting.

Inceptions were timed operation by operation on four chips, whole networks on two phones core set by core set,
and others in the ncnn tables. No clock was set or recorded, no power measured on any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dvfo_env.calibration.ncnn_tables import (
    BenchRow,
    network_latency,
    read_ncnn_tables,
    scaling_fit,
    select_run,
    split_by_flops,
    workloads_of,
)
from dvfo_env.calibration.phone.power import driving_core, phone_power
from dvfo_env.calibration.phone.readers import (
    COLUMNS,
    WHOLE_REPOSITORY,
    WholeTime,
    copy_file,
    fit_copy,
    layer_file,
    read_copy_rows,
    read_layer_rows,
    read_whole_networks,
    segment_times,
    source_of,
)
from dvfo_env.calibration.pi.power import fit_core_share, fit_pi5_rail
from dvfo_env.devices.profile import CopyCost, DeviceProfile, Fit, PowerLaw, SegmentTable
from dvfo_env.devices.profile import Mapping as CoreMapping
from dvfo_env.schema import Coefficient
from dvfo_env.workloads import load_workload

_GPU = "gpu"
_TITLES = {"big": "big", "mid": "middle", "little": "little"}
_QEDUSC_NETWORKS: Mapping[str, tuple[str, str]] = {
    "mobilenet-v2": ("tflite_cnn_e2e.csv", "mobilenetv2b_w1"),
    "resnet18": ("tflite_cnn_e2e.csv", "resnet18"),
    "squeezenet": ("tflite_cnn_e2e.csv", "squeezenet_v1_1"),
    "vit-b16": ("tflite_transformer_e2e.csv", "vit-base-patch16-224-in21k"),
}
"""Workload -> file and name of the network in it that is the card's (equal FLOPs)."""


@dataclass(frozen=True)
class _Layered:
    """One network timed operation by operation: names of network and phone in the files, and the runtime."""

    network: str
    phone: str
    runtime: str
    mappings: tuple[str, ...] = COLUMNS


@dataclass(frozen=True)
class _Phone:
    """What the sources hold on one phone or chip.

    `layered` by workload. `whole` is the device's name in the core-set tables, and `core_sets` its core sets
    by mapping. `ncnn` is the heading of the chip in the ncnn tables, `ncnn_runs` its (threads, GPU) by
    mapping. `copies` names the layered networks that copies are fitted to and held out on.
    """

    name: str
    title: str
    description: str
    cores: dict[str, int]
    out_of_the_box: str
    layered: dict[str, _Layered] = field(default_factory=dict)
    whole: str = ""
    core_sets: dict[str, str] = field(default_factory=dict)
    ncnn: str = ""
    ncnn_note: str = ""
    ncnn_runs: dict[str, tuple[int, int]] = field(default_factory=dict)
    copies: tuple[_Layered, _Layered] | None = None
    copies_borrowed: str = ""


_ASSUMED_POWER = (
    "; the knob is the core mapping: clocks are the governor's and were not recorded; power is assumed."
)
_NCNN_RUNS = {"big1": (1, -1), "big4": (4, -1), _GPU: (1, 0)}
_BIG_AND_GPU = COLUMNS[:4]


def _mnn(network: str, phone: str, mappings: tuple[str, ...] = COLUMNS) -> _Layered:
    return _Layered(network, phone, "MNN, batch 1", mappings)


_PHONES = (
    _Phone(
        name="phone-snapdragon835",
        title="OnePlus 5T (Snapdragon 835: 4 big + 4 little Kryo 280, Adreno 540)",
        description="Inception-v3 and v4 measured operation by operation on big and little cores and GPU,"
        " other networks on a Pixel 2 XL with the same chip" + _ASSUMED_POWER,
        cores={"big": 4, "little": 4},
        out_of_the_box="big4",
        layered={
            "inception-v3": _mnn("inception-v3", "oneplus5t"),
            "inception-v4": _mnn("inception-v4", "oneplus5t"),
        },
        ncnn="Qualcomm MSM8998",
        ncnn_note="Pixel 2 XL, the same chip; split over segments assumed",
        ncnn_runs=_NCNN_RUNS,
        copies=(_mnn("inception-v4", "oneplus5t"), _mnn("inception-v3", "oneplus5t")),
    ),
    _Phone(
        name="phone-kirin990",
        title="Huawei P40 (Kirin 990: 4 big Cortex-A76 + 4 little Cortex-A55, Mali-G76)",
        description="Inception-v3 measured operation by operation on big and little cores and GPU,"
        " Inception-v4 on big cores and GPU" + _ASSUMED_POWER,
        cores={"big": 4, "little": 4},
        out_of_the_box="big4",
        layered={
            "inception-v3": _mnn("inception-v3", "huawei_p40"),
            "inception-v4": _Layered(
                "acl-inception_v4", "huawei_p40", "ARM Compute Library, batch 1", _BIG_AND_GPU
            ),
        },
        copies=(_mnn("inception-v4", "huawei_p40"), _mnn("inception-v3", "huawei_p40")),
    ),
    _Phone(
        name="phone-snapdragon855",
        title="Snapdragon 855 phone (1 + 3 big Kryo 485, 4 little, Adreno 640)",
        description="Inception-v3 and v4 measured operation by operation on big cores and GPU, other networks"
        " on a Snapdragon 855+ (its first core 4 % faster)" + _ASSUMED_POWER,
        cores={"big": 4, "little": 4},
        out_of_the_box="big4",
        layered={
            "inception-v3": _mnn("inception-v3", "snapdragon_855", _BIG_AND_GPU),
            "inception-v4": _mnn("inception-v4", "snapdragon_855", _BIG_AND_GPU),
        },
        ncnn="Qualcomm SM8150-AC",
        ncnn_note="Snapdragon 855+, its first core 2.96 instead of 2.84 GHz; split over segments assumed",
        ncnn_runs=_NCNN_RUNS,
        copies=(
            _mnn("inception-v4", "snapdragon_855"),
            _mnn("inception-v3", "snapdragon_855"),
        ),
    ),
    _Phone(
        name="phone-snapdragon710",
        title="Vivo Z3 and Mi 8 SE (Snapdragon 710: 2 big + 6 little Kryo 360, Adreno 616)",
        description="Inception-v3 and v4 measured operation by operation on a Vivo Z3 (big cores and GPU),"
        " whole networks on a Mi 8 SE (every number of big and little cores, GPU)" + _ASSUMED_POWER,
        cores={"big": 2, "little": 6},
        out_of_the_box="big2",
        layered={
            "inception-v3": _mnn("inception-v3", "vivo_z3", ("big1", "big2", _GPU)),
            "inception-v4": _mnn("inception-v4", "vivo_z3", ("big1", "big2", _GPU)),
        },
        whole="mi8se",
        core_sets={
            **{f"big{n}": f"{n}large" for n in (1, 2)},
            **{f"little{n}": f"{n}small" for n in range(1, 7)},
            _GPU: _GPU,
        },
        copies=(_mnn("inception-v4", "vivo_z3"), _mnn("inception-v3", "vivo_z3")),
    ),
    _Phone(
        name="phone-pixel4",
        title="Google Pixel 4 (Snapdragon 855: 1 big + 3 middle Kryo 485, 4 little, Adreno 640)",
        description="Whole networks measured on every number of big, middle and little cores and on the GPU"
        + _ASSUMED_POWER,
        cores={"big": 1, "mid": 3, "little": 4},
        out_of_the_box="big1",
        whole="pixel4",
        core_sets={
            "big1": "1large",
            **{f"mid{n}": f"{n}med" for n in (1, 2, 3)},
            **{f"little{n}": f"{n}small" for n in range(1, 5)},
            _GPU: _GPU,
        },
        copies=(
            _mnn("inception-v4", "snapdragon_855"),
            _mnn("inception-v3", "snapdragon_855"),
        ),
        copies_borrowed="another phone with the same chip",
    ),
    _Phone(
        name="phone-galaxy-s10",
        title="Samsung Galaxy S10 (Exynos 9820: 2 big M4 + 2 mid A75 + 4 little A55, Mali-G76)",
        description="Whole networks measured on every number of big, middle and little cores and on the GPU;"
        " no copy between processors was timed, so none can share a request" + _ASSUMED_POWER,
        cores={"big": 2, "mid": 2, "little": 4},
        out_of_the_box="big2",
        whole="s10",
        core_sets={
            **{f"big{n}": f"{n}large" for n in (1, 2)},
            **{f"mid{n}": f"{n}med" for n in (1, 2)},
            **{f"little{n}": f"{n}small" for n in range(1, 5)},
            _GPU: _GPU,
        },
    ),
)


class _Timed(NamedTuple):
    """One network's tables by mapping, the runtime behind them, and the raw files' own sums (ms)."""

    runtime: str
    tables: dict[str, SegmentTable]
    raw_ms: dict[str, float]


def calibrate_phones(measurements: Path) -> tuple[list[DeviceProfile], list[dict[str, Any]]]:
    """Build the phones' profiles from a folder of raw measurements.

    Returns the profiles and report rows of two kinds: one per device, workload and mapping (time, evidence,
    and for layer tables the raw file's own sum), and one per device and direction of copying (base, slope,
    error, and error on another network's tensors).

    Raises:
        MeasurementError: a raw file is missing or malformed.
    """
    folder = Path(measurements)
    tables = read_ncnn_tables(folder)
    share = fit_core_share(folder)
    core_mw = 1000.0 * max(law.watts for law in fit_pi5_rail(folder))
    profiles, times, copies = [], [], []
    for phone in sorted(_PHONES, key=lambda phone: phone.name):
        runs = _ncnn_runs(phone, tables)
        timed = _from_ncnn(phone, runs) | _whole(folder, phone) | _layered(folder, phone)
        costs, copy_rows = _copies(folder, phone)
        profile = _profile(phone, timed, costs, phone_power(tuple(phone.cores), share, core_mw))
        supporting = {"flop-scaling": scaling_fit(runs.values())} if runs else {}
        profiles.append(profile.model_copy(update={"supporting": supporting}))
        times += _rows(phone.name, timed)
        copies += copy_rows
    return profiles, [*times, *copies]


def _profile(
    phone: _Phone, timed: Mapping[str, _Timed], copies: dict[str, CopyCost], power: PowerLaw
) -> DeviceProfile:
    used = {mapping for found in timed.values() for mapping in found.tables}
    return DeviceProfile(
        name=phone.name,
        title=phone.title,
        description=phone.description,
        cores=phone.cores,
        mappings={name: mapping for name, mapping in _mappings(phone.cores).items() if name in used},
        out_of_the_box=phone.out_of_the_box,
        inference={workload: timed[workload].runtime for workload in sorted(timed)},
        latency={workload: {**timed[workload].tables} for workload in sorted(timed)},
        copies=copies,
        power=power,
    )


def _mappings(cores: Mapping[str, int]) -> dict[str, CoreMapping]:
    """Every number of cores of every cluster, then the GPU driven by one core of the first cluster."""
    mappings = {}
    for cluster, count in cores.items():
        for threads in range(1, count + 1):
            plural = "s" if threads > 1 else ""
            title = f"{threads} {_TITLES[cluster]} core{plural}"
            mappings[f"{cluster}{threads}"] = CoreMapping(
                kind="cpu", cluster=cluster, threads=threads, title=title
            )
    first = next(iter(cores))
    mappings[_GPU] = CoreMapping(
        kind="gpu",
        cluster=first,
        threads=1,
        busy_cores=driving_core(),
        title=f"GPU, driven by one {_TITLES[first]} core",
    )
    return mappings


def _layered(measurements: Path, phone: _Phone) -> dict[str, _Timed]:
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
        found[workload] = _Timed(timed.runtime, tables, raw)
    return found


def _whole(measurements: Path, phone: _Phone) -> dict[str, _Timed]:
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
            found[workload] = _Timed("TensorFlow Lite, fp32, batch 1", tables, {})
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


def _ncnn_runs(phone: _Phone, tables: list[BenchRow]) -> dict[str, dict[str, BenchRow]]:
    """The ncnn tables' runs of the chip, by mapping."""
    return {
        mapping: select_run(tables, phone.ncnn, threads=threads, gpu_device=gpu, power_save=2)
        for mapping, (threads, gpu) in phone.ncnn_runs.items()
    }


def _from_ncnn(phone: _Phone, runs: Mapping[str, Mapping[str, BenchRow]]) -> dict[str, _Timed]:
    """Whole networks of the same chip in another phone, shared out over the segments by FLOPs."""
    found = {}
    for workload in sorted({name for run in runs.values() for name in workloads_of(run)}):
        totals = {
            m: network_latency(run, workload) for m, run in runs.items() if workload in workloads_of(run)
        }
        laws = {
            mapping: split_by_flops(total, workload, phone.ncnn_note) for mapping, total in totals.items()
        }
        found[workload] = _Timed("ncnn, batch 1", laws, {})
    return found


def _copies(measurements: Path, phone: _Phone) -> tuple[dict[str, CopyCost], list[dict[str, Any]]]:
    """Cost of a copy each way, fitted to one network's tensors and held out on the sizes of another's."""
    if phone.copies is None:
        return {}, []
    paths = [copy_file(measurements, timed.network, timed.phone) for timed in phone.copies]
    own, other = (read_copy_rows(path) for path in paths)
    seen = {row.megabytes for row in own}
    unseen = [row for row in other if row.megabytes not in seen]
    copies, report = {}, []
    for name, attribute in (("cpu>gpu", "to_gpu_ms"), ("gpu>cpu", "to_cpu_ms")):
        times = [getattr(row, attribute) for row in own]
        base, slope, error = fit_copy([row.megabytes for row in own], times)
        held = [abs((base + slope * r.megabytes) / getattr(r, attribute) - 1.0) * 100.0 for r in unseen]
        figures = {
            "error_percent": round(error, 1),
            "holdout_error_percent": round(sum(held) / len(held), 1) if held else None,
        }
        copies[name] = CopyCost(
            base_ms=_copy(base, "ms", phone, source_of(paths[0]), figures),
            ms_per_mb=_copy(slope, "ms/MB", phone, source_of(paths[0]), figures),
        )
        report.append(
            {
                "device": phone.name,
                "copy": name,
                "base_ms": round(base, 3),
                "ms_per_mb": round(slope, 3),
                "points": len(own),
                "error_percent": figures["error_percent"],
                "holdout_points": len(held),
                "holdout_error_percent": figures["holdout_error_percent"],
            }
        )
    return copies, report


def _copy(
    value: float, unit: str, phone: _Phone, source: str, figures: Mapping[str, float | None]
) -> Coefficient:
    if phone.copies_borrowed:
        return Coefficient(
            value=round(value, 3),
            unit=unit,
            evidence="assumed",
            source=source,
            range=(round(0.5 * value, 3), round(6.0 * value, 3)),
            note=f"measured on {phone.copies_borrowed}; range: half, to another session of that phone",
        )
    return Coefficient(
        value=round(value, 3),
        unit=unit,
        evidence="fitted",
        source=source,
        error_percent=figures["error_percent"],
        holdout_error_percent=figures["holdout_error_percent"],
    )


def _rows(device: str, timed: Mapping[str, _Timed]) -> list[dict[str, Any]]:
    return [
        {
            "device": device,
            "workload": workload,
            "mapping": mapping,
            "latency_ms": round(sum(table.segment_ms.values()), 3),
            "raw_sum_ms": round(found.raw_ms[mapping], 3) if mapping in found.raw_ms else None,
            "evidence": table.evidence,
        }
        for workload, found in sorted(timed.items())
        for mapping, table in found.tables.items()
    ]
