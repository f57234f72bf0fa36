"""How far a profile lies from points it has not seen, through the model that scenarios use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dvfo_env.calibration.own.profile import legal_rows, place_of
from dvfo_env.calibration.own.table import IDLE, Row
from dvfo_env.devices.model import DeviceModel
from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.errors import MeasurementError
from dvfo_env.workloads import load_workload


def compare_rows(profile: DeviceProfile, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Errors of `profile` on measured points: one row per quantity, workload and mapping.

    Columns: quantity, workload, mapping, points, error_percent (mean absolute), worst_percent, worst_at.

    Raises:
        MeasurementError: a point is at a clock, a workload or a mapping that the profile does not have.
        ConfigError: a workload has no card.
    """
    rows = [row for row in legal_rows(rows, profile) if row.workload != IDLE]
    if not rows:
        raise MeasurementError("nothing to compare with: only idle rows")
    errors: dict[tuple[str, str, str], list[tuple[float, Row]]] = {}
    models: dict[str, DeviceModel] = {}
    for row in rows:
        place = place_of(row, profile.mappings)
        if place is None or place not in profile.latency.get(row.workload, {}):
            raise MeasurementError(f"{row.where}: {row.workload} on {row.mapping}: not in {profile.name}")
        if row.workload not in models:
            models[row.workload] = DeviceModel(profile, load_workload(row.workload))
        model = models[row.workload]
        latency = float(model.head_latency_ms(place, *row.clocks)[-1, 0, 0, 0])
        _add(errors, ("latency", row.workload, place), latency, row.latency_ms, row)
        if row.power_mw is not None and profile.power is not None:
            energy = float(model.head_energy_mj(place, *row.clocks, "board")[-1, 0, 0, 0])
            _add(errors, ("power", row.workload, place), 1000.0 * energy / latency, row.power_mw, row)
    return [_summary(key, found) for key, found in errors.items()]


def _add(
    errors: dict[tuple[str, str, str], list[tuple[float, Row]]],
    key: tuple[str, str, str],
    predicted: float,
    measured: float | None,
    row: Row,
) -> None:
    if measured is not None:
        errors.setdefault(key, []).append((abs(predicted / measured - 1.0) * 100.0, row))


def _summary(key: tuple[str, str, str], found: list[tuple[float, Row]]) -> dict[str, Any]:
    worst, row = max(found, key=lambda pair: pair[0])
    clocks = zip(("cpu", "gpu", "mem"), row.clocks, strict=True)
    return {
        "quantity": key[0],
        "workload": key[1],
        "mapping": key[2],
        "points": len(found),
        "error_percent": round(float(np.mean([error for error, _ in found])), 3),
        "worst_percent": round(worst, 3),
        "worst_at": " ".join(f"{name} {mhz:g}" for name, mhz in clocks if mhz),
    }
