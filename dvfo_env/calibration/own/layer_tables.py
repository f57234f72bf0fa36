"""From a table of layers, timed one by one on every mapping, to a profile; with costs of handing over.

Two forms of each file are read. With a heading, as CSV:

    layer,mapping,cores,ms                 from,to,megabytes,ms
    conv1,big,4,3.1                        cpu,gpu,0.8,0.55

Without one, as phone benchmarks print them: layer and one time per mapping in microseconds, separated by
blanks (the mappings in that order are given apart); tensor shape, then microseconds to the GPU and back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dvfo_env.calibration.files import read_text
from dvfo_env.calibration.fitting import percent_error
from dvfo_env.calibration.headless import copy_rows, layer_rows
from dvfo_env.calibration.laws import MIN_COPY_SIZES, fit_copy
from dvfo_env.calibration.own.board import Board
from dvfo_env.calibration.own.choices import Choices
from dvfo_env.calibration.own.hand_power import power_by_hand
from dvfo_env.calibration.own.parsers.text import number, whole
from dvfo_env.calibration.own.profile import board_domains, check_name
from dvfo_env.calibration.own.table import Origin
from dvfo_env.devices.profile import CopyCost, DeviceProfile, Fit, Law, LayerTable, SegmentTable
from dvfo_env.devices.profile import Mapping as DeviceMapping
from dvfo_env.errors import ConfigError, MeasurementError
from dvfo_env.record_yaml import rounded
from dvfo_env.schema import Coefficient, parse_record
from dvfo_env.workloads import WorkloadCard, load_workload, segment_of

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class LayerTimes:
    """Times of one network: (mapping, cores) -> (layer, ms) in the file's order."""

    origin: Origin
    times: Mapping[tuple[str, int], tuple[tuple[str, float], ...]]


@dataclass(frozen=True)
class CopyTimes:
    """Times of handing tensors over: (from, to) -> (megabytes, ms); a file, or none."""

    origin: Origin | None = None
    times: Mapping[tuple[str, str], tuple[tuple[float, float], ...]] = field(default_factory=dict)


def read_layers(path: Path | str, columns: Sequence[tuple[str, int]] = ()) -> LayerTimes:
    """A table of layers; `columns` are the mappings (name, cores) of a file without heading.

    Raises:
        MeasurementError: unreadable or torn, a layer twice on a mapping, or one that misses on another.
    """
    text, digest = read_text(path)
    times: dict[tuple[str, int], list[tuple[str, float]]] = {}
    if "layer," in "".join((text.splitlines() or [""])[0].split()) + ",":
        rows = _csv_rows(text, str(path), ("layer", "mapping", "cores", "ms"))
        for cells, where in rows:
            place = (cells["mapping"], whole(cells["cores"], where, "cores"))
            times.setdefault(place, []).append((cells["layer"], _time(cells["ms"], where)))
        lines = len(rows)
    else:
        if not columns:
            raise MeasurementError(f"{path}: line 1: no heading; name the mapping of each column")
        table = layer_rows(text, str(path), (len(columns),))
        lines = len(table)
        for index, place in enumerate(columns):
            times[place] = [(layer, cells[index]) for layer, cells in table]
    _check_layers(times, str(path))
    origin = Origin(Path(path).name, digest, lines)
    return LayerTimes(origin, {place: tuple(rows) for place, rows in times.items()})


def read_copies(path: Path | str) -> CopyTimes:
    """A table of hand-overs between processors.

    Raises:
        MeasurementError: unreadable or torn.
    """
    text, digest = read_text(path)
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    if "from" in (text.splitlines() or [""])[0]:
        for cells, where in _csv_rows(text, str(path), ("from", "to", "megabytes", "ms")):
            pair = (number(cells["megabytes"], where, "megabytes"), number(cells["ms"], where, "ms"))
            times.setdefault((cells["from"], cells["to"]), []).append(pair)
    else:
        table = copy_rows(text, str(path))
        times["cpu", "gpu"] = [(row.megabytes, row.to_gpu_ms) for row in table]
        times["gpu", "cpu"] = [(row.megabytes, row.to_cpu_ms) for row in table]
    lines = sum(len(rows) for rows in times.values())
    return CopyTimes(Origin(Path(path).name, digest, lines), {k: tuple(v) for k, v in times.items()})


