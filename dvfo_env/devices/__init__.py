"""Devices: operating points, latency and power laws, mappings; profiles as data files with provenance."""

from dvfo_env.devices.library import list_devices, load_device
from dvfo_env.devices.model import DeviceModel
from dvfo_env.devices.predict import predict
from dvfo_env.devices.profile import DeviceProfile, EnergyDefinition
from dvfo_env.devices.report import describe, opening_lines

__all__ = [
    "DeviceModel",
    "DeviceProfile",
    "EnergyDefinition",
    "describe",
    "list_devices",
    "load_device",
    "opening_lines",
    "predict",
]
