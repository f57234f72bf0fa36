"""The fits behind the shipped profiles, by name: one line each, imported only when run."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvfo_env.devices.profile import DeviceProfile
    from dvfo_env.servers.profile import ServerProfile

Rows = list[dict[str, Any]]
"""The report of a fit: one row per law, plain figures by name."""


def _fit(module: str, function: str) -> Callable[[Path], Any]:
    def run(measurements: Path) -> Any:
        return getattr(import_module(f"dvfo_env.calibration.{module}"), function)(measurements)

    return run


DEVICE_FITS: dict[str, Callable[[Path], tuple[list[DeviceProfile], Rows]]] = {
    "tx2": _fit("tx2.fit", "calibrate_tx2"),
    "jetson": _fit("jetson.fit", "calibrate_jetsons"),
    "pis": _fit("pi.fit", "calibrate_pis"),
    "phones": _fit("phone.fit", "calibrate_phones"),
}
"""Name of the fit -> function of the folder of measurements, giving its profiles and report rows."""

SERVER_FITS: dict[str, Callable[[Path], tuple[list[ServerProfile], Rows]]] = {
    "servers": _fit("servers", "calibrate_servers"),
}
"""The same for servers."""
