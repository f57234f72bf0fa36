"""A device profile as plain rows for people: every coefficient with evidence, source and error."""

from __future__ import annotations

from typing import Any

from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.devices.provenance import coefficients_of


def describe(profile: DeviceProfile) -> list[dict[str, Any]]:
    """One row per coefficient: its name, the fields of `Coefficient`, and its range as low and high."""
    rows = []
    for name, coefficient in coefficients_of(profile).items():
        low, high = coefficient.range or (None, None)
        row = coefficient.model_dump(exclude={"range"}) | {"low": low, "high": high}
        rows.append({"name": name, **row})
    return rows


def opening_lines(profile: DeviceProfile) -> list[str]:
    """Title, axes, and how many coefficients are measured, fitted and assumed."""
    evidence = [coefficient.evidence for coefficient in coefficients_of(profile).values()]
    counts = ", ".join(f"{evidence.count(kind)} {kind}" for kind in ("measured", "fitted", "assumed"))
    assumed = [name for name, c in coefficients_of(profile).items() if c.evidence == "assumed"]
    axes = ", ".join(
        f"{label} {len(domain.mhz)} clocks ({domain.mhz[0]:g}-{domain.mhz[-1]:g} MHz)"
        if domain
        else f"no {label} clock"
        for label, domain in (("CPU", profile.cpu), ("GPU", profile.gpu), ("memory", profile.memory))
    )
    return [
        f"{profile.title}: {axes}; mappings {', '.join(profile.mappings)}",
        f"{len(evidence)} coefficients: {counts}",
        f"assumed: {', '.join(assumed) if assumed else 'none'}",
    ]
