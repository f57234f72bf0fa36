"""Which coefficients a scenario can reach: what its choices leave in play, each with its evidence.

A coefficient that no legal action of the scenario can bring into the cost (the power of a core that no
mapping uses, the delay of a clock that is pinned, any power where energy does not count) is not listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from dvfo_env.accuracy import AccuracyTable
from dvfo_env.devices import DeviceModel
from dvfo_env.devices.profile import ClockLaw, LayerTable
from dvfo_env.scenario import Scenario
from dvfo_env.schema import Coefficient
from dvfo_env.servers import ServerModel
from dvfo_env.uplinks import Uplink

Coefficients = dict[str, Coefficient]
Choices = Mapping[str, tuple[str | float, ...]]


def reached_coefficients(
    scenario: Scenario,
    choices: Choices,
    device: DeviceModel,
    uplink: Uplink,
    server: ServerModel,
    accuracy: AccuracyTable,
) -> Coefficients:
    """Every coefficient that the scenario's choices reach, by dotted name, its part first."""
    found = {
        f"device.{name}": c
        for name, c in device.coefficients().items()
        if _device_reaches(name, scenario, choices, device)
    }
    sends = len(choices["cut"]) > 1
    if not sends:
        return found
    counts = _energy_counts(scenario)
    found["device.encoder_ms_ghz"] = device.encoder_ms_ghz
    for name, c in uplink.evidence().items():
        if name != "receive_mw_per_mbps" and (counts or not name.startswith(("transmit_", "receive_"))):
            found[f"uplink.{name}"] = c  # answers are short: receiving costs the base power only
    inside = any(cut not in (device.card.cuts[0].name, device.card.cuts[-1].name) for cut in choices["cut"])
    if inside:
        found |= _splits(choices, device)
    for name, c in server.coefficients().items():
        if inside or name != "tail_share":
            found[f"server.{name}"] = c
    return {**found, **accuracy.coefficients()}


def assumed(coefficients: Coefficients) -> Coefficients:
    """Those that nobody measured or fitted."""
    return {name: c for name, c in coefficients.items() if c.evidence == "assumed"}


def assumed_line(coefficients: Coefficients) -> str:
    """One sentence on what a scenario's numbers rest on."""
    words = assumed_in_words(coefficients)
    if not words:
        return "Every number that this scenario can reach is measured or fitted to measurements."
    return f"Assumed, not measured ({len(assumed(coefficients))} of {len(coefficients)}): {words}."


def assumed_in_words(coefficients: Coefficients) -> str:
    """What is assumed, grouped; empty where nothing is."""
    groups: dict[str, int] = {}
    for name in assumed(coefficients):
        parts = name.split(".")
        group = ".".join(parts[:2]) if parts[0] in ("device", "server") else name
        groups[group] = groups.get(group, 0) + 1
    return ", ".join(f"{group} ({n})" if n > 1 else group for group, n in groups.items())


def _splits(choices: Choices, device: DeviceModel) -> Coefficients:
    """How each mapping's time is shared out over the segments, where nobody measured the segments."""
    found = {}
    for name in sorted(_base_mappings(choices)):
        law = device.profile.latency[device.card.name].get(name)
        if law is None or isinstance(law, LayerTable):
            continue
        note = law.split_note or ("by FLOPs and traffic" if isinstance(law, ClockLaw) else "")
        if note:
            found[f"device.split.{name}"] = Coefficient(
                value=1.0,
                unit="of the whole network's time",
                evidence="assumed",
                source="the network was measured whole",
                note=note,
            )
    return found


def _base_mappings(choices: Choices) -> set[str]:
    """Mappings that the chosen ones are made of: a composite one names several."""
    return {part for mapping in choices["mapping"] for part in re.split("[>@]", str(mapping))}


def _energy_counts(scenario: Scenario) -> bool:
    return scenario.objective.eta_range[1] > 0.0 or scenario.battery is not None


def _device_reaches(name: str, scenario: Scenario, choices: Choices, device: DeviceModel) -> bool:
    mappings = _base_mappings(choices)
    domain, _, rest = name.partition(".")
    clock = {"cpu": "cpu_mhz", "gpu": "gpu_mhz", "memory": "mem_mhz"}.get(domain)
    if clock is not None:
        return len(choices[clock]) > 1
    if domain == "mappings":
        return rest.split(".")[0] in mappings
    if domain == "latency":
        return rest.removeprefix(f"{device.card.name}.").split(".")[0] in mappings
    if domain == "copies":
        return any(">" in str(mapping) for mapping in choices["mapping"])
    if domain == "thermal":
        return scenario.thermal.enabled
    if domain == "power":
        return _power_reaches(rest, scenario, choices, device, mappings)
    return True


def _power_reaches(
    name: str, scenario: Scenario, choices: Choices, device: DeviceModel, mappings: Iterable[str]
) -> bool:
    heats = scenario.thermal.enabled and device.profile.thermal is not None
    meter, _, rest = name.partition(".")
    if meter in ("board", "rails"):
        wanted = "rails" if scenario.objective.energy == "rails" else "board"
        counted = _energy_counts(scenario) and meter == wanted
        if not (counted or (meter == "board" and (heats or scenario.battery is not None))):
            return False
    elif not (_energy_counts(scenario) or heats):
        return False
    used = [device.profile.mappings[m] for m in mappings if m in device.profile.mappings]
    used.append(device.profile.mappings[device.profile.out_of_the_box])
    kind, _, which = rest.partition(".")
    if kind == "cores":
        return which.split(".")[0] in {mapping.cluster for mapping in used}
    if kind == "gpu" or kind == "activity":
        return any(mapping.kind == "gpu" for mapping in used)
    if kind == "mem_idle_mw":
        return device.mem_mhz[int(which)] in choices["mem_mhz"]
    if meter == "cpu_voltage":
        return len(choices["cpu_mhz"]) > 1
    return True
