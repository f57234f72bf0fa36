"""How busy the machine was besides the measurement: stolen time, other processes, a loop that repeats."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from dvfo_env.hardware.sysfs import SysFs
from dvfo_env.profiling.statistics import median, spread_percent

#: A visit is disturbed from these shares on. One jiffy in a visit of a third of a second is 3 % of a core.
STEAL_LIMIT = 0.02
OTHERS_LIMIT_CPUS = 0.10
REFERENCE_LIMIT = 1.10

#: The run is called busy where more than this share of its visits were disturbed ...
DISTURBED_LIMIT = 0.10
#: ... or the reference loop did not repeat to within this much.
REFERENCE_SPREAD_LIMIT_PERCENT = 5.0

#: Visits from which on the spread of the reference loop says something.
FEWEST_FOR_SPREAD = 6


@dataclass(frozen=True)
class Snapshot:
    """Counters at one moment, seconds over the CPUs of interest."""

    busy_s: float
    steal_s: float
    runnable: int
    pressure_us: int | None
    load_1_min: float


@dataclass(frozen=True)
class Load:
    """What happened during one visit besides it.

    `steal` is the share of CPU time the hypervisor gave to others, `others_cpus` how many CPUs' worth other
    processes used, `runnable` how many tasks wanted to run at its end, ours included, `pressure` the share of
    time in which some task waited for a CPU (None where the kernel does not say), `reference_ms` the
    reference loop's time.
    """

    steal: float
    others_cpus: float
    runnable: int
    pressure: float | None
    reference_ms: float

    def as_data(self) -> dict[str, float | int | None]:
        """Plain values for the log."""
        return {
            "steal": round(self.steal, 4),
            "others_cpus": round(self.others_cpus, 4),
            "runnable": self.runnable,
            "pressure": None if self.pressure is None else round(self.pressure, 4),
            "reference_ms": round(self.reference_ms, 5),
        }


def snapshot(sysfs: SysFs, cpus: Sequence[int]) -> Snapshot:
    """Read /proc/stat for `cpus`, /proc/loadavg and, where there is one, /proc/pressure/cpu."""
    ticks = os.sysconf("SC_CLK_TCK")
    busy = steal = 0
    wanted = {f"cpu{cpu}" for cpu in cpus}
    runnable = 0
    for line in (sysfs.read("proc/stat") or "").splitlines():
        name, *numbers = line.split()
        if name in wanted:
            user, nice, system, _, _, irq, softirq, stolen = _eight(numbers)
            busy += user + nice + system + irq + softirq
            steal += stolen
        elif name == "procs_running":
            runnable = int(numbers[0])
    words = (sysfs.read("proc/loadavg") or "0").split()
    return Snapshot(busy / ticks, steal / ticks, runnable, _pressure_us(sysfs), float(words[0]))


def _eight(numbers: Sequence[str]) -> tuple[int, ...]:
    """The columns user nice system idle iowait irq softirq steal; old kernels have fewer."""
    return tuple(int(word) for word in numbers[:8]) + (0,) * max(0, 8 - len(numbers))


def _pressure_us(sysfs: SysFs) -> int | None:
    for line in (sysfs.read("proc/pressure/cpu") or "").splitlines():
        if line.startswith("some"):
            for word in line.split():
                if word.startswith("total="):
                    return int(word.removeprefix("total="))
    return None


def between(
    before: Snapshot, after: Snapshot, seconds: float, cpus: int, own_cpu_s: float, reference_ms: float
) -> Load:
    """The load between two snapshots; `own_cpu_s` is what the measurement itself used of those CPUs."""
    seconds = max(seconds, 1e-9)
    pressure = None
    if before.pressure_us is not None and after.pressure_us is not None:
        pressure = min(1.0, (after.pressure_us - before.pressure_us) / 1e6 / seconds)
    return Load(
        steal=max(0.0, after.steal_s - before.steal_s) / (seconds * cpus),
        others_cpus=max(0.0, after.busy_s - before.busy_s - own_cpu_s) / seconds,
        runnable=after.runnable,
        pressure=pressure,
        reference_ms=reference_ms,
    )


@dataclass(frozen=True)
class Verdict:
    """Whether the run was disturbed, in figures and in one line of words.

    `disturbed` marks the visits, in the order given.
    """

    busy: bool
    disturbed: tuple[bool, ...]
    steal_percent: float
    others_cpus: float
    reference_spread_percent: float
    text: str


def judge(loads: Sequence[Load], references: Sequence[str]) -> Verdict:
    """Judge a run. `references` names each visit's condition: a reference loop is compared with its like.

    A visit is disturbed by stolen time, by other processes, or where the reference loop took 10 % longer than
    its fastest quarter under the same condition.
    """
    if not loads:
        return Verdict(False, (), 0.0, 0.0, 0.0, "nothing measured")
    by_condition: dict[str, list[float]] = {}
    for load, condition in zip(loads, references, strict=True):
        by_condition.setdefault(condition, []).append(load.reference_ms)
    best = {condition: _fastest_quarter(times) for condition, times in by_condition.items()}
    slowdowns = [
        load.reference_ms / best[condition] for load, condition in zip(loads, references, strict=True)
    ]
    disturbed = tuple(
        load.steal > STEAL_LIMIT or load.others_cpus > OTHERS_LIMIT_CPUS or slowdown > REFERENCE_LIMIT
        for load, slowdown in zip(loads, slowdowns, strict=True)
    )
    share = sum(disturbed) / len(disturbed)
    steal = 100.0 * sum(load.steal for load in loads) / len(loads)
    others = sum(load.others_cpus for load in loads) / len(loads)
    spread = spread_percent(slowdowns)
    busy = share > DISTURBED_LIMIT or spread > REFERENCE_SPREAD_LIMIT_PERCENT
    repeats = f"the reference loop repeats within {spread:.1f} %"
    if len(loads) < FEWEST_FOR_SPREAD:
        repeats = "too few visits to say how the reference loop repeats"
    figures = (
        f"{share:.0%} of {len(loads)} visits disturbed; others used {others:.2f} CPUs, {steal:.1f} % of "
        f"the time was stolen, {repeats}"
    )
    return Verdict(busy, disturbed, steal, others, spread, f"{'busy' if busy else 'quiet'}: {figures}")


def _fastest_quarter(times: Sequence[float]) -> float:
    ordered = sorted(times)
    return median(ordered[: max(1, len(ordered) // 4)])
