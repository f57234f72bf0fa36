"""From one tool's output file to rows: what the tool said, completed by what the person says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dvfo_env.calibration.files import read_text
from dvfo_env.calibration.own.parsers import benchncnn, jetson_benchmarks, tflite, trtexec
from dvfo_env.calibration.own.parsers.text import Timed, number, whole
from dvfo_env.calibration.own.table import Row
from dvfo_env.errors import ConfigError, MeasurementError
from dvfo_env.workloads import list_workloads

__all__ = ["PARSERS", "Settings", "Timed", "parse_file"]

PARSERS: dict[str, Callable[[str, str], list[Timed]]] = {
    "benchncnn": benchncnn.parse,
    "trtexec": trtexec.parse,
    "jetson-benchmarks": jetson_benchmarks.parse,
    "tflite": tflite.parse,
}
"""Tool -> parser of (text, file name)."""

_UNITS = {"mhz": 1.0, "khz": 1e-3, "hz": 1e-6}
_NAMES = ("workload", "mapping")
_NAME, _FIGURE = r".+?", r"\d+(?:\.\d+)?"
_FIELDS = (*_NAMES, "cores", *(f"{d}_{u}" for d in ("cpu", "gpu", "mem") for u in _UNITS))


@dataclass(frozen=True)
class Settings:
    """What no tool prints; `pattern` finds it in file names: `{workload}_{gpu_hz}_{mem_hz}_output.txt`."""

    mapping: str | None = None
    cores: int | None = None
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    mem_mhz: float | None = None
    workload: str | None = None
    pattern: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()


def parse_file(kind: str, path: Path | str, settings: Settings = Settings()) -> list[Row]:
    """Rows of one output file of a tool.

    Raises:
        MeasurementError: unreadable, torn, or nothing timed in it; names file and line.
        ConfigError: an unknown tool, or a pattern that is none.
    """
    if kind not in PARSERS:
        raise ConfigError(f"{kind!r}: not a known tool; known: {', '.join(PARSERS)}, tegrastats")
    text, _ = read_text(path)
    found = PARSERS[kind](text, str(path))
    if not found:
        raise MeasurementError(f"{path}: no result of {kind} in it")
    said = _of_name(Path(path).name, settings.pattern, str(path)) if settings.pattern else {}
    rows = [_row(timed, settings, said, f"{path}: line {timed.line}") for timed in found]
    return [row for row in rows if not settings.only or row.workload in settings.only]


def _row(timed: Timed, settings: Settings, said: Mapping[str, str], where: str) -> Row:
    name = settings.workload or said.get("workload") or timed.workload
    if not name:
        raise MeasurementError(f"{where}: the output does not name its network; give its workload")
    mapping = settings.mapping or said.get("mapping") or timed.mapping
    if not mapping:
        raise MeasurementError(f"{where}: the output does not say where it ran; give the mapping")
    cores = whole(said["cores"], where, "cores") if "cores" in said else timed.cores
    clocks = {}
    for domain in ("cpu", "gpu", "mem"):
        clocks[f"{domain}_mhz"] = getattr(settings, f"{domain}_mhz")
        for unit, scale in _UNITS.items():
            if f"{domain}_{unit}" in said:
                value = number(said[f"{domain}_{unit}"], where, f"{domain} clock of the file name")
                clocks[f"{domain}_mhz"] = round(value * scale, 6)
    return Row(
        mapping=mapping,
        cores=settings.cores or cores or 1,
        workload=_workload(name, settings.rename),
        latency_ms=timed.latency_ms,
        start_s=timed.start_s,
        end_s=timed.end_s,
        note=timed.note,
        where=where,
        **clocks,
    )


def _workload(name: str, rename: Mapping[str, str]) -> str:
    """The workload's name here: as told, or with dashes where a card is called so."""
    if name in rename:
        return rename[name]
    dashed = name.lower().replace("_", "-")
    return dashed if dashed in list_workloads() else name


def _of_name(name: str, pattern: str, where: str) -> dict[str, str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    if len(parts) < 3 or not set(parts[1::2]) <= set(_FIELDS) or len(set(parts[1::2])) < len(parts[1::2]):
        known = ", ".join(f"{{{name}}}" for name in _FIELDS)
        raise ConfigError(f"file name pattern {pattern!r}: expected some of {known}, each once")
    expression = "".join(
        re.escape(part) if index % 2 == 0 else f"(?P<{part}>{_NAME if part in _NAMES else _FIGURE})"
        for index, part in enumerate(parts)
    )
    match = re.fullmatch(expression, name)
    if match is None:
        raise MeasurementError(f"{where}: the file's name is not of the pattern {pattern!r}")
    return match.groupdict()
