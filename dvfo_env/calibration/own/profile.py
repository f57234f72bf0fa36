"""From a user's table of measured points to a device profile with provenance, errors and residuals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dvfo_env.calibration.own import power as csv_power
from dvfo_env.calibration.own.board import Board
from dvfo_env.calibration.own.choices import Choices
from dvfo_env.calibration.own.latency import LatencyFit, fit_latency
from dvfo_env.calibration.own.power_law import board_power
from dvfo_env.calibration.own.records import card_of, conditions, fit_record, known
from dvfo_env.calibration.own.table import IDLE, Origin, Row
from dvfo_env.devices.library import HOST, list_devices
from dvfo_env.devices.profile import (
    ClockDomain,
    ClockLaw,
    DeviceProfile,
    Fit,
    Law,
    SegmentTable,
)
from dvfo_env.devices.profile import Mapping as DeviceMapping
from dvfo_env.errors import ConfigError, MeasurementError
from dvfo_env.record_yaml import rounded
from dvfo_env.schema import Coefficient, parse_record

Rows = list[dict[str, Any]]

CPU_SHARE = (0.78, 0.27, 1.0)
"""Part of the GPU-independent time that scales with the CPU clock: mean, lowest and highest of six grids."""
CPU_SHARE_SOURCE = "softsys4ai/FlexiBO, six Keras grids on a Jetson TX2 (dvfo calibrate tx2)"
DELAYS_MS = {"cpu": (1.0, 0.1, 5.0), "gpu": (5.0, 0.1, 20.0), "memory": (8.0, 0.1, 20.0)}
"""Time until a new clock takes effect, and its range."""
DELAY_SOURCE = "arXiv 2606.16106 (Orin Nano: 1 ms CPU, 5 ms GPU, 8 ms memory); arXiv 2603.21908 (GPU 5-20 ms)"
SAME_MHZ = 1.0
"""Clocks closer than this are the same."""
NOISY_PERCENT = 10.0
"""A hold-out error above this is pointed out."""


@dataclass(frozen=True)
class Calibrated:
    """A fitted profile, one report row per law, and one row per measured point with its residual."""

    profile: DeviceProfile
    report: Rows
    residuals: Rows


def calibrate_rows(rows: Sequence[Row], origins: Sequence[Origin], choices: Choices) -> Calibrated:
    """Fit latency per workload and mapping, and power where it was measured or given by hand.

    Raises:
        MeasurementError: too few or degenerate points, or a row that does not fit the board; says which.
        ConfigError: the name or a choice is impossible.
    """
    check_name(choices.name)
    board = choices.board or _measured_board(rows)
    rows = legal_rows(rows, board)
    busy = [row for row in rows if row.workload != IDLE]
    if not busy:
        raise MeasurementError("only idle rows: measure at least one workload")
    source = f"{'; '.join(map(str, origins))}, fitted {choices.day}"
    places = _mappings(busy, board)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in busy:
        groups.setdefault((row.workload, row.mapping), []).append(row)
    fits = [fit_latency(group, board) for group in groups.values()]
    latency: dict[str, dict[str, Law]] = {}
    for fit in fits:
        for name in sorted({_place(row, busy) for row in fit.rows}):
            latency.setdefault(fit.workload, {})[name] = _law(fit, name, busy, board, source)
    power, power_fit = board_power(rows, board, choices, places, source)
    parts: dict[str, Any] = dict(
        name=choices.name,
        title=choices.title or board.title or choices.name,
        description=f"Calibrated on {choices.day} from "
        + ", ".join(f"{o.name} ({o.rows} rows, sha256 {o.sha256})" for o in origins),
        cores=_cores(places, board),
        **board_domains(board, choices.board_source or f"the clocks measured in {_names(origins)}"),
        mappings=places,
        out_of_the_box=_out_of_the_box(choices, places),
        inference={name: choices.inference for name in latency} if choices.inference else {},
        latency=latency,
        power=power,
    )
    profile = parse_record(parts, DeviceProfile, where=choices.name)
    report = [_latency_row(fit) for fit in fits]
    residuals = [r for fit in fits for r in _residuals("latency", fit.rows, fit.residual_percent)]
    if power_fit:
        report.append(_power_row(power_fit))
        residuals += _residuals("power", power_fit.rows, power_fit.residual_percent)
    return Calibrated(rounded(profile), report, residuals)


def check_name(name: str) -> None:
    """Refuse a profile name that could not be found again.

    Raises:
        ConfigError: not lower-case letters, digits, dots and dashes, or a shipped device's name.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise ConfigError(f"name {name!r}: expected lower-case letters, digits, dots and dashes")
    if name == HOST:
        raise ConfigError(f"name {name!r}: is kept for this machine (dvfo profile); choose another")
    if name in list_devices():
        raise ConfigError(f"name {name!r}: is a shipped device's; choose another")


