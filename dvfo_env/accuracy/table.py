"""The accuracy table: what each setting of each encoder costs at each cut of a network, on one set of images.

A table is data, measured by `dvfo accuracy measure` or, where nobody has weights, derived from measured ones
and labelled assumed (`assumed.py`). It is JSON with one list per column: thousands of settings load in
milliseconds. Exit and task are columns of their own: a network with early exits or several heads fills more
rows of the same file.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from dvfo_env.errors import ConfigError
from dvfo_env.schema import Coefficient, Evidence, Record, parse_record
from dvfo_env.user_data import user_data_folder
from dvfo_env.whole_file import write_whole

FORMAT: Literal[1] = 1
_FOLDER = Path(__file__).parent / "tables"

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(ge=0.0)]


class ModelSource(Record):
    """Whose weights: name, SHA-256 of the weights file, where it comes from."""

    name: str
    sha256: str
    source: str


class DataSource(Record):
    """Which images: `images` tested, of which `clusters` are independent (photographs that views were made
    from), and how many others calibrated ranges and rankings.
    """

    name: str
    sha256: str
    source: str
    classes: int = Field(ge=2)
    images: int = Field(ge=1)
    clusters: int = Field(ge=1)
    calibration_images: int = Field(ge=0)


class Machine(Record):
    """Where encoding and decoding were timed, on one core.

    `reference_encode_ms` is the time of the reference encoding (`codecs.reference`) there: a device that
    takes twice as long for it is charged twice the table's encoding times.
    """

    cpu: str
    software: str
    reference_encode_ms: Annotated[float, Field(gt=0.0)]
    note: str = ""


class Baseline(Record):
    """The uncompressed network on the tested images: share answered right with its 95 % interval."""

    accuracy: Share
    accuracy_low: Share
    accuracy_high: Share


class Difficulty(Record):
    """How images were sorted by difficulty, hardest class first.

    Class i holds the images whose `measure` lies in [edges[i], edges[i + 1]) with open ends; `shares` of the
    tested images. No edges: one class.
    """

    measure: str = "largest softmax of the uncompressed network"
    edges: tuple[float, ...] = ()
    shares: tuple[Share, ...] = (1.0,)

    @model_validator(mode="after")
    def _fits(self) -> Difficulty:
        if len(self.shares) != len(self.edges) + 1:
            raise ValueError(
                f"{len(self.edges)} edges make {len(self.edges) + 1} classes, not {len(self.shares)}"
            )
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("edges must rise")
        if abs(sum(self.shares) - 1.0) > 1e-3:
            raise ValueError(f"shares add up to {sum(self.shares):.4f}, not 1")
        return self


class Row(NamedTuple):
    """One setting at one cut.

    `codec` is its full name (`int4-keep1/4-zstd`, `jpeg-q75`); `ranking` how channels were chosen, empty
    where all are kept. Bytes are those of whole frames, header included. `lost_points` is the accuracy of the
    uncompressed network minus this setting's on the same images, in points; below zero where compression
    happens to help. `lost_by_class` holds the same for each class of difficulty, hardest first. Intervals are
    95 %. Times are for one image on one core of the table's machine.
    """

    cut: str
    codec: str
    ranking: str
    keep: float
    bits: int
    coder: str
    exit: int
    task: str
    bytes_mean: float
    bytes_p95: float
    encode_ms: float
    decode_ms: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    agreement: float
    agreement_low: float
    agreement_high: float
    lost_points: float
    lost_low: float
    lost_high: float
    lost_by_class: tuple[float, ...]
    disagreed_by_class: tuple[float, ...]


class Columns(Record):
    """The rows, one list per field of `Row`."""

    cut: tuple[str, ...]
    codec: tuple[str, ...]
    ranking: tuple[str, ...]
    keep: tuple[Share, ...]
    bits: tuple[int, ...]
    coder: tuple[str, ...]
    exit: tuple[int, ...]
    task: tuple[str, ...]
    bytes_mean: tuple[Positive, ...]
    bytes_p95: tuple[Positive, ...]
    encode_ms: tuple[Positive, ...]
    decode_ms: tuple[Positive, ...]
    accuracy: tuple[Share, ...]
    accuracy_low: tuple[Share, ...]
    accuracy_high: tuple[Share, ...]
    agreement: tuple[Share, ...]
    agreement_low: tuple[Share, ...]
    agreement_high: tuple[Share, ...]
    lost_points: tuple[float, ...]
    lost_low: tuple[float, ...]
    lost_high: tuple[float, ...]
    lost_by_class: tuple[tuple[float, ...], ...]
    disagreed_by_class: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _one_length(self) -> Columns:
        rows = len(self.cut)
        for name in type(self).model_fields:
            if len(getattr(self, name)) != rows:
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, cut has {rows}")
        return self


class AccuracyTable(Record):
    """Accuracy, bytes and times of one network's settings, with their provenance.

    Attributes:
        format: version of the file format.
        name, title, note: what it is called, what a reader calls it, what he should know.
        workload: card whose cuts the rows name.
        evidence, source: whether it was measured, and by which command (or how it was derived).
        charges: what the environment charges: points of `accuracy` lost, or of `agreement` with the
            uncompressed network where the labelled images are too few to tell accuracy apart.
        model, data, machine: provenance; None in a derived table.
        baseline: the uncompressed network; None in a derived table.
        difficulty: classes of difficulty, hardest first.
        rows: every setting measured.
    """

    format: Literal[1] = FORMAT
    name: str
    title: str
    note: str = ""
    workload: str
    evidence: Evidence
    source: str
    charges: Literal["accuracy", "agreement"]
    model: ModelSource | None = None
    data: DataSource | None = None
    machine: Machine | None = None
    baseline: Baseline | None = None
    difficulty: Difficulty = Difficulty()
    rows: Columns

    @model_validator(mode="after")
    def _measured_says_what(self) -> AccuracyTable:
        if self.evidence == "measured" and not (self.model and self.data and self.machine and self.baseline):
            raise ValueError("a measured table names model, data, machine and baseline")
        classes = len(self.difficulty.shares)
        for name in ("lost_by_class", "disagreed_by_class"):
            if any(len(row) != classes for row in getattr(self.rows, name)):
                raise ValueError(
                    f"rows.{name}: every row needs {classes} values, one per class of difficulty"
                )
        return self

    def coefficients(self) -> dict[str, Coefficient]:
        """The table as labelled coefficients, for the evidence list of a scenario."""
        what = {"accuracy": "points", "bytes": "bytes", "encode_ms": "ms"}
        return {
            f"accuracy.{name}": Coefficient(
                value=float(len(self.rows.cut)),
                unit=f"settings, {unit} each",
                evidence=self.evidence,
                source=self.source,
                note=self.note or None,
            )
            for name, unit in what.items()
        }

    def all_rows(self) -> tuple[Row, ...]:
        """Every row."""
        columns = (getattr(self.rows, name) for name in Row._fields)
        return tuple(Row(*values) for values in zip(*columns, strict=True))


def columns_of(rows: list[Row] | tuple[Row, ...]) -> Columns:
    """Rows as columns, for `AccuracyTable.rows`."""
    return Columns(**{name: tuple(getattr(row, name) for row in rows) for name in Row._fields})


def user_tables_folder() -> Path:
    """Where a user's own tables lie: `dvfo/accuracy` below $XDG_DATA_HOME (default ~/.local/share)."""
    return user_data_folder() / "accuracy"


