"""One prediction for one operating point, as `dvfo predict` prints it."""

from __future__ import annotations

from typing import Any

import numpy as np

from dvfo_env.devices.library import load_device
from dvfo_env.devices.model import DeviceModel
from dvfo_env.devices.profile import DeviceProfile, EnergyDefinition
from dvfo_env.errors import ConfigError


def predict(
    device: str | DeviceProfile,
    workload: str,
    mapping: str,
    cpu_mhz: float | None,
    gpu_mhz: float | None,
    mem_mhz: float | None,
    cut: str | int | None = None,
    energy: EnergyDefinition = "board",
) -> dict[str, Any]:
    """Latency, power and energy of the head before `cut` (default: whole network) at one operating point.

    A clock that the device does not have is None or 0. `cut` is a name or an index (negative counts from the
    end).
    Returns latency_ms; power_mw and energy_mj, each with total, idle, cpu, gpu, memory, or None where the
    profile is latency only; and the point itself.

    Raises:
        ConfigError: unknown device, workload, mapping or cut, or a clock that is not a legal point.
    """
    from dvfo_env.workloads import load_workload

    profile = device if isinstance(device, DeviceProfile) else load_device(device)
    card = load_workload(workload)
    model = DeviceModel(profile, card)
    model.validate_mapping(mapping)
    point = (
        _legal("cpu_mhz", cpu_mhz, model.cpu_mhz, profile.name),
        _legal("gpu_mhz", gpu_mhz, model.gpu_mhz, profile.name),
        _legal("mem_mhz", mem_mhz, model.mem_mhz, profile.name),
    )
    names = [str(getattr(c, "name", c)) for c in card.cuts]
    index = _cut_index(cut, names, card.name)
    latency_ms = float(model.head_latency_ms(mapping, *point)[index, 0, 0, 0])
    power_mw = energy_mj = None
    if profile.power is not None:
        parts = {
            name: float(v[index, 0, 0, 0])
            for name, v in model.head_energy_parts_mj(mapping, *point, energy).items()
        }
        energy_mj = {"total": sum(parts.values()), **parts}
        per_second = 1000.0 / latency_ms if latency_ms > 0.0 else 0.0
        power_mw = {name: value * per_second for name, value in energy_mj.items()}
        if latency_ms == 0.0:
            idle = float(np.ravel(model.idle_power_mw(*point, energy))[0])
            power_mw |= {"total": idle, "idle": idle}
    return {
        "device": profile.name,
        "workload": card.name,
        "mapping": mapping,
        "cpu_mhz": point[0],
        "gpu_mhz": point[1],
        "mem_mhz": point[2],
        "cut": names[index],
        "cut_index": index,
        "energy_definition": energy,
        "latency_ms": latency_ms,
        "power_mw": power_mw,
        "energy_mj": energy_mj,
    }


def _legal(field: str, value: float | None, legal: tuple[float, ...], device: str) -> float:
    for point in legal:
        if abs((value or 0.0) - point) < 1e-6:
            return point
    if legal == (0.0,):
        raise ConfigError(f"{field}: {value:g} given, but {device} has no such clock; leave it out")
    found = "nothing given" if value is None else f"{value:g}"
    raise ConfigError(f"{field}: {found}, expected one of {', '.join(f'{point:g}' for point in legal)}")


def _cut_index(cut: str | int | None, names: list[str], workload: str) -> int:
    if cut is None:
        return len(names) - 1
    text = str(cut)
    if text in names:
        return names.index(text)
    if text.lstrip("-").isdigit() and -len(names) <= int(text) < len(names):
        return int(text) % len(names)
    raise ConfigError(
        f"cut: {text!r} is not an index 0-{len(names) - 1} or one of {workload}'s: {', '.join(names)}"
    )