def _measured_board(rows: Sequence[Row]) -> Board:
    def clocks(name: str) -> tuple[float, ...]:
        return tuple(sorted({getattr(row, name) for row in rows} - {None}))

    return Board(cpu_mhz=clocks("cpu_mhz"), gpu_mhz=clocks("gpu_mhz"), mem_mhz=clocks("mem_mhz"))


def legal_rows(rows: Sequence[Row], board: Board | DeviceProfile) -> list[Row]:
    """The rows with every clock as the board's table has it; tools print 114 for 114.75 MHz.

    Raises:
        MeasurementError: a row lacks a clock that the board has, or has one that it does not.
    """
    if isinstance(board, DeviceProfile):
        domains = (board.cpu, board.gpu, board.memory)
        cpu, gpu, mem = (domain.mhz if domain else () for domain in domains)
        board = Board(cpu_mhz=cpu, gpu_mhz=gpu, mem_mhz=mem)
    legal = []
    for row in rows:
        clocks: dict[str, Any] = {}
        for name in ("cpu_mhz", "gpu_mhz", "mem_mhz"):
            table, found = getattr(board, name), getattr(row, name)
            if found is None and table:
                raise MeasurementError(f"{row.where}: {name} is empty, but the board has that clock")
            if found is None:
                continue
            clocks[name] = min(table, key=lambda mhz: abs(mhz - found), default=None)
            if clocks[name] is None or abs(clocks[name] - found) > SAME_MHZ:
                expected = ", ".join(f"{mhz:g}" for mhz in table) or "none: it has no such clock"
                raise MeasurementError(f"{row.where}: {name} {found:g}: the board's clocks are {expected}")
        legal.append(replace(row, **clocks))
    return legal


def _place(row: Row, rows: Sequence[Row]) -> str:
    """Name of the mapping in the profile: with its core count where one name was measured with several."""
    several = len({other.cores for other in rows if other.mapping == row.mapping}) > 1
    return f"{row.mapping}{row.cores}" if several else row.mapping


def place_of(row: Row, places: Mapping[str, DeviceMapping]) -> str | None:
    """Name of the mapping in a profile that a row was measured on, None where there is none."""
    for name in (row.mapping, f"{row.mapping}{row.cores}"):
        if name in places and places[name].threads == row.cores:
            return name
    return None


def _mappings(rows: Sequence[Row], board: Board) -> dict[str, DeviceMapping]:
    clusters = list(board.cores) or list(
        dict.fromkeys(_stem(row.mapping) for row in rows if not row.runs_on_gpu)
    )
    places = {}
    for row in rows:
        if row.runs_on_gpu:
            cluster = (clusters or ["cpu"])[0]
        else:
            cluster = clusters[0] if len(clusters) == 1 else _stem(row.mapping)
        if clusters and cluster not in clusters:
            raise MeasurementError(
                f"{row.where}: mapping {row.mapping!r}: expected a name that begins with a cluster of the "
                f"board ({', '.join(clusters)}) or with gpu"
            )
        if row.cores > board.cores.get(cluster, row.cores):
            raise MeasurementError(
                f"{row.where}: cores {row.cores}: the board has {board.cores[cluster]} in cluster {cluster}"
            )
        kind = "gpu" if row.runs_on_gpu else "cpu"
        places[_place(row, rows)] = DeviceMapping(kind=kind, cluster=cluster, threads=row.cores)
    return dict(sorted(places.items(), key=lambda item: (item[1].kind != "gpu", -item[1].threads, item[0])))


def _stem(mapping: str) -> str:
    return mapping.rstrip("0123456789-_") or mapping


