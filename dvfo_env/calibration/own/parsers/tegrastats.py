"""Logs of NVIDIA's `tegrastats`: power by rail, laid beside timed runs by time or by each line's clocks.

The line differs between boards and releases; these have been met:

    RAM 524/7850MB ... EMC_FREQ 0%@1866 GR3D_FREQ 0%@114 ... VDD_IN 4230/4230 VDD_SYS_GPU 152/152     TX2
    ... GR3D_FREQ 0%@76 ... POM_5V_IN 1750/1628 POM_5V_GPU 0/0 POM_5V_CPU 366/406                     Nano
    ... GPU 0mW/0mW CPU 465mW/465mW SOC 1242mW/1242mW CV 0mW/0mW ... SYS5V 2760mW/2760mW              Xavier
    04-24-2023 00:01:24 RAM ... GR3D_FREQ 0%@[305,305] ... VDD_GPU_SOC 2399mW/2399mW VIN_SYS_5V0 ...      Orin
    1739645853.5189943---RAM 1101/7850MB ...                                            a time put before
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dvfo_env.calibration.files import read_text
from dvfo_env.calibration.own.parsers.text import clock_time
from dvfo_env.calibration.own.table import IDLE, Row
from dvfo_env.errors import MeasurementError

INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that hold the whole board or module; the first one present counts alone."""
NOT_ADDED = ("NC", "VDDQ_VDD2_1V8AO")
"""Left out of a sum of rails: not connected; on the AGX Orin fed from VIN_SYS_5V0."""
MIN_LINES = 3
"""Fewer lines than this say nothing about a run's mean power."""
BUSY_LOAD, QUIET_CORES = 0.9, 0.15

_NO_RAILS = ("RAM", "SWAP", "IRAM")
_EPOCH = re.compile(r"^\s*(\d{9,10}(?:\.\d+)?)[^\d.]")
_DATE = re.compile(r"^\s*(\d\d-\d\d-\d{4} \d\d:\d\d:\d\d)\s")
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?:/\d+mW)?(?=\s|$)")
_LONE_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)mW(?=\s|$)")
_GPU = re.compile(r"GR3D_FREQ (\d+)%(?:@\[?(\d+))?")
_MEMORY = re.compile(r"EMC_FREQ (\d+)%(?:@(\d+))?")
_CPU = re.compile(r"CPU \[([^\]]*)\]")


@dataclass(frozen=True)
class Sample:
    """One line: time (seconds since 1970), board power and rails (mW), loads (busy cores, 0-1), clocks (MHz).

    None where the line does not say.
    """

    time_s: float | None
    board_mw: float
    rails_mw: Mapping[str, float]
    busy_cores: float
    cpu_mhz: float | None
    gpu_load: float | None
    gpu_mhz: float | None
    mem_mhz: float | None
    line: int


def read_samples(
    path: Path | str,
    rails: Sequence[str] = (),
    start_s: float | None = None,
    interval_ms: float = 1000.0,
    utc_offset_hours: float = 0.0,
) -> list[Sample]:
    """Every line of a log that has power.

    Args:
        path: the log.
        rails: those that add up to the board's power; by default its input rail, else the sum of all.
        start_s: time of the first line, for logs whose lines carry none; then one line each `interval_ms`.
        interval_ms: as given to `tegrastats --interval`.
        utc_offset_hours: of the dates in the log, which name no time zone.

    Raises:
        MeasurementError: unreadable, no line with power, or a line lacks a rail; names the line.
    """
    text, _ = read_text(path)
    samples: list[Sample] = []
    lines = text.splitlines()
    for line, content in enumerate(lines, start=1):
        if "RAM " not in content:
            continue
        last = line == len(lines) and samples  # perhaps torn: the logger was stopped while writing
        if last and _rails(content).keys() != samples[-1].rails_mw.keys():
            continue
        sample = _sample(content, line, rails, f"{path}: line {line}", utc_offset_hours)
        if sample.time_s is None and start_s is not None:
            sample = replace(sample, time_s=start_s + len(samples) * interval_ms / 1000.0)
        samples.append(sample)
    if not samples:
        raise MeasurementError(f"{path}: no line of tegrastats in it")
    return samples


def _sample(content: str, line: int, rails: Sequence[str], here: str, offset_hours: float) -> Sample:
    found = _rails(content)
    if not found:
        raise MeasurementError(
            f"{here}: no power rail; does the board measure power, and was tegrastats run with sudo?"
        )
    gpu, memory = _GPU.search(content), _MEMORY.search(content)
    loads = _CPU.search(content)
    cores = re.findall(r"(\d+)%@(\d+)", loads[1]) if loads else []
    return Sample(
        time_s=_time(content, offset_hours),
        board_mw=_board(found, rails, here),
        rails_mw=found,
        busy_cores=sum(float(load) for load, _ in cores) / 100.0,
        cpu_mhz=max((float(mhz) for _, mhz in cores), default=None),
        gpu_load=float(gpu[1]) / 100.0 if gpu else None,
        gpu_mhz=float(gpu[2]) if gpu and gpu[2] else None,
        mem_mhz=float(memory[2]) if memory and memory[2] else None,
        line=line,
    )


