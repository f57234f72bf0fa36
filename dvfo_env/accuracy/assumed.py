"""An accuracy table for a network nobody has weights of here, derived from the measured ones and labelled so.

At each cut every setting gets the average over the measured cuts of other networks, those counting most that
lie at a similar depth (share of the FLOPs done), are of similar width (channels) and belong to a network with
an input of similar size:

    weight = exp(-(depth - depth_j)^2 / (2 0.15^2) - ln(width / width_j)^2 / (2 ln(4)^2)
                 - ln(input / input_j)^2 / (2 ln(8)^2))

Points lost are averaged as they are; bytes and times per element. Of the entropy coders the one with the
fewest bytes counts. Where a setting was given up as hopeless it counts as agreeing on half the images; one
that was given up at more than a fifth of the weight is not offered. `leave_one_out` says how well all this
works on the networks that were measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf, log, prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.accuracy.table import (
    AccuracyTable,
    Difficulty,
    Row,
    columns_of,
    list_accuracy_tables,
    load_accuracy_table,
)
from dvfo_env.errors import ConfigError
from dvfo_env.workloads import WorkloadCard, load_workload

DEPTH_SCALE = 0.15
WIDTH_SCALE = log(4.0)
INPUT_SCALE = log(8.0)
#: Least weight of the cuts at which a setting was measured, of all measured cuts.
LEAST_WEIGHT = 0.8
#: Agreement that stands for a setting that was given up.
GIVEN_UP = 0.5
#: What a setting needs behind it to be derived: measured cuts of at least this many networks.
LEAST_NETWORKS = 2
_AVERAGED = (
    "accuracy", "accuracy_low", "accuracy_high", "agreement", "agreement_low", "agreement_high",
    "lost_points", "lost_low", "lost_high",
)  # fmt: skip
_PER_ELEMENT = ("bytes_mean", "bytes_p95", "encode_ms", "decode_ms")

#: Derived tables by their card.
_DERIVED: dict[str, AccuracyTable] = {}


@dataclass(frozen=True)
class _Place:
    """Where a cut lies: at the input or not, depth, width in channels, elements here and at the input."""

    is_input: bool
    depth: float
    width: float
    elements: int
    input_elements: int

    def likeness(self, other: _Place) -> float:
        """Logarithm of the weight of `other`; minus infinity between inputs and features."""
        if self.is_input != other.is_input:
            return -inf
        return -0.5 * (
            ((self.depth - other.depth) / DEPTH_SCALE) ** 2
            + (log(self.width / other.width) / WIDTH_SCALE) ** 2
            + (log(self.input_elements / other.input_elements) / INPUT_SCALE) ** 2
        )


@dataclass(frozen=True)
class _MeasuredCut:
    """A measured cut, its settings by ranking and codec; no coder, a bottleneck's width as a share."""

    name: str
    place: _Place
    network: str
    rows: dict[tuple[str, str], Row]


class LeftOut(NamedTuple):
    """A measured network predicted from the others: mean absolute errors over its settings."""

    network: str
    settings: int
    lost_points_error: float
    bytes_error_percent: float


def assumed_table(card: WorkloadCard) -> AccuracyTable:
    """The derived table of a network, from every shipped measured table of other networks.

    Raises:
        ConfigError: fewer than two measured networks ship.
    """
    key = card.model_dump_json()
    if key not in _DERIVED:
        _DERIVED[key] = derive(card, [table for table in _measured_tables() if table.workload != card.name])
    return _DERIVED[key]


def leave_one_out() -> tuple[LeftOut, ...]:
    """How far a network's measured settings are from what the other networks say about them."""
    tables = _measured_tables()
    found = []
    for table in tables:
        others = [
            cut for other in tables if other.workload != table.workload for cut in _measured_cuts(other)
        ]
        pairs = [
            (row, told[key])
            for cut in _measured_cuts(table)
            for told in (_rows_at(cut.name, cut.place, others),)
            for key, row in cut.rows.items()
            if key in told and row.agreement > 0.75
        ]
        if pairs:
            lost = np.mean([abs(_disagreed(a) - _disagreed(b)) for a, b in pairs])
            size = np.mean([abs(b.bytes_mean / a.bytes_mean - 1.0) for a, b in pairs])
            found.append(LeftOut(table.workload, len(pairs), float(lost), 100.0 * float(size)))
    return tuple(found)


