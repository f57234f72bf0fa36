"""An accuracy table for a network nobody has weights of here, derived from the measured ones and labelled so.

At each cut every setting gets the average over the measured cuts of other networks, those counting most that
lie at a similar depth (share of the FLOPs done) and are of similar width (channels; elements at the input):

    weight = exp(-((depth - depth_j) / 0.15)^2 / 2 - (ln(width / width_j) / ln 4)^2 / 2)

Points lost are averaged as they are; bytes and times per element. `leave_one_out` says how well this works on
the networks that were measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import log, prod
from typing import NamedTuple

import numpy as np

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
#: What a setting needs behind it to be derived: measured cuts of at least this many networks.
LEAST_NETWORKS = 2
_AVERAGED = (
    "accuracy", "accuracy_low", "accuracy_high", "agreement", "agreement_low", "agreement_high",
    "lost_points", "lost_low", "lost_high",
)  # fmt: skip
_PER_ELEMENT = ("bytes_mean", "bytes_p95", "encode_ms", "decode_ms")


@dataclass(frozen=True)
class _Place:
    """Where a cut lies: at the input or not, depth, width (channels, or elements at the input), elements."""

    is_input: bool
    depth: float
    width: float
    elements: int


class _Measured(NamedTuple):
    place: _Place
    network: str
    row: Row


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
    return _derived(card.name)


def leave_one_out() -> tuple[LeftOut, ...]:
    """How far a network's measured settings are from what the other networks say about them."""
    tables = _measured_tables()
    found = []
    for table in tables:
        card = load_workload(table.workload)
        guess = derive(card, [other for other in tables if other.workload != table.workload])
        told = {(row.cut, row.codec, row.ranking): row for row in guess.all_rows()}
        pairs = [
            (row, told[key])
            for row in table.all_rows()
            if (key := (row.cut, row.codec, row.ranking)) in told and row.agreement > 0.75
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
    by_setting: dict[tuple[str, str], list[_Measured]] = {}
    for measured in _measured_rows(tables):
        by_setting.setdefault((measured.row.codec, measured.row.ranking), []).append(measured)
    rows = [
        _average(cut.name, _place(card, index), found)
        for index, cut in enumerate(card.cuts[:-1])
        for found in by_setting.values()
        if len({m.network for m in found if m.place.is_input == (index == 0)}) >= LEAST_NETWORKS
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


@cache
def _derived(workload: str) -> AccuracyTable:
    tables = [table for table in _measured_tables() if table.workload != workload]
    return derive(load_workload(workload), tables)


def _measured_tables() -> list[AccuracyTable]:
    tables = (load_accuracy_table(name) for name in list_accuracy_tables())
    return [table for table in tables if table.evidence == "measured"]


def _measured_rows(tables: Iterable[AccuracyTable]) -> Iterable[_Measured]:
    for table in tables:
        card = load_workload(table.workload)
        places = {cut.name: _place(card, index) for index, cut in enumerate(card.cuts[:-1])}
        for row in table.all_rows():
            if row.exit == 0 and row.cut in places:
                yield _Measured(places[row.cut], table.workload, row)


def _place(card: WorkloadCard, index: int) -> _Place:
    cut = card.cuts[index]
    if index == 0:
        return _Place(True, 0.0, float(prod(card.input_shape)), cut.elements)
    channels = sum(_channels(tensor.shape) for tensor in cut.tensors)
    return _Place(False, float(card.depth[index]), float(channels), cut.elements)


def _channels(shape: tuple[int, ...]) -> int:
    return shape[-1] if len(shape) == 2 else shape[0]


def _average(cut: str, at: _Place, found: list[_Measured]) -> Row:
    near = [m for m in found if m.place.is_input == at.is_input]
    distance = [
        -0.5 * ((at.depth - m.place.depth) / DEPTH_SCALE) ** 2
        - 0.5 * (log(at.width / m.place.width) / WIDTH_SCALE) ** 2
        for m in near
    ]
    weights = np.exp(np.array(distance) - max(distance))
    weights /= weights.sum()

    def mean(name: str, per: str = "") -> float:
        values = [getattr(m.row, name) / (m.place.elements if per else 1) for m in near]
        return round(float(weights @ np.array(values)) * (at.elements if per else 1), 6)

    disagreed = 100.0 * (1.0 - mean("agreement"))
    changes: dict[str, object] = {name: mean(name) for name in _AVERAGED}
    changes |= {name: mean(name, per="element") for name in _PER_ELEMENT}
    changes |= {"cut": cut, "lost_by_class": (changes["lost_points"],), "disagreed_by_class": (disagreed,)}
    return near[0].row._replace(**changes)  # type: ignore[arg-type]


def _disagreed(row: Row) -> float:
    return 100.0 * (1.0 - row.agreement)
