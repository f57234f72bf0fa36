"""The table of measured points that every calibration of a user's own board starts from, as CSV.

    mapping,cores,cpu_mhz,gpu_mhz,mem_mhz,workload,latency_ms,power_mw,start_s,end_s,note

The first seven columns are needed. A clock that the board does not have is left empty. A row of the workload
`idle` has power and no latency: the board waiting with these clocks set. `start_s` and `end_s` (seconds since
1970) say when the point was measured, so that a power log can be laid beside it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from dvfo_env.calibration.files import read_text
from dvfo_env.errors import MeasurementError
from dvfo_env.whole_file import whole_file

IDLE = "idle"
"""Workload name of rows that give the power of the board while it waits."""

NEEDED = ("mapping", "cores", "cpu_mhz", "gpu_mhz", "mem_mhz", "workload", "latency_ms")
OPTIONAL = ("power_mw", "start_s", "end_s", "note")


@dataclass(frozen=True)
class Row:
    """One measured point; None where the board has no such clock or nothing was measured."""

    mapping: str
    cores: int
    cpu_mhz: float | None
    gpu_mhz: float | None
    mem_mhz: float | None
    workload: str
    latency_ms: float | None
    power_mw: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    note: str = ""
    where: str = ""
    """File and line that the row comes from, for messages."""

    @property
    def runs_on_gpu(self) -> bool:
        """Mappings whose name begins with `gpu` run on the GPU, all others on CPU cores."""
        return self.mapping.lower().startswith("gpu")

    @property
    def clocks(self) -> tuple[float, float, float]:
        """(CPU, GPU, memory) clock in MHz, 0 where there is none."""
        return self.cpu_mhz or 0.0, self.gpu_mhz or 0.0, self.mem_mhz or 0.0


@dataclass(frozen=True)
class Origin:
    """A file that rows were read from, as provenance names it."""

    name: str
    sha256: str
    rows: int

    def __str__(self) -> str:
        """Name, number of rows and the first twelve digits of the SHA-256."""
        return f"{self.name} ({self.rows} rows, sha256 {self.sha256[:12]})"


def read_table(path: Path | str) -> tuple[list[Row], Origin]:
    """Rows of one CSV file, and what provenance says of it.

    Raises:
        MeasurementError: unreadable, a column is missing or unknown, or a value is impossible (names
        the line).
    """
    text, digest = read_text(path)
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        _check_columns(columns, str(path))
        reader.fieldnames = columns
        rows = [_row(cells, f"{path}: line {reader.line_num}") for cells in reader]
    except csv.Error as error:
        raise MeasurementError(f"{path}: line {reader.line_num}: not CSV: {error}") from None
    if not rows:
        raise MeasurementError(f"{path}: no rows under the heading")
    return rows, Origin(Path(path).name, digest, len(rows))


def write_table(rows: Sequence[Row], path: Path | str, columns: Sequence[str] = ()) -> None:
    """Write rows as CSV, with the optional columns that any row uses, and `columns`.

    Raises:
        ConfigError: the file cannot be written.
    """
    used = [
        name
        for name in OPTIONAL
        if name in columns or any(getattr(row, name) not in (None, "") for row in rows)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*NEEDED, *used])
    writer.writerows([_cell(getattr(row, name)) for name in (*NEEDED, *used)] for row in rows)
    with whole_file(path) as file:
        file.write_text(text.getvalue(), encoding="utf-8")


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) and abs(value) < 1e9 else value


def _check_columns(columns: Sequence[str], path: str) -> None:
    missing = [name for name in NEEDED if name not in columns]
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and sign in columns[0]:
            raise MeasurementError(f"{path}: line 1: cells are separated by {name}; commas are needed")
    if missing:
        raise MeasurementError(f"{path}: line 1: column {missing[0]} is missing; needed: {', '.join(NEEDED)}")
    for name in columns:
        if name not in (*NEEDED, *OPTIONAL):
            known = ", ".join((*NEEDED, *OPTIONAL))
            raise MeasurementError(f"{path}: line 1: unknown column {name!r}; known: {known}")
        if columns.count(name) > 1:
            raise MeasurementError(f"{path}: line 1: column {name} is there twice")


def _row(cells: dict[str, str], where: str) -> Row:
    if None in cells or None in cells.values():
        raise MeasurementError(f"{where}: has another number of cells than the heading")
    text = {name: value.strip() for name, value in cells.items()}
    for name in ("mapping", "workload"):
        if not text[name]:
            raise MeasurementError(f"{where}: {name} is empty")
    if ">" in text["mapping"] or "@" in text["mapping"]:
        raise MeasurementError(f"{where}: mapping {text['mapping']!r}: '>' and '@' are kept for hand-overs")
    cores = _number(text, "cores", where, least=1.0)
    if cores is None or cores != int(cores):
        raise MeasurementError(f"{where}: cores {text['cores']!r}: expected a whole number from 1")
    row = Row(
        mapping=text["mapping"],
        cores=int(cores),
        workload=text["workload"],
        note=text.get("note", ""),
        where=where,
        **{
            field.name: _number(text, field.name, where)
            for field in fields(Row)
            if field.name in ("cpu_mhz", "gpu_mhz", "mem_mhz", "latency_ms", "power_mw", "start_s", "end_s")
        },
    )
    _check_row(row, where)
    return row


def _check_row(row: Row, where: str) -> None:
    if row.workload == IDLE:
        if row.power_mw is None:
            raise MeasurementError(f"{where}: an idle row needs power_mw")
    elif row.latency_ms is None:
        raise MeasurementError(f"{where}: latency_ms is empty: measure the point or delete the row")
    if row.start_s is not None and row.end_s is not None and not row.start_s < row.end_s:
        raise MeasurementError(f"{where}: end_s {row.end_s:.3f} is not after start_s {row.start_s:.3f}")


def _number(text: dict[str, str], name: str, where: str, least: float = 0.0) -> float | None:
    """The value of a column, None where it is empty; only `cores` may not be."""
    found = text.get(name, "")
    if not found:
        return None
    try:
        value = float(found)
    except ValueError:
        raise MeasurementError(f"{where}: {name} {found!r}: not a number") from None
    if not math.isfinite(value) or value < least or (value == 0.0 and name not in ("start_s", "end_s")):
        raise MeasurementError(f"{where}: {name} {found!r}: expected a number above 0")
    return value