def derive(card: WorkloadCard, tables: Sequence[AccuracyTable]) -> AccuracyTable:
    """A table for `card` from measured `tables` of other networks.

    Charged is agreement: it means the same for networks and images of any accuracy.

    Raises:
        ConfigError: fewer than two measured networks.
    """
    if len({table.workload for table in tables}) < LEAST_NETWORKS:
        raise ConfigError(
            f"accuracy of {card.name!r}: needs measured tables of {LEAST_NETWORKS} other networks"
        )
    measured = [cut for table in tables for cut in _measured_cuts(table)]
    rows = [
        row
        for index, cut in enumerate(card.cuts[:-1])
        for row in _rows_at(cut.name, _place(card, index), measured).values()
    ]
    names = ", ".join(table.name for table in tables)
    return AccuracyTable(
        name=f"assumed-{card.name}",
        title=f"{card.title}: derived from other networks",
        note="nobody measured this network's accuracy here: dvfo accuracy measure replaces this table",
        workload=card.name,
        evidence="assumed",
        source=f"averages over measured cuts of similar depth and width in: {names}",
        charges="agreement",
        machine=tables[0].machine,
        difficulty=Difficulty(),
        rows=columns_of(rows),
    )


def _measured_tables() -> list[AccuracyTable]:
    tables = (load_accuracy_table(name) for name in list_accuracy_tables())
    return [table for table in tables if table.evidence == "measured"]


def _measured_cuts(table: AccuracyTable) -> Iterable[_MeasuredCut]:
    card = load_workload(table.workload)
    last_exit = [row for row in table.all_rows() if row.exit == 0]
    for index, cut in enumerate(card.cuts[:-1]):
        place, rows = _place(card, index), dict[tuple[str, str], Row]()
        for row in last_exit:
            if row.cut == cut.name:
                key = (row.ranking, _relative(row.codec, place))
                if key not in rows or row.bytes_mean < rows[key].bytes_mean:
                    rows[key] = row
        if rows:
            yield _MeasuredCut(cut.name, place, table.workload, rows)


def _relative(codec: str, place: _Place) -> str:
    """`bottleneck48-int6-rans` of 96 channels is `bottleneck1/2-int6`, `int4-keep1-zstd` is `int4-keep1`."""
    if place.is_input:
        return codec
    name = codec.rpartition("-")[0]
    found = re.match(r"bottleneck(\d+)-(.*)", name)
    if found is None:
        return name
    share = Fraction(int(found[1]), int(place.width)).limit_denominator(64)
    return f"bottleneck{share}-{found[2]}"


def _place(card: WorkloadCard, index: int) -> _Place:
    cut, input_elements = card.cuts[index], prod(card.input_shape)
    width = card.input_shape[0] if index == 0 else sum(_channels(tensor.shape) for tensor in cut.tensors)
    return _Place(index == 0, float(card.depth[index]), float(width), cut.elements, input_elements)


def _channels(shape: tuple[int, ...]) -> int:
    return shape[-1] if len(shape) == 2 else shape[0]


def _rows_at(cut: str, at: _Place, measured: list[_MeasuredCut]) -> dict[tuple[str, str], Row]:
    """What the measured cuts say about a cut at a place, by ranking and codec as in `_MeasuredCut`."""
    likeness = np.array([at.likeness(other.place) for other in measured])
    weights = np.exp(likeness - likeness.max())
    weights /= weights.sum()
    found = {}
    for key in dict.fromkeys(
        key for other in measured for key in other.rows if at.is_input == other.place.is_input
    ):
        has = [i for i, other in enumerate(measured) if key in other.rows and weights[i] > 0.0]
        if weights[has].sum() >= LEAST_WEIGHT and len({measured[i].network for i in has}) >= LEAST_NETWORKS:
            found[key] = _average(cut, at, key, [measured[i] for i in has], weights[has])
    return found


def _average(
    cut: str, at: _Place, key: tuple[str, str], measured: list[_MeasuredCut], weights: NDArray[np.float64]
) -> Row:
    share, rows = float(weights.sum()), [other.rows[key] for other in measured]

    def mean(values: list[float]) -> float:
        return float(weights @ np.array(values)) / share

    agreement = share * mean([row.agreement for row in rows]) + (1.0 - share) * GIVEN_UP
    disagreed = 100.0 * (1.0 - agreement)
    changes: dict[str, object] = {
        name: round(mean([getattr(row, name) for row in rows]), 6) for name in _AVERAGED
    }
    for name in _PER_ELEMENT:
        per_element = [
            getattr(row, name) / other.place.elements for row, other in zip(rows, measured, strict=True)
        ]
        changes[name] = round(mean(per_element) * at.elements, 6)
    nearest = rows[int(np.argmax(weights))]
    coder = "" if at.is_input else f"-{nearest.coder}"
    changes |= {
        "cut": cut,
        "codec": key[1] + coder,
        "agreement": round(agreement, 6),
        "lost_by_class": (changes["lost_points"],),
        "disagreed_by_class": (disagreed,),
    }
    return nearest._replace(**changes)  # type: ignore[arg-type]


def _disagreed(row: Row) -> float:
    return 100.0 * (1.0 - row.agreement)
