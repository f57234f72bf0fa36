"""Which settings are worth choosing: fewer bytes, or a better answer, than every other at their cut."""

from __future__ import annotations

from collections.abc import Sequence

from dvfo_env.accuracy.table import Row


def worth_choosing(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows that no other of the same cut, exit and task beats in bytes and agreement, in their order.

    Of rows equal in both, the one that encodes faster.
    """
    chosen: list[Row] = []
    for place in dict.fromkeys((row.cut, row.exit, row.task) for row in rows):
        here = [row for row in rows if (row.cut, row.exit, row.task) == place]
        best = -1.0
        for row in sorted(here, key=lambda row: (row.bytes_mean, -row.agreement, row.encode_ms)):
            if row.agreement > best:
                best = row.agreement
                chosen.append(row)
    kept = {id(row) for row in chosen}
    return tuple(row for row in rows if id(row) in kept)
