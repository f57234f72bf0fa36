"""The loop: round after round over all conditions, until every median is settled or the time is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dvfo_env.hardware.meters import Meter
from dvfo_env.hardware.sysfs import SysFs
from dvfo_env.profiling.estimates import precision_percent, settled
from dvfo_env.profiling.load import between, snapshot
from dvfo_env.profiling.log import MeasurementLog
from dvfo_env.profiling.plan import Clocks, Condition, Network, Plan
from dvfo_env.profiling.statistics import median

#: How long one visit runs, warm-up apart; short, so that slow changes of the machine meet all alike.
VISIT_S = 0.3

#: Share of the time that goes to energy where something measures it.
ENERGY_SHARE = 0.3

#: Windows of every condition's energy, and of idling.
ENERGY_WINDOWS = 3

#: What the machine gets to calm down after a clock was set, s.
SETTLE_S = 0.05


@dataclass(frozen=True)
class Sample:
    """What one visit brought: times of each pass, in ms, and what the worker itself used.

    `passes` are rows of (number of an inner cut, whole network, head before that cut, tail behind it), or of
    (0, whole network) where there is no inner cut; `cpu_s` is the CPU time of the whole visit, warm-up
    included.
    """

    passes: Sequence[Sequence[float]]
    reference_ms: float
    cpu_s: float


class Bench(Protocol):
    """One network ready to run at one place."""

    def visit(self, seconds: float, cuts: Sequence[int]) -> Sample:
        """Warm up, then go through `cuts` for about `seconds`: the whole network, head and tail by turns."""

    def burn(self, seconds: float) -> int:
        """Run the whole network back to back for `seconds`; how often it ran."""

    def close(self) -> None:
        """Give everything back."""


class Setter(Protocol):
    """Sets the clocks; see `setting.ClockSetter`."""

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
    while open_ones := {c for c in conditions if not settled(log, network, c, plan.precision_percent)}:
        for condition in plan.round(network.name, number):
            first = not _visits(log, condition)
            if condition not in open_ones or (machine.clock() >= stop and not first):
                continue
            if condition.clocks != at:
                machine.setter.set(condition.clocks)
                machine.sleep(SETTLE_S)
                at = condition.clocks
            cuts = _next_cuts(network, _visits(log, condition))
            log.append(_visit(machine, benches[condition.place], condition, number, cuts))
            tell(_progress(plan, log, network, conditions, stop - machine.clock()))
        number += 1
        if machine.clock() >= stop:
            break


def _next_cuts(network: Network, visits: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """The inner cuts in turn, beginning after the last one visited."""
    turns = network.turns
    if not visits or not turns:
        return turns
    begin = turns.index(int(visits[-1]["passes"][-1][0])) + 1
    return turns[begin:] + turns[:begin]


def _visit(
    machine: Machine, bench: Bench, condition: Condition, number: int, cuts: Sequence[int]
) -> dict[str, Any]:
    before = snapshot(machine.sysfs, machine.cpus)
    own, begun = machine.own_cpu_s(), machine.clock()
    sample = bench.visit(VISIT_S, cuts)
    seconds = machine.clock() - begun
    after = snapshot(machine.sysfs, machine.cpus)
    own_cpu_s = machine.own_cpu_s() - own + sample.cpu_s
    load = between(before, after, seconds, len(machine.cpus), own_cpu_s, sample.reference_ms)
    return {
        "kind": "visit",
        "condition": condition.key,
        "round": number,
        "seconds": round(seconds, 4),
        "whole_median_ms": round(median([row[1] for row in sample.passes]), 5),
        "passes": [[int(row[0]), *(round(value, 5) for value in row[1:])] for row in sample.passes],
        "cuts": _shares(sample.passes),
        "clocks_mhz": machine.setter.current_mhz(),
        "load": load.as_data(),
    }


def _shares(passes: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """For each inner cut visited: head, and head and tail, over the whole network beside them (medians)."""
    by_cut: dict[int, list[tuple[float, float]]] = {}
    for cut, whole, *pieces in passes:
        if pieces:
            by_cut.setdefault(int(cut), []).append((pieces[0] / whole, sum(pieces) / whole))
    return {
        str(cut): [round(median(column), 6) for column in zip(*rows, strict=True)]
        for cut, rows in by_cut.items()
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


def _progress(
    plan: Plan, log: MeasurementLog, network: Network, conditions: Sequence[Condition], budget_s: float
) -> Progress:
    """Time left is what the budget leaves until every interval is known; only then is less foreseeable."""
    wanted = plan.precision_percent
    every = [precision_percent(log, network, condition) for condition in conditions]
    known = [width for width in every if width is not None]
    done = 0
    to_go_s = 0.0
    for condition, width in zip(conditions, every, strict=True):
        visits = _visits(log, condition)
        done += len(visits)
        if width is None:
            to_go_s = math.inf
        elif width > wanted:
            to_go_s += ((width / wanted) ** 2 - 1.0) * sum(float(visit["seconds"]) for visit in visits)
    return Progress(
        network.name,
        "latency",
        done,
        sum(width <= wanted for width in known),
        len(conditions),
        max(known) if len(known) == len(conditions) else None,
        max(0.0, min(budget_s, to_go_s)),
    )
