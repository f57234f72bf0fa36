"""Which coefficients a scenario can reach: what its choices leave in play, each with its evidence.

A coefficient that no legal action of the scenario can bring into the cost (the power of a core that no
mapping uses, the delay of a clock that is pinned, any power where energy does not count) is not listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from dvfo_env.accuracy import AccuracyTable
from dvfo_env.devices import DeviceModel
from dvfo_env.devices.profile import Anchor, ClockLaw, LayerTable
from dvfo_env.scenario import Scenario
from dvfo_env.schema import Coefficient
from dvfo_env.servers import ServerModel
from dvfo_env.uplinks import Uplink

Coefficients = dict[str, Coefficient]

KNOWN_DIFFICULTY = Coefficient(
    value=1.0,
    unit="share of requests whose class is told rightly",
    evidence="assumed",
    source="no predictor of difficulty was measured",
    range=(0.5, 1.0),
    note="classes and what they lose are measured; that the device knows a frame's class in time is not",
)
"""What `requests.difficulty: known` takes for granted."""
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
    if scenario.requests.difficulty == "known":
        found["requests.difficulty"] = KNOWN_DIFFICULTY
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
    groups: dict[str, list[str]] = {}
    for name in assumed(coefficients):
        groups.setdefault(".".join(name.split(".")[:2]), []).append(name)
    return ", ".join(
        names[0] if len(names) == 1 else f"{group} ({len(names)})" for group, names in groups.items()
    )


def _splits(choices: Choices, device: DeviceModel) -> Coefficients:
    """How each mapping's time is shared out over the segments, where nobody measured the segments."""
    found = {}
    for name in sorted(_base_mappings(choices)):
        law = device.profile.latency[device.card.name].get(name)
        if law is None or isinstance(law, LayerTable):
            continue
        note = law.split_note
        if isinstance(law, ClockLaw) or "assumed" in note:  # else the note says how segments were measured
            found[f"device.split.{name}"] = Coefficient(
                value=1.0,
                unit="of the whole network's time",
                evidence="assumed",
                source="the network was measured whole",
                note=note or "by FLOPs and traffic",
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
        return rest.split(".")[0] in mappings and _energy_counts(scenario)
    if domain == "latency":
        mapping, _, term = rest.removeprefix(f"{device.card.name}.").partition(".")
        law = device.profile.latency[device.card.name].get(mapping)
        if isinstance(law, ClockLaw) and law.anchor is not None and _pinned_at(law.anchor, choices):
            return mapping in mappings and term.startswith("anchor")  # the law passes through it
        return mapping in mappings
    if domain == "copies":
        return any(">" in str(mapping) for mapping in choices["mapping"])
    if domain == "thermal":
        return scenario.thermal.enabled
    if domain == "power":
        return _power_reaches(rest, scenario, choices, device, mappings)
    return True


def _pinned_at(anchor: Anchor, choices: Choices) -> bool:
    """Whether every clock stays where the anchor was measured."""
    clocks = (("cpu_mhz", anchor.cpu_mhz), ("gpu_mhz", anchor.gpu_mhz), ("mem_mhz", anchor.mem_mhz))
    return all(
        len(choices[axis]) == 1 and (mhz is None or choices[axis][0] in (mhz, 0.0)) for axis, mhz in clocks
    )


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
    if not used:
        return True
    kind, _, which = rest.partition(".")
    if kind == "cores":
        cluster, _, term = which.partition(".")
        busy = {m.busy_cores.value if m.busy_cores else m.threads for m in used if m.cluster == cluster}
        if device.profile.mappings[device.profile.out_of_the_box].cluster == cluster:
            busy.add(1)  # the one that encodes
        # with one number of busy cores only the sum of a cluster's two terms is reached
        return len(busy) > (1 if term == "cluster_mw" else 0)
    if kind == "gpu" or kind == "activity":
        return any(mapping.kind == "gpu" for mapping in used)
    if kind == "mem_idle_mw":
        return device.mem_mhz[int(which)] in choices["mem_mhz"]
    if meter == "cpu_voltage":
        return len(choices["cpu_mhz"]) > 1
    return True
