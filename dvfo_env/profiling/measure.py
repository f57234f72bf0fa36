"""The loop: round after round over all conditions, until every median is settled or the time is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dvfo_env.profiling.load import between, snapshot
from dvfo_env.profiling.log import MeasurementLog
from dvfo_env.profiling.meters import Meter
from dvfo_env.profiling.plan import Clocks, Condition, Network, Plan
from dvfo_env.profiling.statistics import Median, median, median_interval, visits_needed
from dvfo_env.profiling.sysfs import SysFs

#: How long one visit runs, warm-up apart; short, so that slow changes of the machine meet all alike.
VISIT_S = 0.25

#: Fewest visits of a condition before its interval counts.
MIN_VISITS = 8

#: Share of the time that goes to energy where something measures it.
ENERGY_SHARE = 0.3

#: Windows of every condition's energy, and of idling.
ENERGY_WINDOWS = 3

#: What the machine gets to calm down after a clock was set, s.
SETTLE_S = 0.05


@dataclass(frozen=True)
class Sample:
    """What one visit brought: times of each pass, in ms, and what the worker itself used.

    whole_ms [passes], segments_ms [passes][segments]; `cpu_s` is the CPU time of the whole visit, warm-up
    included.
    """

    whole_ms: Sequence[float]
    segments_ms: Sequence[Sequence[float]]
    reference_ms: float
    cpu_s: float


class Bench(Protocol):
    """One network ready to run at one place."""

    def visit(self, seconds: float) -> Sample:
        """Warm up, then alternate between the whole network and its segments for about `seconds`."""

    def burn(self, seconds: float) -> int:
        """Run the whole network back to back for `seconds`; how often it ran."""

    def close(self) -> None:
        """Give everything back."""


class Setter(Protocol):
    """Sets the clocks; see `clocks.ClockSetter`."""

    def set(self, mhz: Sequence[float]) -> None:
        """Pin (CPU, GPU, memory) to these clocks."""

    def current_mhz(self) -> tuple[float | None, ...]:
        """What they are now, where the kernel says so."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    `worst_percent` is the widest half width of an interval, None while one is missing; `left_s` an upper
    limit.
    """

    network: str
    stage: str
    visits: int
    settled: int
    conditions: int
    worst_percent: float | None
    left_s: float


@dataclass(frozen=True)
class Machine:
    """What the loop needs of the outside; tests put simulated ones here."""

    sysfs: SysFs
    cpus: tuple[int, ...]
    setter: Setter
    meters: tuple[Meter, ...] = ()
    clock: Callable[[], float] = time.monotonic
    own_cpu_s: Callable[[], float] = time.process_time
    sleep: Callable[[float], None] = time.sleep


Benches = Callable[[Network, Plan], Mapping[str, Bench]]


def measure(
    plan: Plan,
    machine: Machine,
    log: MeasurementLog,
    benches_of: Benches,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Measure a plan into `log`; what the log already holds counts.

    Networks come one after another (their weights may not fit into memory together); within one the rounds
    are interleaved. Each network gets an equal share of the time that is left.

    Raises:
        MeasurementError: a worker died or a clock could not be set.
    """
    for index, network in enumerate(plan.networks):
        spent = sum(float(entry["seconds"]) for entry in log.entries if "seconds" in entry)
        share_s = (plan.budget_s - spent) / (len(plan.networks) - index)
        begun = machine.clock()
        if share_s <= 0.0 and all(_visits(log, c) for c in plan.conditions(network.name)):
            continue
        benches = benches_of(network, plan)
        try:
            share_s -= machine.clock() - begun  # making ready is part of the time
            energy_s = ENERGY_SHARE * share_s if machine.meters else 0.0
            _latency(plan, machine, log, network, benches, share_s - energy_s, tell)
            if machine.meters:
                _energy(plan, machine, log, network, benches, energy_s, tell)
        finally:
            for bench in benches.values():
                bench.close()


def _latency(
    plan: Plan,
    machine: Machine,
    log: MeasurementLog,
    network: Network,
    benches: Mapping[str, Bench],
    budget_s: float,
    tell: Callable[[Progress], None],
) -> None:
    conditions = plan.conditions(network.name)
    stop = machine.clock() + budget_s
    number = min(len(_visits(log, condition)) for condition in conditions)
    at: Clocks | None = None
    while True:
        open_ones = {c for c in conditions if not settled(log, c, plan.precision_percent)}
        if not open_ones:
            break
        for condition in plan.round(network.name, number):
            first = not _visits(log, condition)
            if condition not in open_ones or (machine.clock() >= stop and not first):
                continue
            if condition.clocks != at:
                machine.setter.set(condition.clocks)
                machine.sleep(SETTLE_S)
                at = condition.clocks
            log.append(_visit(machine, benches[condition.place], condition, number))
            tell(_progress(plan, log, network, conditions, stop - machine.clock()))
        number += 1
        if machine.clock() >= stop:
            break


