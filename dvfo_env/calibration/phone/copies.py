"""Cost of copying a tensor between a phone's cores and its GPU, fitted to copies that were timed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvfo_env.calibration.phone.phones import Phone
from dvfo_env.calibration.phone.readers import copy_file, fit_copy, read_copy_rows, source_of
from dvfo_env.devices.profile import CopyCost
from dvfo_env.schema import Coefficient


def copy_costs(measurements: Path, phone: Phone) -> tuple[dict[str, CopyCost], list[dict[str, Any]]]:
    """Cost of a copy each way, fitted to one network's tensors and held out on the sizes of another's."""
    if phone.copies is None:
        return {}, []
    paths = [copy_file(measurements, timed.network, timed.phone) for timed in phone.copies]
    own, other = (read_copy_rows(path) for path in paths)
    seen = {row.megabytes for row in own}
    unseen = [row for row in other if row.megabytes not in seen]
    copies, report = {}, []
    for name, attribute in (("cpu>gpu", "to_gpu_ms"), ("gpu>cpu", "to_cpu_ms")):
        times = [getattr(row, attribute) for row in own]
        base, slope, error = fit_copy([row.megabytes for row in own], times)
        held = [abs((base + slope * r.megabytes) / getattr(r, attribute) - 1.0) * 100.0 for r in unseen]
        figures = {
            "error_percent": round(error, 1),
            "holdout_error_percent": round(sum(held) / len(held), 1) if held else None,
        }
        copies[name] = CopyCost(
            base_ms=_copy(base, "ms", phone, source_of(paths[0]), figures),
            ms_per_mb=_copy(slope, "ms/MB", phone, source_of(paths[0]), figures),
        )
        report.append(
            {
                "device": phone.name,
                "copy": name,
                "base_ms": round(base, 3),
                "ms_per_mb": round(slope, 3),
                "points": len(own),
                "error_percent": figures["error_percent"],
                "holdout_points": len(held),
                "holdout_error_percent": figures["holdout_error_percent"],
            }
        )
    return copies, report


def _copy(
    value: float, unit: str, phone: Phone, source: str, figures: Mapping[str, float | None]
) -> Coefficient:
    if phone.copies_borrowed:
        return Coefficient(
            value=round(value, 3),
            unit=unit,
            evidence="assumed",
            source=source,
            range=(round(0.5 * value, 3), round(6.0 * value, 3)),
            note=f"measured on {phone.copies_borrowed}; range: half, to another session of that phone",
        )
    return Coefficient(
        value=round(value, 3),
        unit=unit,
        evidence="fitted",
        source=source,
        error_percent=figures["error_percent"],
        holdout_error_percent=figures["holdout_error_percent"],
    )