def _rails(content: str) -> dict[str, float]:
    found = {name: float(now) for name, now in _LONE_RAIL.findall(content)}
    found |= {name: float(now) for name, now, _ in _RAIL.findall(content)}
    return {name: power for name, power in found.items() if name not in _NO_RAILS}


def _time(content: str, offset_hours: float) -> float | None:
    if (epoch := _EPOCH.match(content)) is not None:
        return float(epoch[1])
    if (date := _DATE.match(content)) is not None:
        seconds = clock_time(date[1], "%m-%d-%Y %H:%M:%S")
        return None if seconds is None else seconds - 3600.0 * offset_hours
    return None


def _board(found: Mapping[str, float], rails: Sequence[str], here: str) -> float:
    if rails:
        missing = [name for name in rails if name not in found]
        if missing:
            raise MeasurementError(f"{here}: no rail {missing[0]}; it has {', '.join(sorted(found))}")
        return sum(found[name] for name in rails)
    for name in INPUTS:
        if name in found:
            return found[name]
    return sum(power for name, power in found.items() if name not in NOT_ADDED)


def with_power(rows: Sequence[Row], samples: Sequence[Sample], by_clock: bool = False) -> list[Row]:
    """The rows with `power_mw`: the mean over the lines between each row's start and end.

    With `by_clock` the lines are those with the GPU at least 90 % busy at the row's GPU and memory clock,
    whatever ran: for logs whose times are lost. Idle rows stay as they are.

    Raises:
        MeasurementError: a row has no start and end, or fewer than three lines belong to it.
    """
    chosen: Callable[[Row], list[float]] = (
        (lambda row: _at_clock(row, samples)) if by_clock else (lambda row: _between(row, samples))
    )
    done = []
    for row in rows:
        if row.workload == IDLE:
            done.append(row)
            continue
        lines = chosen(row)
        if len(lines) < MIN_LINES:
            raise MeasurementError(
                f"{row.where}: {len(lines)} lines of tegrastats belong to {row.workload} at "
                f"{_clocks(row)}, {MIN_LINES} are needed{_covers(samples, by_clock)}"
            )
        done.append(replace(row, power_mw=round(float(np.mean(lines)), 3)))
    return done


def idle_rows(samples: Sequence[Sample], rows: Sequence[Row] = ()) -> list[Row]:
    """One row of the workload `idle` per memory clock: median power of lines with GPU and CPU quiet.

    Clocks that tegrastats cuts off (114 for 114.75 MHz) are taken from `rows` where one is near; a clock that
    no line says is the rows' lowest.

    Raises:
        MeasurementError: no quiet line.
    """
    quiet = [s for s in samples if (s.gpu_load or 0.0) == 0.0 and s.busy_cores < QUIET_CORES]
    if len(quiet) < MIN_LINES:
        raise MeasurementError(
            f"tegrastats: {len(quiet)} lines with GPU and CPU quiet, {MIN_LINES} are needed; log the waiting "
            "board for some seconds"
        )
    made = []
    for memory in sorted({s.mem_mhz or 0.0 for s in quiet}):
        lines = [s for s in quiet if (s.mem_mhz or 0.0) == memory]
        if len(lines) < MIN_LINES:
            continue
        made.append(
            Row(
                mapping=IDLE,
                cores=1,
                cpu_mhz=_near(None, rows, "cpu_mhz"),
                gpu_mhz=_near(lines[0].gpu_mhz, rows, "gpu_mhz"),
                mem_mhz=_near(memory or None, rows, "mem_mhz"),
                workload=IDLE,
                latency_ms=None,
                power_mw=round(float(np.median([s.board_mw for s in lines])), 3),
                note=f"median of {len(lines)} quiet lines",
            )
        )
    return made


def _near(found: float | None, rows: Sequence[Row], name: str) -> float | None:
    legal = sorted({getattr(row, name) for row in rows} - {None})
    near = [mhz for mhz in legal if found is not None and abs(mhz - found) < 1.0]
    if near:
        return float(near[0])
    return found if found is not None and not legal else (float(legal[0]) if legal else None)


def _between(row: Row, samples: Sequence[Sample]) -> list[float]:
    if row.start_s is None or row.end_s is None:
        raise MeasurementError(
            f"{row.where}: start_s and end_s are not known, so no line of tegrastats can be laid beside it"
        )
    return [s.board_mw for s in samples if s.time_s is not None and row.start_s <= s.time_s <= row.end_s]


def _at_clock(row: Row, samples: Sequence[Sample]) -> list[float]:
    def same(clock: float | None, said: float | None) -> bool:
        return clock is None or said is None or abs(clock - said) < 1.0

    return [
        s.board_mw
        for s in samples
        if (s.gpu_load or 0.0) >= BUSY_LOAD and same(row.gpu_mhz, s.gpu_mhz) and same(row.mem_mhz, s.mem_mhz)
    ]


def _clocks(row: Row) -> str:
    parts = [f"{name} {mhz:g}" for name, mhz in zip(("cpu", "gpu", "mem"), row.clocks, strict=True) if mhz]
    return f"{' '.join(parts)} MHz" if parts else "its clocks"


def _covers(samples: Sequence[Sample], by_clock: bool) -> str:
    times = [s.time_s for s in samples if s.time_s is not None]
    if by_clock:
        return ""
    if not times:
        return "; the log's lines carry no time: say when it began"
    return f"; the log covers {min(times):.0f} to {max(times):.0f} s"