def _visit(machine: Machine, bench: Bench, condition: Condition, number: int) -> dict[str, Any]:
    before = snapshot(machine.sysfs, machine.cpus)
    own, begun = machine.own_cpu_s(), machine.clock()
    sample = bench.visit(VISIT_S)
    seconds = machine.clock() - begun
    after = snapshot(machine.sysfs, machine.cpus)
    own_cpu_s = machine.own_cpu_s() - own + sample.cpu_s
    load = between(before, after, seconds, len(machine.cpus), own_cpu_s, sample.reference_ms)
    return {
        "kind": "visit",
        "condition": condition.key,
        "round": number,
        "seconds": round(seconds, 4),
        "whole_median_ms": round(median(sample.whole_ms), 5),
        "sum_median_ms": round(median([sum(row) for row in sample.segments_ms]), 5),
        "whole_ms": [round(value, 5) for value in sample.whole_ms],
        "segments_ms": [[round(value, 5) for value in row] for row in sample.segments_ms],
        "clocks_mhz": machine.setter.current_mhz(),
        "load": load.as_data(),
    }


def _energy(
    plan: Plan,
    machine: Machine,
    log: MeasurementLog,
    network: Network,
    benches: Mapping[str, Bench],
    budget_s: float,
    tell: Callable[[Progress], None],
) -> None:
    """Mean power while each condition runs back to back, and while nothing does; interleaved like latency."""
    window_s = max(meter.window_s for meter in machine.meters)
    stop = machine.clock() + budget_s
    for window in range(len(_powers(log, network.name)), ENERGY_WINDOWS):
        at: Clocks | None = None
        for condition in plan.round(network.name, window):
            if window and machine.clock() >= stop:
                return
            if condition.clocks != at:
                machine.setter.set(condition.clocks)
                machine.sleep(SETTLE_S)
                at = condition.clocks
                log.append(_power(machine, network.name, "idle", condition, window, window_s, machine.sleep))
            burn = benches[condition.place].burn
            log.append(_power(machine, network.name, "busy", condition, window, window_s, burn))
            left = stop - machine.clock()
            done = len(log.of_kind("power"))
            tell(Progress(network.name, "power", done, window, ENERGY_WINDOWS, None, max(left, 0.0)))


def _power(
    machine: Machine,
    network: str,
    state: str,
    condition: Condition,
    window: int,
    seconds: float,
    run: Callable[[float], object],
) -> dict[str, Any]:
    begun = machine.clock()
    for meter in machine.meters:
        meter.start()
    run(seconds)
    power = {meter.name: meter.stop() for meter in machine.meters}
    return {
        "kind": "power",
        "state": state,
        "network": network,
        "condition": condition.key,
        "place": condition.place,
        "clocks": condition.clocks,
        "window": window,
        "seconds": round(machine.clock() - begun, 4),
        "power_mw": {name: None if value is None else round(value, 2) for name, value in power.items()},
    }


def _powers(log: MeasurementLog, network: str) -> set[int]:
    return {int(entry["window"]) for entry in log.of_kind("power") if entry["network"] == network}


def _visits(log: MeasurementLog, condition: Condition) -> list[dict[str, Any]]:
    return log.visits_of(condition.key)


def whole_of(visits: Sequence[Mapping[str, Any]]) -> Median:
    """Median latency (ms) of the whole network over visits: of each visit's own median."""
    return median_interval([visit["whole_median_ms"] for visit in visits])


def sum_of(visits: Sequence[Mapping[str, Any]]) -> Median:
    """Median over visits of the sum of all segments' times (ms)."""
    return median_interval([visit["sum_median_ms"] for visit in visits])


def segment_of(visits: Sequence[Mapping[str, Any]], index: int) -> Median:
    """Median over visits of one segment's time (ms)."""
    return median_interval([median([row[index] for row in visit["segments_ms"]]) for visit in visits])


def settled(log: MeasurementLog, condition: Condition, precision_percent: float) -> bool:
    """Whether the whole network and the sum of its segments are known to `precision_percent`."""
    visits = _visits(log, condition)
    if len(visits) < MIN_VISITS:
        return False
    widths = (whole_of(visits).half_width_percent, sum_of(visits).half_width_percent)
    return all(width is not None and width <= precision_percent for width in widths)


def _progress(
    plan: Plan, log: MeasurementLog, network: Network, conditions: Sequence[Condition], budget_s: float
) -> Progress:
    worst: float | None = 0.0
    done = needed = 0
    seconds = 0.0
    calm = 0
    for condition in conditions:
        visits = _visits(log, condition)
        seconds += sum(float(visit["seconds"]) for visit in visits)
        done += len(visits)
        if settled(log, condition, plan.precision_percent):
            calm += 1
        middles = (whole_of(visits), sum_of(visits)) if visits else ()
        needed += max(
            (visits_needed(middle, plan.precision_percent) for middle in middles), default=MIN_VISITS
        )
        widths = [middle.half_width_percent for middle in middles]
        known = [width for width in widths if width is not None]
        worst = None if worst is None or len(known) < 2 else max(worst, *known)
    to_go_s = (needed - done) * seconds / done if done else budget_s
    left_s = max(0.0, min(budget_s, to_go_s))
    return Progress(network.name, "latency", done, calm, len(conditions), worst, left_s)