def list_accuracy_tables() -> tuple[str, ...]:
    """Names of the shipped tables, sorted."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.json")))


def list_user_accuracy_tables() -> tuple[str, ...]:
    """Names of the user's own tables, sorted; one that is called like a shipped table is not found."""
    own = {file.stem for file in user_tables_folder().glob("*.json")}
    return tuple(sorted(own - set(list_accuracy_tables())))


def load_accuracy_table(name_or_path: str | Path) -> AccuracyTable:
    """Load a shipped table by name, one of the user's own by name, or a JSON file.

    Raises:
        ConfigError: no such table, an unreadable file, or one that does not fit the schema.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        known = (*list_accuracy_tables(), *list_user_accuracy_tables())
        if str(name_or_path) not in known:
            raise ConfigError(
                f"accuracy table {str(name_or_path)!r} is not known; known: {', '.join(known) or 'none'}, "
                "or a .json file"
            )
        folder = _FOLDER if str(name_or_path) in list_accuracy_tables() else user_tables_folder()
        path = folder / f"{name_or_path}.json"
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return _read(path, stamp)


@cache
def _read(path: Path, stamp: int) -> AccuracyTable:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    return parse_record(data, AccuracyTable, where=str(path))


def write_accuracy_table(table: AccuracyTable, path: Path | str) -> Path:
    """Write a table as JSON, a column a line; a torn write never replaces a good file.

    Raises:
        ConfigError: the file or its folder cannot be written.
    """
    data = table.model_dump(mode="json", exclude_none=True)
    rows = data.pop("rows")
    head = json.dumps(data, indent=1, ensure_ascii=False)
    columns = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in rows.items())
    return write_whole(path, f'{head[:-2]},\n "rows": {{\n  {columns}\n }}\n}}\n')
