"""Checks of shipped device profiles against the raw measurements a user has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvfo_env.calibration.tx2_validate import validate_tx2
from dvfo_env.devices.library import load_device
from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.errors import ConfigError

Validator = Callable[[DeviceProfile, Path], list[dict[str, Any]]]

VALIDATORS: dict[str, Validator] = {"jetson-tx2": validate_tx2}
"""How each shipped device is checked; each gives rows of quantity, name, points, error_percent,
worst_percent.
"""


def validate_profile(name: str, measurements: Path | str) -> list[dict[str, Any]]:
    """Recompute the errors of the shipped profile `name` against the raw files in a folder.

    Raises:
        ConfigError: no check is known for this device.
        MeasurementError: a data set is missing or unreadable.
    """
    if name not in VALIDATORS:
        raise ConfigError(f"device {name!r} has no check; known: {', '.join(sorted(VALIDATORS))}")
    return VALIDATORS[name](load_device(name), Path(measurements))