def calibrate_layers(
    tables: Mapping[str, LayerTimes], choices: Choices, copies: CopyTimes = CopyTimes()
) -> tuple[DeviceProfile, Rows]:
    """A profile of tables by workload, and report rows of tables and copies.

    Each table is of one pinned setting: the board may have one clock of each kind at most.

    Raises:
        MeasurementError: too few copy sizes.
        ConfigError: a layer that no card knows, more than one clock, or an impossible choice.
    """
    check_name(choices.name)
    board = choices.board or Board()
    for name in ("cpu_mhz", "gpu_mhz", "mem_mhz"):
        clocks = getattr(board, name)
        if len(clocks) > 1:
            raise ConfigError(
                f"{name}: a table of layers is of one setting, {len(clocks)} clocks are given; give the one "
                "that the layers were timed at"
            )
    places = _mappings(tables, board)
    latency: dict[str, dict[str, Law]] = {}
    report: Rows = []
    for workload, table in tables.items():
        card = load_workload(workload)
        for (name, cores), rows in table.times.items():
            place = _place(name, cores, tables)
            law = _law(card, rows, f"{table.origin}, read {choices.day}", board)
            latency.setdefault(card.name, {})[place] = law
            report.append(_row(card, place, law, rows))
    costs, copy_report = _costs(copies, choices.day)
    power = None
    if choices.busy_mw:
        power = power_by_hand(choices.idle_mw, choices.busy_mw, places, board, choices.meter)
    origins = [table.origin for table in tables.values()] + ([copies.origin] if copies.origin else [])
    out_of_the_box = choices.out_of_the_box or next(iter(places))
    if out_of_the_box not in places:
        raise ConfigError(f"out of the box {out_of_the_box!r}: expected one of {', '.join(places)}")
    parts: dict[str, Any] = dict(
        name=choices.name,
        title=choices.title or board.title or choices.name,
        description=f"Tables of layers read on {choices.day}: "
        + ", ".join(f"{o.name} ({o.rows} rows, sha256 {o.sha256})" for o in origins),
        cores=dict(board.cores) or _cores(places),
        **board_domains(board, choices.board_source or "given with the tables"),
        mappings=places,
        out_of_the_box=out_of_the_box,
        inference={name: choices.inference for name in latency} if choices.inference else {},
        latency=latency,
        copies=costs,
        power=power,
    )
    profile = parse_record(parts, DeviceProfile, where=choices.name)
    return rounded(profile), report + copy_report


