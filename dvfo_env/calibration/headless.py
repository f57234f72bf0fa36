"""Tables without a heading, as phone benchmarks print them: times of layers, and of copies to and from a GPU.

A line is a name and then figures, separated by blanks: a layer and its time on each mapping, or the shape of
a tensor and the time to hand it to the GPU and back, all in microseconds. Empty lines do not count.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from math import prod

from dvfo_env.devices.model import BYTES_PER_ELEMENT
from dvfo_env.errors import MeasurementError

LayerRow = tuple[str, tuple[float, ...]]
"""A layer's name and its time (ms) in each column of its table."""


@dataclass(frozen=True)
class CopyRow:
    """Time to hand one tensor over, both ways, ms; `megabytes` (10^6) at four bytes an element."""

    megabytes: float
    to_gpu_ms: float
    to_cpu_ms: float


def layer_rows(text: str, path: str, columns: Collection[int]) -> list[LayerRow]:
    """Rows of a table of layers, ms, in its order; a time may be 0 (nothing ran there).

    Args:
        text: the table.
        path: its file, for messages.
        columns: how many times a line may have; all lines have as many as the first.

    Raises:
        MeasurementError: empty, a line has another number of times, or one is no number from 0.
    """
    rows: list[LayerRow] = []
    for where, name, cells in _lines(text, path):
        expected = (len(rows[0][1]),) if rows else tuple(columns)
        if len(cells) not in expected:
            wanted = " or ".join(map(str, expected))
            raise MeasurementError(f"{where}: expected a name and {wanted} times, found {len(cells)}")
        rows.append((name, tuple(_microseconds(cell, where, 0.0) for cell in cells)))
    if not rows:
        raise MeasurementError(f"{path}: no rows")
    return rows


def copy_rows(text: str, path: str) -> list[CopyRow]:
    """Rows of a table of copies, without one-dimensional tensors (a few numbers, timed once at start-up).

    Raises:
        MeasurementError: no row is left, or one is not a shape and two times above 0.
    """
    rows = []
    for where, name, cells in _lines(text, path):
        sizes = name.split(",")
        if len(cells) != 2 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
            raise MeasurementError(f"{where}: expected a shape such as 1,32,125,250 and two times")
        to_gpu, to_cpu = (_microseconds(cell, where, 1e-9) for cell in cells)
        if len(sizes) > 1:
            rows.append(CopyRow(BYTES_PER_ELEMENT * prod(map(int, sizes)) / 1e6, to_gpu, to_cpu))
    if not rows:
        raise MeasurementError(f"{path}: no rows of tensors with two or more dimensions")
    return rows


def _lines(text: str, path: str) -> list[tuple[str, str, list[str]]]:
    """(file and line, name, figures) of every line that is not empty."""
    split = enumerate((line.split() for line in text.splitlines()), start=1)
    return [(f"{path}: line {number}", cells[0], cells[1:]) for number, cells in split if cells]


def _microseconds(text: str, where: str, least: float) -> float:
    """A time in microseconds, as ms."""
    try:
        value = float(text)
    except ValueError:
        raise MeasurementError(f"{where}: time {text!r}: not a number") from None
    if not math.isfinite(value) or value < least:
        raise MeasurementError(f"{where}: time {text!r}: expected a number {'above' if least else 'from'} 0")
    return value / 1000.0
