"""Writing a device profile so that a person can review it: sorted keys, rounded figures, one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dvfo_env.devices.profile import DeviceProfile

SIGNIFICANT_DIGITS = 5


def profile_yaml(profile: DeviceProfile) -> str:
    """A profile as YAML text: keys sorted, absent fields left out, figures to five significant digits."""
    data = _plain(profile.model_dump(mode="json", exclude_none=True, exclude_defaults=False))
    return yaml.safe_dump(data, sort_keys=True, allow_unicode=True, width=110)


def write_profile(profile: DeviceProfile, path: Path | str) -> None:
    """Write a profile to a YAML file that `load_device` reads.

    Raises:
        OSError: the file cannot be written.
    """
    Path(path).write_text(profile_yaml(profile), encoding="utf-8")


def rounded(value: float) -> float:
    """`value` to five significant digits."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _plain(value: Any, exact: bool = False) -> Any:
    if isinstance(value, dict):
        filled = {key: item for key, item in value.items() if item not in ({}, [], "")}
        return {key: _plain(item, exact=str(key).endswith("mhz")) for key, item in filled.items()}
    if isinstance(value, list):
        return [_plain(item, exact) for item in value]
    if isinstance(value, float) and not exact:  # five digits would move a clock of 1236.75 MHz
        return rounded(value)
    return value