def _cores(places: Mapping[str, DeviceMapping], board: Board) -> dict[str, int]:
    seen: dict[str, int] = dict(board.cores)
    for place in places.values():
        seen[place.cluster] = max(seen.get(place.cluster, 1), place.threads)
    return seen


def board_domains(board: Board, source: str) -> dict[str, ClockDomain | None]:
    """The `cpu`, `gpu` and `memory` of a profile; how fast a new clock takes effect is assumed."""
    axes = {"cpu": board.cpu_mhz, "gpu": board.gpu_mhz, "memory": board.mem_mhz}
    domains: dict[str, ClockDomain | None] = {}
    for name, clocks in axes.items():
        value, low, high = DELAYS_MS[name]
        delay = Coefficient(
            value=value,
            unit="ms",
            evidence="assumed",
            source=DELAY_SOURCE,
            range=(low, high),
            note="not measured on this board; what other boards need stands in",
        )
        domains[name] = ClockDomain(mhz=clocks, effect_delay_ms=delay, source=source) if clocks else None
    return domains


def _out_of_the_box(choices: Choices, places: Mapping[str, DeviceMapping]) -> str:
    wanted = choices.out_of_the_box or next(iter(places))
    if wanted not in places:
        raise ConfigError(f"out of the box {wanted!r}: expected one of {', '.join(places)}")
    return wanted


def _names(origins: Sequence[Origin]) -> str:
    return ", ".join(origin.name for origin in origins)


def _law(fit: LatencyFit, place: str, rows: Sequence[Row], board: Board, source: str) -> Law:
    if not fit.swept:
        return _table(fit, [row for row in fit.rows if _place(row, rows) == place], source)
    shared: dict[str, Any] = {
        "evidence": "fitted",
        "source": source,
        "error_percent": known(fit.errors.fit),
        "holdout_error_percent": known(fit.errors.holdout),
    }
    law = fit.law
    small = 1e-6 * float(fit.points.latency_ms.min())

    def part(value: float, unit: str, there: bool) -> Coefficient | None:
        return Coefficient(value=value if value > small else 0.0, unit=unit, **shared) if there else None

    parts = {
        "t0_ms": part(law.t0_ms, "ms", True),
        "cpu_ms_ghz": part(law.cpu_ms_ghz, "ms*GHz", fit.form.cpu),
        "gpu_ms_ghz": part(law.gpu_ms_ghz, "ms*GHz", fit.form.gpu),
        "mem_ms_ghz": part(law.mem_ms_ghz, "ms*GHz", fit.form.memory),
    }
    if fit.form.cores:
        parts["core_exponent"] = Coefficient(value=law.core_exponent, unit="1", **shared)
    if fit.form.gpu and fit.form.memory:
        parts["shape"] = _shape(fit, shared, source)
    if fit.rows[0].runs_on_gpu and not fit.form.cpu and len(board.cpu_mhz) > 1 and law.t0_ms > small:
        parts |= _split_launch(law.t0_ms, fit.rows, source)
    return ClockLaw(
        **parts,
        split_note="assumed: only the whole network was timed; how its time runs through the layers is not"
        " measured",
        fit=fit_record(len(fit.rows), fit.errors, fit.method, conditions(fit.rows)),
    )


def _shape(fit: LatencyFit, shared: Mapping[str, Any], source: str) -> Coefficient:
    if fit.form.shape is None:
        return Coefficient(value=fit.law.shape, unit="1", **shared)
    return Coefficient(
        value=fit.law.shape,
        unit="1",
        evidence="assumed",
        source=source,
        range=(1.3, 3.9),
        note="fewer than six clock pairs cannot tell; 2.6-3.9 with TensorRT, 1.3-3.2 with Keras on a TX2",
    )


