"""The legal values of every action part, cut down to what a scenario leaves free."""

from __future__ import annotations

from collections.abc import Sequence

from dvfo_env.devices import DeviceModel
from dvfo_env.errors import ConfigError
from dvfo_env.scenario import Scenario


def action_choices(
    scenario: Scenario, device: DeviceModel, cut_names: Sequence[str], level_names: tuple[str, ...]
) -> dict[str, tuple[str | float, ...]]:
    """Values of every action part, in physical units or names, in the order of their indices.

    Raises:
        ConfigError: the scenario asks for a value that the device, network or table does not have, or leaves
            out running everything locally.
    """
    axes = scenario.action
    legal: dict[str, tuple[str | float, ...]] = {
        "cut": tuple(cut_names),
        "mapping": device.mappings,
        "cpu_mhz": device.cpu_mhz,
        "gpu_mhz": device.gpu_mhz,
        "mem_mhz": device.mem_mhz,
        "compression": level_names,
    }
    wanted = {
        "cut": axes.cuts,
        "mapping": axes.mappings,
        "cpu_mhz": axes.cpu_mhz,
        "gpu_mhz": axes.gpu_mhz,
        "mem_mhz": axes.mem_mhz,
        "compression": axes.compression,
    }
    choices: dict[str, tuple[str | float, ...]] = {}
    for part, values in wanted.items():
        if values == "all":
            choices[part] = legal[part]
            continue
        field = {"cut": "cuts", "mapping": "mappings"}.get(part, part)
        for value in values:
            if part == "mapping":
                device.validate_mapping(str(value))
            elif value not in legal[part]:
                known = ", ".join(str(v) for v in legal[part])
                raise ConfigError(f"{scenario.name}: action.{field}: {value!r} is not one of: {known}")
        choices[part] = tuple(values) if part == "mapping" else tuple(v for v in legal[part] if v in values)
    if choices["cut"][-1] != cut_names[-1]:
        raise ConfigError(
            f"{scenario.name}: action.cuts: must include {cut_names[-1]!r} (everything local): "
            "it is what a timed-out request falls back on"
        )
    return choices
