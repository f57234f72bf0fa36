"""From an accuracy table to compression levels: the few settings worth choosing from at each cut."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.accuracy.pareto import charged_points, worth_choosing
from dvfo_env.accuracy.table import AccuracyTable, Row
from dvfo_env.errors import ConfigError
from dvfo_env.workloads import WorkloadCard

#: Settings that lose more than this are never worth sending; points.
HOPELESS_POINTS = 25.0


class Levels(NamedTuple):
    """Compression levels of a network, most bytes first; K cuts with something to send, Z levels, D classes.

    A cut with fewer settings than Z repeats its last one. `rows` [K][Z] are the settings themselves, `cuts`
    the names of the cuts in the order of the card. `lost_points` float64 [K, Z, D] is what the environment
    charges for images of each class of difficulty, hardest first, `shares` [D] how many they are.
    """

    cuts: tuple[str, ...]
    rows: tuple[tuple[Row, ...], ...]
    bytes: NDArray[np.float64]
    encode_ms: NDArray[np.float64]
    decode_ms: NDArray[np.float64]
    lost_points: NDArray[np.float64]
    shares: NDArray[np.float64]


def compression_levels(
    table: AccuracyTable,
    card: WorkloadCard,
    most: int,
    by_difficulty: bool = False,
    task: str = "classify",
    most_points_lost: float | None = None,
) -> Levels:
    """The Pareto-optimal settings of every cut in (mean bytes, points lost), at most `most` of them.

    Only the network's last exit (0) and `task` count. Settings that lose more than `HOPELESS_POINTS` are left
    out unless a cut has no other; with `most_points_lost` those that lose more on average are left out, and
    so is a cut that has no other. Without `by_difficulty` there is one class with the average.

    Raises:
        ConfigError: the table is of another network, or has no setting at any cut of the card.
    """
    if table.workload != card.name:
        raise ConfigError(f"accuracy table {table.name!r} is of {table.workload!r}, not of {card.name!r}")
    of_cut: dict[str, list[Row]] = {}
    for row in table.all_rows():
        if row.exit == 0 and row.task == task and _allowed(row, table.charges, most_points_lost):
            of_cut.setdefault(row.cut, []).append(row)
    cuts = tuple(cut.name for cut in card.cuts[:-1] if cut.name in of_cut)
    if not cuts:
        limit = "" if most_points_lost is None else f" that loses at most {most_points_lost:g} points"
        raise ConfigError(
            f"accuracy table {table.name!r} has no {task!r} setting at a cut of {card.name!r}{limit}"
        )
    chosen = [_thinned(_worth_offering(of_cut[cut], table.charges), table.charges, most) for cut in cuts]
    longest = max(len(rows) for rows in chosen)
    rows = tuple((*found, *(found[-1:] * (longest - len(found)))) for found in chosen)
    if by_difficulty:
        lost = [[_by_class(table, row) for row in of_one] for of_one in rows]
        shares = table.difficulty.shares
    else:
        lost = [[(charged_points(row, table.charges),) for row in of_one] for of_one in rows]
        shares = (1.0,)
    return Levels(
        cuts=cuts,
        rows=rows,
        bytes=np.array([[row.bytes_mean for row in of_one] for of_one in rows]),
        encode_ms=np.array([[row.encode_ms for row in of_one] for of_one in rows]),
        decode_ms=np.array([[row.decode_ms for row in of_one] for of_one in rows]),
        lost_points=np.array(lost),
        shares=np.array(shares),
    )


def _allowed(row: Row, charges: str, most_points_lost: float | None) -> bool:
    return most_points_lost is None or charged_points(row, charges) <= most_points_lost


def _by_class(table: AccuracyTable, row: Row) -> tuple[float, ...]:
    if table.charges == "agreement":
        return row.disagreed_by_class
    return tuple(max(points, 0.0) for points in row.lost_by_class)


def _worth_offering(rows: list[Row], charges: str) -> list[Row]:
    """Settings that no other beats in both bytes and points, hopeless ones left out, most bytes first."""
    useful = [row for row in rows if charged_points(row, charges) <= HOPELESS_POINTS]
    if not useful:
        useful = [min(rows, key=lambda row: charged_points(row, charges))]
    return sorted(worth_choosing(useful, charges), key=lambda row: -row.bytes_mean)


def _thinned(front: list[Row], charges: str, most: int) -> list[Row]:
    """At most `most` settings of a front: both ends stay, and each time the one whose absence costs the least
    area under (log bytes, points) goes.
    """
    kept = list(front)
    while len(kept) > max(most, 1):
        if len(kept) == 2:
            del kept[1]
            continue
        size = np.log([row.bytes_mean for row in kept])
        points = [charged_points(row, charges) for row in kept]
        area = (size[:-2] - size[1:-1]) * np.subtract(points[2:], points[1:-1])
        del kept[int(np.argmin(area)) + 1]
    return kept