def _split_launch(t0_ms: float, rows: Sequence[Row], source: str) -> dict[str, Coefficient]:
    """The constant time in a part that the CPU clock moves and one that it does not, by another board."""
    middle, low, high = CPU_SHARE
    ghz = float(np.mean([row.cpu_mhz or 0.0 for row in rows])) / 1000.0
    note = (
        f"the CPU clock was not varied: {middle:.2f} of {t0_ms:.3g} ms are taken to scale with it; "
        "at the measured CPU clock the sum is the fitted one"
    )
    both = f"{source}; {CPU_SHARE_SOURCE}"
    fixed, moving = t0_ms * (1.0 - middle), t0_ms * middle * ghz
    return {
        "t0_ms": Coefficient(
            value=fixed, unit="ms", evidence="assumed", source=both, note=note,
            range=(t0_ms * (1.0 - high), t0_ms * (1.0 - low)),
        ),
        "cpu_ms_ghz": Coefficient(
            value=moving, unit="ms*GHz", evidence="assumed", source=both, note=note,
            range=(t0_ms * low * ghz, t0_ms * high * ghz),
        ),
    }  # fmt: skip


def _table(fit: LatencyFit, rows: Sequence[Row], source: str) -> SegmentTable:
    """One measured time, shared out over the segments of the card by FLOPs."""
    card = card_of(fit.workload)
    if card is None:
        raise ConfigError(
            f"workload {fit.workload!r}: no card of that name; without clocks the time is shared out over "
            "its layers, which needs one (dvfo workloads)"
        )
    times = [row.latency_ms or 0.0 for row in rows]
    whole = float(np.median(times))
    flops = np.asarray(card.flops, dtype=np.float64)
    share = flops / flops.sum()
    return SegmentTable(
        segment_ms={cut: whole * float(part) for cut, part in zip(card.cut_names[1:], share, strict=True)},
        evidence="measured",
        source=source,
        range_ms=(min(times), max(times)) if len(times) > 1 else None,
        split_note="only the whole network was timed; its split by FLOPs is assumed",
        fit=Fit(points=len(times), conditions=conditions(rows)),
    )


def _figure(percent: float) -> float | None:
    value = known(percent)
    return None if value is None else round(value, 3)


def _latency_row(fit: LatencyFit) -> dict[str, Any]:
    note = fit.method
    if fit.errors.holdout > NOISY_PERCENT:
        note = f"LARGE: look at the residuals (--plot); {note}"
    if idle := fit.idle_clock:
        note = f"the {idle} clock changes nothing: was it set while these points ran? {note}"
    if card_of(fit.workload) is None:
        note += f"; no card {fit.workload!r}: scenarios cannot use it yet"
    law = fit.law if fit.swept else None
    return {
        "quantity": "latency",
        "workload": fit.workload,
        "mapping": fit.mapping,
        "points": len(fit.rows),
        "clocks": len(set(fit.points.clocks)),
        "t0_ms": law and round(law.t0_ms, 4),
        "cpu_ms_ghz": (law and fit.form.cpu and round(law.cpu_ms_ghz, 3)) or None,
        "gpu_ms_ghz": (law and fit.form.gpu and round(law.gpu_ms_ghz, 3)) or None,
        "mem_ms_ghz": (law and fit.form.memory and round(law.mem_ms_ghz, 3)) or None,
        "p": (law and fit.form.gpu and fit.form.memory and round(law.shape, 2)) or None,
        "error_percent": _figure(fit.errors.fit),
        "holdout_error_percent": _figure(fit.errors.holdout),
        "holdout_worst_percent": _figure(fit.errors.holdout_worst_split),
        "note": note,
    }


def _power_row(fit: csv_power.PowerFit) -> dict[str, Any]:
    figures = ", ".join(f"{name} {value:.4g}" for name, value in fit.values.items())
    return {
        "quantity": "power",
        "points": len(fit.rows),
        "idle_mw": round(min(fit.idle_mw.values()), 1),
        "fitted": figures,
        "error_percent": _figure(fit.errors.fit),
        "holdout_error_percent": _figure(fit.errors.holdout),
        "holdout_worst_percent": _figure(fit.errors.holdout_worst_split),
        "note": fit.method,
    }


def _residuals(quantity: str, rows: Sequence[Row], percent: Sequence[float]) -> Rows:
    return [
        {
            "quantity": quantity,
            "workload": row.workload,
            "mapping": row.mapping,
            "cores": row.cores,
            "cpu_mhz": row.cpu_mhz,
            "gpu_mhz": row.gpu_mhz,
            "mem_mhz": row.mem_mhz,
            "measured": row.latency_ms if quantity == "latency" else row.power_mw,
            "residual_percent": round(residual, 3),
        }
        for row, residual in zip(rows, percent, strict=True)
    ]
