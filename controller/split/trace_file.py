"""A bandwidth trace from a file, for the link that a run is shaped by."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvfo_controller.split.shaping import Trace
from dvfo_env.errors import TraceError


def read_trace(path: Path) -> Trace:
    """Rows of time_s, mbps and, where there is a third column, rtt_ms; blank- or comma-separated.

    Lines that begin with `#` and a header line are passed over; times count from the first row.

    Raises:
        TraceError: the file cannot be read, or its rows are no trace.
    """
    try:
        lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from None
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    if rows and not _figures(rows[0][1]):
        del rows[0]
    if not rows:
        raise TraceError(f"{path}: holds no row of time_s, mbps")
    width = len(rows[0][1])
    for number, words in rows:
        if len(words) != width or width not in (2, 3) or not _figures(words):
            raise TraceError(
                f"{path}: line {number}: expected {width} figures: time_s, mbps and maybe rtt_ms"
            )
    values = np.array([words for _, words in rows], dtype=np.float64)
    try:
        return Trace(values[:, 0] - values[0, 0], values[:, 1], values[:, 2] if width == 3 else 0.0)
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from None


def write_trace(path: Path, trace: Trace) -> None:
    """Write a trace as `read_trace` reads it."""
    columns = np.stack([trace.times_s, trace.mbps, trace.rtt_ms], axis=1)
    np.savetxt(path, columns, fmt="%.6g", delimiter=",", header="time_s,mbps,rtt_ms", comments="")


def _figures(words: list[str]) -> bool:
    try:
        return bool([float(word) for word in words])
    except ValueError:
        return False
