"""Which settings are worth choosing: fewer bytes, or a better answer, than every other at their cut."""

from __future__ import annotations

from collections.abc import Sequence

from dvfo_env.accuracy.table import Row


def charged_points(row: Row, charges: str) -> float:
    """What the environment charges for a setting, in points, not below 0."""
    missing = row.lost_points if charges == "accuracy" else 100.0 * (1.0 - row.agreement)
    return max(missing, 0.0)


def worth_choosing(rows: Sequence[Row], charges: str) -> tuple[Row, ...]:
    """Rows that no other of the same cut, exit and task beats in bytes and in what is charged, in order.

    Of rows equal in both, the one that encodes faster. `charges` is "accuracy" or "agreement".
    """
    chosen: list[Row] = []
    for place in dict.fromkeys((row.cut, row.exit, row.task) for row in rows):
        here = [row for row in rows if (row.cut, row.exit, row.task) == place]
        least = float("inf")
        for row in sorted(
            here, key=lambda row: (row.bytes_mean, charged_points(row, charges), row.encode_ms)
        ):
            if charged_points(row, charges) < least:
                least = charged_points(row, charges)
                chosen.append(row)
    kept = {id(row) for row in chosen}
    return tuple(row for row in rows if id(row) in kept)
