"""Small parts that every law fitted to a user's table needs: its `Fit`, its conditions, its card."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dvfo_env.calibration.fitting import Errors
from dvfo_env.calibration.own.table import Row
from dvfo_env.devices.profile import Fit
from dvfo_env.errors import ConfigError
from dvfo_env.workloads import WorkloadCard, load_workload


def fit_record(points: int, errors: Errors, method: str, conditions: str) -> Fit:
    """Errors of a fit as a profile records them; NaN is left out."""
    return Fit(
        points=points,
        conditions=conditions,
        error_percent=known(errors.fit),
        holdout_error_percent=known(errors.holdout),
        holdout_worst_percent=known(errors.holdout_worst_split),
        holdout_method=method,
    )


def known(value: float) -> float | None:
    """None for NaN, and for the error of a law that passes through every point because it must."""
    return None if math.isnan(value) or value < 1e-6 else value


def conditions(rows: Sequence[Row]) -> str:
    """The clocks that rows cover, in words."""
    parts = []
    for label, name in (("CPU", "cpu_mhz"), ("GPU", "gpu_mhz"), ("memory", "mem_mhz")):
        clocks = sorted({getattr(row, name) for row in rows} - {None})
        if clocks:
            parts.append(
                f"{label} {'-'.join(f'{mhz:g}' for mhz in dict.fromkeys((clocks[0], clocks[-1])))} MHz"
            )
    return ", ".join(["own measurement", *(parts or ["the governor's clocks"])])


def card_of(workload: str) -> WorkloadCard | None:
    """The card of a workload, None where there is none of that name."""
    try:
        return load_workload(workload)
    except ConfigError:
        return None
