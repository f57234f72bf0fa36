"""Cost of copying a tensor between a phone's cores and its GPU, fitted to copies that were timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dvfo_env.calibration.fitting import percent_error
from dvfo_env.calibration.headless import CopyRow
from dvfo_env.calibration.laws import FittedCopy, fit_copy
from dvfo_env.calibration.phone.phones import Phone
from dvfo_env.calibration.phone.readers import copy_file, read_copy_rows, source_of
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
        law = fit_copy([row.megabytes for row in own], [getattr(row, attribute) for row in own])
        figures = {
            "error_percent": _error(law, own, attribute),
            "holdout_error_percent": _error(law, unseen, attribute) if unseen else None,
        }
        copies[name] = CopyCost(
            base_ms=_copy(law.base_ms, "ms", phone, source_of(paths[0]), figures),
            ms_per_mb=_copy(law.ms_per_mb, "ms/MB", phone, source_of(paths[0]), figures),
        )
        report.append(
            {
                "device": phone.name,
                "copy": name,
                "base_ms": round(law.base_ms, 3),
                "ms_per_mb": round(law.ms_per_mb, 3),
                "points": len(own),
                "error_percent": figures["error_percent"],
                "holdout_points": len(unseen),
                "holdout_error_percent": figures["holdout_error_percent"],
            }
        )
    return copies, report


def _error(law: FittedCopy, rows: Sequence[CopyRow], attribute: str) -> float:
    """Mean absolute error in percent over some tensors, one way."""
    sizes = np.asarray([row.megabytes for row in rows])
    times = np.asarray([getattr(row, attribute) for row in rows])
    return round(float(percent_error(law.predict(sizes), times).mean()), 1)


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
