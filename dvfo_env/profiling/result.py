"""From the log of a run to a device profile, with what a reader needs to trust or distrust it."""

from __future__ import annotations

import math
from collections.abc import Mapping as Mapping_
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dvfo_env.devices.profile import (
    ClockDomain,
    ClockTable,
    DeviceProfile,
    Fit,
    Law,
    Mapping,
    PowerLaw,
    SegmentTable,
)
from dvfo_env.errors import ConfigError, MeasurementError
from dvfo_env.profiling.clocks import DOMAINS, ClockAxis, Domain
from dvfo_env.profiling.load import Load, Verdict, judge
from dvfo_env.profiling.log import MeasurementLog
from dvfo_env.profiling.measure import segment_of, settled, sum_of, whole_of
from dvfo_env.profiling.plan import Condition, Network, Place, Plan
from dvfo_env.profiling.statistics import Median, median_interval
from dvfo_env.schema import Coefficient

#: Segments must add up to the whole network to within this much.
SUM_LIMIT_PERCENT = 10.0

#: Time until a new clock takes effect, ms: (value, range). Measured by others on one board.
_EFFECT_MS: dict[Domain, tuple[float, tuple[float, float]]] = {
    "cpu": (1.0, (0.1, 10.0)),
    "gpu": (5.0, (1.0, 20.0)),
    "memory": (8.0, (1.0, 20.0)),
}
_EFFECT_SOURCE = "Jetson Orin Nano, arXiv 2606.16106 v1"


@dataclass(frozen=True)
class Row:
    """What was found under one condition.

    `sum_percent` is the sum of the segments over the whole network; `quiet_percent` how much the median of
    the undisturbed visits alone differs from that of all, None where there are too few of them.
    """

    condition: Condition
    visits: int
    whole: Median
    segments_sum: Median
    segments: tuple[Median, ...]
    settled: bool
    sum_percent: float
    quiet_percent: float | None

    @property
    def adds_up(self) -> bool:
        """Whether the segments add up to the whole to within 10 %."""
        return abs(self.sum_percent - 100.0) <= SUM_LIMIT_PERCENT


@dataclass(frozen=True)
class Findings:
    """Everything a run found, before it becomes a profile."""

    rows: tuple[Row, ...]
    verdict: Verdict

    @property
    def all_add_up(self) -> bool:
        """Whether the segments add up under every condition."""
        return all(row.adds_up for row in self.rows)


def findings(plan: Plan, log: MeasurementLog) -> Findings:
    """Evaluate a log.

    Raises:
        MeasurementError: a condition was never measured.
    """
    entries = log.of_kind("visit")
    verdict = judge([Load(**entry["load"]) for entry in entries], [entry["condition"] for entry in entries])
    undisturbed = [entry for entry, bad in zip(entries, verdict.disturbed, strict=True) if not bad]
    rows = []
    for network in plan.networks:
        for condition in plan.conditions(network.name):
            visits = log.visits_of(condition.key)
            if not visits:
                raise MeasurementError(f"{condition.key}: never measured; give more time with --budget")
            quiet = [entry["whole_median_ms"] for entry in undisturbed if entry["condition"] == condition.key]
            whole, total = whole_of(visits), sum_of(visits)
            calm = median_interval(quiet) if len(quiet) >= 6 else None
            rows.append(
                Row(
                    condition,
                    len(visits),
                    whole,
                    total,
                    tuple(segment_of(visits, index) for index in range(len(network.segments))),
                    settled(log, condition, plan.precision_percent),
                    100.0 * total.value / whole.value,
                    None if calm is None else 100.0 * (calm.value / whole.value - 1.0),
                )
            )
    return Findings(tuple(rows), verdict)


def build_profile(
    name: str,
    plan: Plan,
    found: Findings,
    axes: Mapping_[Domain, ClockAxis],
    cores: dict[str, int],
    left_out: Sequence[str],
    power: PowerLaw | None,
    measured_on: str,
) -> DeviceProfile:
    """The profile of this machine. `measured_on` is the date; `power` None makes it latency only."""
    machine = dict(plan.machine)
    energy = (
        "" if power else " Latency only: nothing here measures power, energy-weighted scenarios are refused."
    )
    clocks = "; ".join(f"{domain} clock: {_clock_words(axes[domain])}" for domain in DOMAINS)
    domains = {domain: _domain(axes[domain]) for domain in DOMAINS}
    return DeviceProfile(
        name=name,
        title=f"{machine['processor']} (this machine)",
        description=(
            f"Measured by dvfo profile on {measured_on}. The machine was {found.verdict.text}.{energy} "
            f"{clocks}.{''.join(f' {line}.' for line in left_out)}"
        ),
        cores=cores,
        cpu=domains["cpu"],
        gpu=domains["gpu"] if any(place.kind == "gpu" for place in plan.places) else None,
        memory=domains["memory"],
        mappings={place.name: _mapping(place) for place in plan.places},
        out_of_the_box=_out_of_the_box(plan).name,
        inference={network.name: _inference(plan, machine) for network in plan.networks},
        latency={
            network.name: {
                place.name: _law(plan, network, place, found, measured_on) for place in plan.places
            }
            for network in plan.networks
        },
        power=power,
    )


