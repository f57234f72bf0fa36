"""Every coefficient of a profile by its dotted name, so that tables of evidence cannot forget one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from dvfo_env.devices.profile import ClockTable, DeviceProfile, LayerTable, SegmentTable
from dvfo_env.schema import Coefficient


def coefficients_of(profile: DeviceProfile, workload: str | None = None) -> dict[str, Coefficient]:
    """Coefficients by dotted name; only those `workload` uses where one is given.

    A table counts as one coefficient (its sum). Order is that of the file.
    """
    found = dict(_walk(profile, ""))
    if workload is None:
        return found
    per_workload = ("latency.", "power.board.activity.", "power.rails.activity.", "power.dram_gb.")
    return {
        name: coefficient
        for name, coefficient in found.items()
        if not name.startswith(per_workload)
        or any(f"{name}.".startswith(f"{prefix}{workload}.") for prefix in per_workload)
    }


def _walk(value: Any, path: str) -> Iterator[tuple[str, Coefficient]]:
    if isinstance(value, Coefficient):
        yield path, value
    elif isinstance(value, LayerTable | SegmentTable | ClockTable):
        yield path, _table_as_coefficient(value)
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _walk(getattr(value, field), f"{path}.{field}" if path else field)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}")
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}.{index}")


def _table_as_coefficient(table: LayerTable | SegmentTable | ClockTable) -> Coefficient:
    times: dict[str, float]
    bounds: tuple[float, float] | None
    if isinstance(table, ClockTable):
        times = {name: at_clocks[-1] for name, at_clocks in table.segment_ms.items()}
        parts, bounds = "segments at the highest clocks", table.range_ms
    elif isinstance(table, SegmentTable):
        times, parts, bounds = table.segment_ms, "segments", table.range_ms
    else:
        times, parts, bounds = table.layer_ms, "layers", None
    return Coefficient(
        value=sum(times.values()),
        unit="ms",
        evidence=table.evidence,
        source=table.source,
        error_percent=table.fit.error_percent,
        holdout_error_percent=table.fit.holdout_error_percent,
        range=bounds,
        note=f"sum of {len(times)} {parts}; {table.fit.conditions}",
    )
