"""From the log of a run to a device profile, with what a reader needs to trust or distrust it."""

from __future__ import annotations

from collections.abc import Mapping as Mapping_
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

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
from dvfo_env.hardware.clocks import DOMAINS, ClockAxis, Domain
from dvfo_env.profiling.estimates import heads_of, pieces_of, settled, whole_of, widest_percent
from dvfo_env.profiling.load import Load, Verdict, judge
from dvfo_env.profiling.log import MeasurementLog
from dvfo_env.profiling.plan import Condition, Network, Place, Plan
from dvfo_env.profiling.statistics import Median, median_interval, noise
from dvfo_env.schema import Coefficient

#: Head and tail must add up to the whole network to within this much, at every cut.
SUM_LIMIT_PERCENT = 10.0

#: Time until a new clock takes effect, ms: (value, range). Measured by others on one board.
_EFFECT_MS: dict[Domain, tuple[float, tuple[float, float]]] = {
    "cpu": (1.0, (0.1, 10.0)),
    "gpu": (5.0, (1.0, 20.0)),
    "memory": (8.0, (1.0, 20.0)),
}
_EFFECT_SOURCE = "Jetson Orin Nano, arXiv 2606.16106 v1"


#: Undisturbed visits from which on their own median is told.
FEWEST_QUIET = 6


@dataclass(frozen=True)
class Row:
    """What was found under one condition.

    Attributes:
        whole: latency of the whole network, ms.
        noise_ms: by how much another run may differ, see `statistics.noise`; None where visits are too few.
        heads_percent: half of the widest interval of a head's share of the whole network; None while there
            are too few visits for one of them.
        pieces: share of the whole network that head and tail take together, by the number of the inner cut.
        cuts_left: how many inner cuts were never timed.
        segments_ms: times between cuts, differences of the heads; they add up to the whole network.
        quiet_percent: how much the median of the undisturbed visits alone differs from that of all, None
            where there are too few of them.
    """

    condition: Condition
    visits: int
    whole: Median
    noise_ms: float | None
    heads_percent: float | None
    pieces: Mapping_[int, Median]
    cuts_left: int
    segments_ms: tuple[float, ...]
    settled: bool
    quiet_percent: float | None

    @property
    def noise_percent(self) -> float | None:
        """`noise_ms` in percent of the whole network."""
        return None if self.noise_ms is None else 100.0 * self.noise_ms / self.whole.value

    @property
    def sums_percent(self) -> tuple[float, float]:
        """Least and most that head and tail take together, over the cuts, in percent of the whole network."""
        sums = [100.0 * both.value for both in self.pieces.values()] or [100.0]
        return min(sums), max(sums)

    @property
    def adds_up(self) -> bool:
        """Whether head and tail add up to the whole network to within 10 % at every cut."""
        return all(abs(value - 100.0) <= SUM_LIMIT_PERCENT for value in self.sums_percent)


@dataclass(frozen=True)
class Findings:
    """Everything a run found, before it becomes a profile."""

    rows: tuple[Row, ...]
    verdict: Verdict

    @property
    def all_add_up(self) -> bool:
        """Whether heads and tails add up under every condition."""
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
            whole, heads = whole_of(visits), heads_of(visits)
            calm = median_interval(quiet) if len(quiet) >= FEWEST_QUIET else None
            rows.append(
                Row(
                    condition,
                    len(visits),
                    whole,
                    noise([visit["whole_median_ms"] for visit in visits]),
                    widest_percent(network, heads),
                    pieces_of(visits),
                    network.inner_cuts - len(heads),
                    _segments_ms(network, whole, heads),
                    settled(log, network, condition, plan.precision_percent),
                    None if calm is None else 100.0 * (calm.value / whole.value - 1.0),
                )
            )
    return Findings(tuple(rows), verdict)


def _segments_ms(network: Network, whole: Median, heads: Mapping_[int, Median]) -> tuple[float, ...]:
    """Differences of the heads' times, where each head is at least as long as the one before it.

    Noise, or a layout that is cheaper to convert at the later of two cuts, can let a longer head take less
    time. The nearest times that rise (isotonic regression) then count, none above the whole. A head that
    was never timed lies evenly between its neighbours.
    """
    rising = isotonic_regression([head.value for head in heads.values()]).x.clip(0.0, 1.0) if heads else []
    end = network.inner_cuts + 1
    shares = np.interp(range(end + 1), [0, *heads, end], [0.0, *rising, 1.0])
    return tuple(float(share) * whole.value for share in np.diff(shares))


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
    times = {
        name: tuple(row.segments_ms[index] for row in rows) for index, name in enumerate(network.segments)
    }
    machine = dict(plan.machine)
    threads = f"{len(place.cpus)} {'thread' if len(place.cpus) == 1 else 'threads'}"
    errors = [row.noise_percent for row in rows]
    known = [error for error in errors if error is not None]
    told = len(known) == len(rows)
    fit = Fit(
        points=sum(row.visits for row in rows),
        conditions=(
            f"{threads}; medians over {min(row.visits for row in rows)} visits or more; error and range_ms: "
            f"{'95 % interval of the median, and drift' if told else 'too few visits to tell'}; "
            f"machine {'busy' if found.verdict.busy else 'quiet'}"
        ),
        error_percent=max(known) if told else None,
    )
    bounds = None
    if top.noise_ms is not None:
        bounds = (max(0.0, top.whole.value - top.noise_ms), top.whole.value + top.noise_ms)
    low, high = min(row.sums_percent[0] for row in rows), max(row.sums_percent[1] for row in rows)
    note = (
        "differences of the times of heads, each run as one piece; head and tail take "
        f"{low:.1f} to {high:.1f} % of the whole network "
        f"({'within' if all(row.adds_up for row in rows) else 'NOT within'} 10 %)"
    )
    if any(row.cuts_left for row in rows):
        note += (
            f"; up to {max(row.cuts_left for row in rows)} heads were never timed and lie between neighbours"
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