def merged(new: DeviceProfile, old: DeviceProfile) -> DeviceProfile:
    """The new profile with the networks that only the old one has.

    Raises:
        ConfigError: the two describe different machines: other cores, clocks or mappings of the same name.
    """
    for field in ("cores", "cpu", "gpu", "memory"):
        if getattr(new, field) != getattr(old, field):
            raise ConfigError(
                f"{old.name}: {field} differs from what is here now; --replace forgets the old profile"
            )
    for name, mapping in old.mappings.items():
        if name in new.mappings and new.mappings[name] != mapping:
            raise ConfigError(f"{old.name}: mappings.{name} differs; --replace forgets the old profile")
    data = new.model_dump()
    before = old.model_dump()
    data["mappings"] = before["mappings"] | data["mappings"]
    data["inference"] = before["inference"] | data["inference"]
    data["latency"] = before["latency"] | data["latency"]
    if new.out_of_the_box not in new.mappings:
        data["out_of_the_box"] = old.out_of_the_box
    if data["power"] is None:
        data["power"] = before["power"]
    return DeviceProfile.model_validate(data)


def _stated_range(whole: Median, spread_percent: float) -> tuple[float, float] | None:
    """The interval of the median, widened by how far the machine's own speed wandered during the run.

    The sign test takes visits for independent; a speed that wanders slowly moves many of them together. The
    reference loop shows by how much (10th to 90th percentile), and another run may meet any of it.
    """
    if whole.low is None or whole.high is None:
        return None
    wander = whole.value * spread_percent / 100.0
    return (
        max(0.0, whole.value - math.hypot(whole.value - whole.low, wander)),
        whole.value + math.hypot(whole.high - whole.value, wander),
    )


def _out_of_the_box(plan: Plan) -> Place:
    """What a user gets who pins nothing: the first engine on every core."""
    on_cpu = [place for place in plan.places if place.kind == "cpu"] or list(plan.places)
    first = [place for place in on_cpu if place.engine == on_cpu[0].engine]
    without_smt = [place for place in first if "smt" not in place.name] or first
    return max(without_smt, key=lambda place: len(place.cpus))


def _mapping(place: Place) -> Mapping:
    return Mapping(kind=place.kind, cluster=place.cluster, threads=len(place.cpus), title=place.title)


def _inference(plan: Plan, machine: Mapping_[str, str]) -> str:
    engines = dict.fromkeys(place.engine for place in plan.places)
    return f"{', '.join(f'{engine} {machine[engine]}' for engine in engines)}; fp32, batch 1"


def _clock_words(axis: ClockAxis) -> str:
    if axis.settable:
        return f"{len(axis.mhz)} of the clocks {axis.reason}"
    return f"one value, {axis.reason}"


def _domain(axis: ClockAxis) -> ClockDomain | None:
    if not axis.mhz:
        return None
    value, bounds = _EFFECT_MS[axis.domain]
    if axis.settable:
        delay = Coefficient(
            value=value,
            unit="ms",
            evidence="assumed",
            source=_EFFECT_SOURCE,
            range=bounds,
            note="measured on another board; not measured here",
        )
    else:
        delay = Coefficient(
            value=0.0,
            unit="ms",
            evidence="assumed",
            source=axis.reason,
            range=(0.0, 0.0),
            note="one clock: nothing to wait for",
        )
    if axis.settable:
        return ClockDomain(
            mhz=axis.mhz, effect_delay_ms=delay, source=f"read from this machine; {axis.reason}"
        )
    return ClockDomain(mhz=axis.mhz[-1:], effect_delay_ms=delay, source=f"cannot be set here: {axis.reason}")


def _law(plan: Plan, network: Network, place: Place, found: Findings, measured_on: str) -> Law:
    rows = [
        row
        for row in found.rows
        if (row.condition.network, row.condition.place) == (network.name, place.name)
    ]
    rows.sort(key=lambda row: row.condition.clocks)
    top = rows[-1]
    scales = [row.whole.value / sum(segment.value for segment in row.segments) for row in rows]
    times = {
        name: tuple(row.segments[index].value * scale for row, scale in zip(rows, scales, strict=True))
        for index, name in enumerate(network.segments)
    }
    machine = dict(plan.machine)
    threads = f"{len(place.cpus)} {'thread' if len(place.cpus) == 1 else 'threads'}"
    widths = [row.whole.half_width_percent for row in rows]
    known = [width for width in widths if width is not None]
    worst = f"within {max(known):.1f} %" if len(known) == len(rows) else "too few visits for an interval"
    sums = sorted(row.sum_percent for row in rows)
    sum_words = f"{sums[0]:.1f}" if len(rows) == 1 else f"{sums[0]:.1f} to {sums[-1]:.1f}"
    fit = Fit(
        points=sum(row.visits for row in rows),
        conditions=(
            f"{threads}; each segment and the whole network in the same visits, medians over "
            f"{min(row.visits for row in rows)} visits or more, whole network known {worst} (95 %); machine "
            f"{'busy' if found.verdict.busy else 'quiet'}, its speed wandered by "
            f"{found.verdict.reference_spread_percent:.1f} % (in range_ms)"
        ),
        error_percent=max(known) if len(known) == len(rows) else None,
    )
    bounds = _stated_range(top.whole, found.verdict.reference_spread_percent)
    note = (
        f"segments were timed one by one and add up to {sum_words} % of the whole network timed in the same "
        f"visits ({'within' if all(row.adds_up for row in rows) else 'NOT within'} 10 %); scaled to the whole"
    )
    source = f"dvfo profile on this machine, {measured_on}: {place.engine} {machine[place.engine]}"
    axes = [
        mhz if len(mhz) > 1 and (domain != "gpu" or place.kind == "gpu") else ()
        for domain, mhz in zip(DOMAINS, plan.axes, strict=True)
    ]
    shared: dict[str, Any] = {
        "evidence": "measured",
        "source": source,
        "range_ms": bounds,
        "split_note": note,
        "fit": fit,
    }
    if any(axes):
        return ClockTable(cpu_mhz=axes[0], gpu_mhz=axes[1], mem_mhz=axes[2], segment_ms=times, **shared)
    return SegmentTable(segment_ms={name: values[0] for name, values in times.items()}, **shared)