def _csv_rows(text: str, path: str, columns: Sequence[str]) -> list[tuple[dict[str, str], str]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    rows = []
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        if sorted(names) != sorted(columns):
            raise MeasurementError(f"{path}: line 1: expected the columns {', '.join(columns)}")
        reader.fieldnames = names
        for cells in reader:
            where = f"{path}: line {reader.line_num}"
            if None in cells or None in cells.values() or not all(value.strip() for value in cells.values()):
                raise MeasurementError(f"{where}: expected {len(columns)} filled cells")
            rows.append(({name: value.strip() for name, value in cells.items()}, where))
    except csv.Error as error:
        raise MeasurementError(f"{path}: line {reader.line_num}: not CSV: {error}") from None
    if not rows:
        raise MeasurementError(f"{path}: no rows under the heading")
    return rows


def _time(text: str, where: str) -> float:
    return 0.0 if text.strip("0.") == "" and "0" in text else number(text, where, "time")


def _check_layers(times: Mapping[tuple[str, int], Sequence[tuple[str, float]]], path: str) -> None:
    known: dict[tuple[str, int], set[str]] = {}
    for place, rows in times.items():
        known[place] = {layer for layer, _ in rows}
        if len(known[place]) < len(rows):
            twice = next(layer for layer, _ in rows if [name for name, _ in rows].count(layer) > 1)
            raise MeasurementError(f"{path}: layer {twice!r} is there twice on {place[0]}")
    everything = set().union(*known.values())
    for place, layers in known.items():
        if layers != everything:
            missing = sorted(everything - layers)[0]
            raise MeasurementError(f"{path}: layer {missing!r} was not timed on {place[0]}, but elsewhere")


def _place(name: str, cores: int, tables: Mapping[str, LayerTimes]) -> str:
    seen = {count for table in tables.values() for mapping, count in table.times if mapping == name}
    return f"{name}{cores}" if len(seen) > 1 else name


def _mappings(tables: Mapping[str, LayerTimes], board: Board) -> dict[str, DeviceMapping]:
    pairs = list(dict.fromkeys(pair for table in tables.values() for pair in table.times))
    clusters = list(board.cores) or list(
        dict.fromkeys(name.rstrip("0123456789-_") for name, _ in pairs if not name.startswith("gpu"))
    )
    places = {}
    for name, cores in pairs:
        gpu = name.startswith("gpu")
        cluster = (clusters or ["cpu"])[0] if gpu else name.rstrip("0123456789-_")
        if clusters and cluster not in clusters:
            raise ConfigError(f"mapping {name!r}: no cluster of the board: {', '.join(clusters)}")
        kind = "gpu" if gpu else "cpu"
        places[_place(name, cores, tables)] = DeviceMapping(kind=kind, cluster=cluster, threads=cores)
    return places


def _cores(places: Mapping[str, DeviceMapping]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for place in places.values():
        counts[place.cluster] = max(counts.get(place.cluster, 1), place.threads)
    return counts


def _law(
    card: WorkloadCard, rows: Sequence[tuple[str, float]], source: str, board: Board
) -> LayerTable | SegmentTable:
    """A table by layer where every name is a layer of the card, else by segment."""
    clocks = [f"{mhz[0]:g} MHz" for mhz in (board.cpu_mhz, board.gpu_mhz, board.mem_mhz) if mhz]
    fit = Fit(points=len(rows), conditions=f"own measurement at {', '.join(clocks) or 'unrecorded clocks'}")
    layers = [layer for segment in card.segments for layer in segment.layers]
    if {name for name, _ in rows} == set(layers):
        return LayerTable(layer_ms=dict(rows), evidence="measured", source=source, fit=fit)
    sums = np.zeros(len(card.segments))
    for name, time in rows:
        sums[segment_of(card, name)] += time
    cuts = zip(card.cut_names[1:], sums, strict=True)
    return SegmentTable(
        segment_ms={cut: float(total) for cut, total in cuts},
        evidence="measured",
        source=source,
        split_note="sums of the layers' own times, one after another",
        fit=fit,
    )


def _row(
    card: WorkloadCard, place: str, law: LayerTable | SegmentTable, rows: Sequence[tuple[str, float]]
) -> dict[str, Any]:
    raw = sum(time for _, time in rows)
    parts = law.layer_ms if isinstance(law, LayerTable) else law.segment_ms
    empty = sum(time == 0.0 for time in parts.values())
    return {
        "workload": card.name,
        "mapping": place,
        "table": "layers" if isinstance(law, LayerTable) else "segments",
        "rows": len(rows),
        "entries": len(parts),
        "sum_ms": round(sum(parts.values()), 3),
        "difference_ms": round(sum(parts.values()) - raw, 6),
        "note": f"{empty} entries are 0: no row of the table runs there" if empty else "",
    }


def _costs(copies: CopyTimes, day: str) -> tuple[dict[str, CopyCost], Rows]:
    costs, report = {}, []
    for (origin, target), rows in copies.times.items():
        size, time = (np.asarray(column) for column in zip(*rows, strict=True))
        try:
            law = fit_copy(size, time)
        except MeasurementError as error:
            raise MeasurementError(f"{copies.origin}: {origin} to {target}: {error}") from None
        fitted = float(percent_error(law.predict(size), time).mean())
        held = []
        sizes = sorted(set(size.tolist()))
        for one in sizes if len(sizes) > MIN_COPY_SIZES else ():
            unseen = size == one
            part = fit_copy(size[~unseen], time[~unseen])
            held.append(float(percent_error(part.predict(size[unseen]), time[unseen]).mean()))
        holdout = float(np.mean(held)) if held else None
        shared: dict[str, Any] = {
            "evidence": "fitted",
            "source": f"{copies.origin}, read {day}",
            "error_percent": round(fitted, 1),
            "holdout_error_percent": holdout and round(holdout, 1),
        }
        costs[f"{origin}>{target}"] = CopyCost(
            base_ms=Coefficient(value=law.base_ms, unit="ms", **shared),
            ms_per_mb=Coefficient(value=law.ms_per_mb, unit="ms/MB", **shared),
        )
        report.append(
            {
                "copy": f"{origin}>{target}",
                "base_ms": round(law.base_ms, 3),
                "ms_per_mb": round(law.ms_per_mb, 3),
                "points": len(rows),
                "error_percent": round(fitted, 1),
                "holdout_error_percent": holdout and round(holdout, 1),
            }
        )
    return costs, report
