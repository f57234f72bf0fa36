"""Bandwidth traces: Mahimahi packet logs and (time, Mbit/s) tables, read into a uniformly spaced rate
series.
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.errors import TraceError

MAHIMAHI_PACKET_BYTES = 1500
"""A line of a Mahimahi trace is one chance to send this many bytes (Netravali et al., USENIX ATC 2015)."""

DEFAULT_MAX_GAP_MS = 5000.0
"""Longest pause between two rows of a (time, rate) table that still counts as one recording."""


class Trace(NamedTuple):
    """A measured bandwidth series: `rate_mbps` float32[n] in Mbit/s, one sample every `step_ms` ms."""

    rate_mbps: NDArray[np.float32]
    step_ms: float

    @property
    def duration_ms(self) -> float:
        """Length of the recording in ms."""
        return len(self.rate_mbps) * self.step_ms


def load_trace(
    path: Path | str, step_ms: float | None = None, max_gap_ms: float = DEFAULT_MAX_GAP_MS
) -> Trace:
    """Read a trace file of either kind: one number per line is Mahimahi, two or more are (time_s, mbps).

    Args:
        path: plain or `.gz` file.
        step_ms: spacing of the result in ms; by default 100 for Mahimahi, else the rows' median spacing.
        max_gap_ms: longest pause allowed between two rows of a (time_s, mbps) file.

    Raises:
        TraceError: one line that names file and line: empty, not numeric, NaN, negative rate, time
        going back, gap.
    """
    lines = _numbered_lines(Path(path))
    widest = max(len(_fields(text)) for _, text in lines[:2])
    if widest >= 2:
        return _timed_trace(Path(path), lines, step_ms, max_gap_ms)
    return _mahimahi_trace(Path(path), lines, 100.0 if step_ms is None else step_ms)


def load_mahimahi(path: Path | str, step_ms: float = 100.0) -> Trace:
    """Read a Mahimahi packet-delivery trace: one whole millisecond per line, one 1500-byte packet each.

    The packets of every `step_ms` are counted: rate = packets x 12000 bit / step. The last, partly covered
    step is dropped unless it is the only one.

    Raises:
        TraceError: one line that names file and line.
    """
    return _mahimahi_trace(Path(path), _numbered_lines(Path(path)), step_ms)


def load_timed(
    path: Path | str, step_ms: float | None = None, max_gap_ms: float = DEFAULT_MAX_GAP_MS
) -> Trace:
    """Read a table of (time in s, rate in Mbit/s) rows, comma- or blank-separated, with or without a
    header line.

    Each rate holds from its own time until the next row's (the last one for one median spacing); the
    result is the
    average over steps of `step_ms` (default: the median spacing of the rows). Further columns are ignored.

    Raises:
        TraceError: one line that names file and line.
    """
    return _timed_trace(Path(path), _numbered_lines(Path(path)), step_ms, max_gap_ms)


def resample(trace: Trace, step_ms: float) -> Trace:
    """The same bandwidth at another spacing: bits are conserved (averages when coarser, held when finer).

    Raises:
        TraceError: `step_ms` is not a positive number of ms, or the trace is shorter than one such step.
    """
    check_step(step_ms)
    if step_ms == trace.step_ms:
        return trace
    edges = np.arange(len(trace.rate_mbps) + 1, dtype=np.float64) * trace.step_ms
    return Trace(_average(edges, trace.rate_mbps.astype(np.float64), step_ms, "trace"), float(step_ms))


def check_step(step_ms: float) -> None:
    """Refuse a step that is not a positive number.

    Raises:
        TraceError: it is zero, negative, NaN or infinite.
    """
    if not (np.isfinite(step_ms) and step_ms > 0):
        raise TraceError(f"step_ms: {step_ms} is not a positive number of milliseconds")


def _average(
    edges_ms: NDArray[np.float64], rates: NDArray[np.float64], step_ms: float, where: str
) -> NDArray[np.float32]:
    """Mean rate over whole steps of a piecewise constant rate; `edges_ms` has one entry more than `rates`."""
    total = float(edges_ms[-1] - edges_ms[0])
    count = int(total / step_ms + 1e-6)
    if count < 1:
        raise TraceError(f"{where}: covers {total:g} ms, less than one step of {step_ms:g} ms")
    carried = np.concatenate([[0.0], np.cumsum(rates * np.diff(edges_ms))])
    at = edges_ms[0] + np.arange(count + 1) * step_ms
    means = np.diff(np.interp(at, edges_ms, carried)) / step_ms
    result: NDArray[np.float32] = np.maximum(means, 0.0).astype(np.float32)
    return result


def _numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Line numbers and texts, without blank lines and `#` comments."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (EOFError, zlib.error):
        raise TraceError(f"{path}: the gzip data is incomplete or damaged") from None
    except UnicodeDecodeError:
        raise TraceError(f"{path}: is not a text file") from None
    stripped = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    lines = [(number, line) for number, line in stripped if line and not line.startswith("#")]
    if not lines:
        raise TraceError(
            f"{path}: is empty; expected one time in ms per line (Mahimahi) or rows of time_s,mbps"
        )
    return lines


def _fields(text: str) -> list[str]:
    return [item for item in re.split(r"[,;\s]+", text) if item]


def _number(path: Path, line: int, text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise TraceError(f"{path}: line {line}: {what} {text!r:.40} is not a number") from None
    if not np.isfinite(value):
        raise TraceError(f"{path}: line {line}: {what} is {text}; expected a finite number")
    return value


def _mahimahi_trace(path: Path, lines: list[tuple[int, str]], step_ms: float) -> Trace:
    check_step(step_ms)
    times = np.empty(len(lines))
    previous = 0.0
    for row, (number, text) in enumerate(lines):
        fields = _fields(text)
        if len(fields) != 1:
            raise TraceError(
                f"{path}: line {number}: {len(fields)} values; a Mahimahi trace has one time in ms per line"
            )
        value = _number(path, number, fields[0], "time in ms")
        if value < 0:
            raise TraceError(f"{path}: line {number}: time {value:g} ms is below 0")
        if value < previous:
            raise TraceError(f"{path}: line {number}: time goes back from {previous:g} to {value:g} ms")
        times[row] = previous = value
    steps = max(1, int(times[-1] / step_ms))
    whole = times[times < steps * step_ms] if times[-1] >= step_ms else times
    packets = np.bincount((whole / step_ms).astype(np.int64), minlength=steps)[:steps]
    return Trace((packets * (MAHIMAHI_PACKET_BYTES * 8e-3 / step_ms)).astype(np.float32), float(step_ms))


def _timed_trace(path: Path, lines: list[tuple[int, str]], step_ms: float | None, max_gap_ms: float) -> Trace:
    if step_ms is not None:
        check_step(step_ms)
    if _is_header(lines[0][1]):
        lines = lines[1:]
    if not lines:
        raise TraceError(f"{path}: has a header but no rows")
    times, rates = np.empty(len(lines)), np.empty(len(lines))
    for row, (number, text) in enumerate(lines):
        fields = _fields(text)
        if len(fields) < 2:
            raise TraceError(f"{path}: line {number}: found one value, expected time_s and mbps")
        times[row] = 1000.0 * _number(path, number, fields[0], "time in s")
        rates[row] = _number(path, number, fields[1], "rate in Mbit/s")
        if rates[row] < 0:
            raise TraceError(f"{path}: line {number}: rate {rates[row]:g} Mbit/s is below 0")
        if row and times[row] <= times[row - 1]:
            raise TraceError(
                f"{path}: line {number}: time goes from {times[row - 1] / 1e3:g} to {times[row] / 1e3:g} s; "
                "expected it to rise"
            )
        if row and times[row] - times[row - 1] > max_gap_ms:
            raise TraceError(
                f"{path}: line {number}: gap of {(times[row] - times[row - 1]) / 1e3:g} s "
                f"after {times[row - 1] / 1e3:g} s "
                f"(at most {max_gap_ms / 1e3:g} s allowed); split the file in two before line {number}"
            )
    return trace_of_rows(times, rates, step_ms, str(path))


def trace_of_rows(
    times_ms: NDArray[np.float64], rates_mbps: NDArray[np.float64], step_ms: float | None, where: str
) -> Trace:
    """A uniform series from rows [n] of rising times in ms and rates in Mbit/s; `where` names them in errors.

    Each rate holds until the next row's time, the last one for one median spacing.

    Raises:
        TraceError: the rows cover less than one step.
    """
    spacing = float(np.median(np.diff(times_ms))) if len(times_ms) > 1 else (step_ms or 1000.0)
    step = spacing if step_ms is None else float(step_ms)
    edges = np.append(times_ms, times_ms[-1] + spacing)
    return Trace(_average(edges, rates_mbps, step, where), step)


def _is_header(text: str) -> bool:
    """A first line is a header when none of its first two fields is a number."""
    for item in _fields(text)[:2]:
        try:
            float(item)
        except ValueError:
            continue
        return False
    return True
