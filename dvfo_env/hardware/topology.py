"""Which cores this process can use, which of them are alike, and the mappings worth measuring."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass

from dvfo_env.hardware.sysfs import SysFs, format_cpus

CPU = "sys/devices/system/cpu"

#: Cores whose speed differs by less than this share are one cluster, as favoured cores of one kind do.
SAME_SPEED = 0.10


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind. `cpus` are one hardware thread of each core, `siblings` all of them."""

    name: str
    cpus: tuple[int, ...]
    siblings: tuple[int, ...]
    speed: float


@dataclass(frozen=True)
class CpuSet:
    """One mapping on the CPU: as many threads as `cpus`, pinned to them."""

    name: str
    cluster: str
    cpus: tuple[int, ...]
    title: str

    @property
    def threads(self) -> int:
        """Number of threads, one a CPU."""
        return len(self.cpus)


@dataclass(frozen=True)
class Topology:
    """The cores this process may use.

    Attributes:
        processor: name of the processor.
        clusters: slowest first.
        left_out: one line for every CPU or limit that shrinks what can be used, in words.
        quota_cpus: CPUs' worth of time that the control group grants, or None without such a limit.
    """

    processor: str
    clusters: tuple[Cluster, ...]
    left_out: tuple[str, ...]
    quota_cpus: float | None

    @property
    def cpus(self) -> tuple[int, ...]:
        """Every usable hardware thread."""
        return tuple(sorted(cpu for cluster in self.clusters for cpu in cluster.siblings))

    def cpu_sets(self) -> tuple[CpuSet, ...]:
        """The mappings that exist here: powers of two up to all cores of each cluster, SMT, and all together.

        Cores are taken from the highest number down: interrupts are served by the low ones.
        """
        most = math.inf if self.quota_cpus is None else max(1, math.floor(self.quota_cpus))
        found: list[CpuSet] = []
        for cluster in self.clusters:
            for threads in _thread_counts(len(cluster.cpus)):
                word = "core" if threads == 1 else "cores"
                title = f"{threads} {cluster.name} {word}"
                found.append(_cpu_set(cluster.name, "", cluster.cpus[-threads:], title))
            if len(cluster.siblings) > len(cluster.cpus):
                title = f"every hardware thread of {cluster.name}"
                found.append(_cpu_set(cluster.name, "smt", cluster.siblings, title))
        if len(self.clusters) > 1:
            together = tuple(sorted(cpu for cluster in self.clusters for cpu in cluster.cpus))
            found.append(_cpu_set("all", "", together, "every core"))
        return tuple(cpu_set for cpu_set in found if cpu_set.threads <= most)

    def cores(self) -> dict[str, int]:
        """Hardware threads of every cluster that a mapping may name, `all` where there are several."""
        counts = {cluster.name: len(cluster.siblings) for cluster in self.clusters}
        return counts | ({"all": len(self.cpus)} if len(self.clusters) > 1 else {})


def _cpu_set(cluster: str, suffix: str, cpus: tuple[int, ...], title: str) -> CpuSet:
    return CpuSet(f"{cluster}{len(cpus)}{suffix}", cluster, cpus, f"{title}, CPU {format_cpus(cpus)}")


def _thread_counts(cores: int) -> list[int]:
    counts = {2**power for power in range(cores.bit_length()) if 2**power <= cores}
    return sorted(counts | {cores})


def discover(sysfs: SysFs, allowed: frozenset[int] | None = None) -> Topology:
    """Read the topology. `allowed` are the CPUs this process may run on; default: its affinity mask."""
    if allowed is None:
        allowed = process_cpus()
    online = sysfs.cpus(f"{CPU}/online") or allowed
    isolated = sysfs.cpus(f"{CPU}/isolated")
    left_out: list[str] = []
    present = sysfs.cpus(f"{CPU}/present") or online
    for cpus, reason in (
        (present - online, "offline"),
        (online - allowed, "not allowed to this process (affinity or cpuset)"),
        (isolated & online & allowed, "isolated from the scheduler: threads would not spread over them"),
    ):
        if cpus:
            left_out.append(f"CPU {format_cpus(cpus)}: {reason}")
    usable = (online & allowed) - isolated or (online & allowed) or allowed
    quota = _quota(sysfs)
    if quota is not None:
        left_out.append(f"control group grants {quota:g} CPUs' worth of time; larger mappings are left out")
    clusters = _clusters(sysfs, usable)
    return Topology(_processor(sysfs), clusters, tuple(left_out), quota)


def process_cpus() -> frozenset[int]:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _quota(sysfs: SysFs) -> float | None:
    """CPUs' worth of time under cgroup v2 (`cpu.max`) or v1 (`cpu.cfs_quota_us`)."""
    words = (sysfs.read("sys/fs/cgroup/cpu.max") or "").split()
    if len(words) == 2 and words[0].isdigit() and int(words[1]):
        return int(words[0]) / int(words[1])
    quota = sysfs.integer("sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = sysfs.integer("sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return quota / period if quota and quota > 0 and period else None


def _clusters(sysfs: SysFs, usable: frozenset[int]) -> tuple[Cluster, ...]:
    kinds: dict[str, list[int]] = {}
    for cpu in sorted(usable):
        kinds.setdefault(_kind(sysfs, cpu), []).append(cpu)
    groups: list[tuple[float, list[int]]] = []
    for cpus in kinds.values():
        group: list[int] = []
        fastest = 0.0
        for speed, cpu in sorted(
            ((_speed(sysfs, cpu), cpu) for cpu in cpus), key=lambda pair: (-pair[0], pair[1])
        ):
            if group and speed < fastest * (1.0 - SAME_SPEED):
                groups.append((fastest, group))
                group = []
            fastest = speed if not group else fastest
            group.append(cpu)
        groups.append((fastest, group))
    groups.sort(key=lambda pair: (pair[0], min(pair[1])))
    names = _names([speed for speed, _ in groups])
    return tuple(
        Cluster(name, _one_thread_a_core(sysfs, cpus), tuple(sorted(cpus)), speed)
        for name, (speed, cpus) in zip(names, groups, strict=True)
    )


def _names(speeds: list[float]) -> tuple[str, ...]:
    if len(speeds) == 1:
        return ("cpu",)
    if len(set(speeds)) == len(speeds) and len(speeds) <= 3:
        return ("little", "big") if len(speeds) == 2 else ("little", "mid", "big")
    return tuple(f"cluster{index}-" for index in range(len(speeds)))


def _kind(sysfs: SysFs, cpu: int) -> str:
    """What tells kinds of cores apart besides speed: their identification, Intel's core and atom lists."""
    for kind in ("cpu_core", "cpu_atom"):
        if cpu in sysfs.cpus(f"sys/devices/{kind}/cpus"):
            return kind
    return sysfs.read(f"{CPU}/cpu{cpu}/regs/identification/midr_el1") or ""


def _speed(sysfs: SysFs, cpu: int) -> float:
    """Relative speed: the kernel's capacity where it knows one, else the highest clock."""
    for path in (f"{CPU}/cpu{cpu}/cpu_capacity", f"{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq"):
        value = sysfs.integer(path)
        if value:
            return float(value)
    return 1.0


def _one_thread_a_core(sysfs: SysFs, cpus: list[int]) -> tuple[int, ...]:
    firsts: dict[frozenset[int], int] = {}
    for cpu in sorted(cpus):
        topology = f"{CPU}/cpu{cpu}/topology"
        siblings = sysfs.cpus(f"{topology}/core_cpus_list") or sysfs.cpus(f"{topology}/thread_siblings_list")
        firsts.setdefault(siblings or frozenset({cpu}), cpu)
    return tuple(sorted(firsts.values()))


def _processor(sysfs: SysFs) -> str:
    """The board's or the processor's name: the device tree knows boards, /proc/cpuinfo x86 processors."""
    board = sysfs.read("proc/device-tree/model") or sysfs.read("sys/firmware/devicetree/base/model")
    if board:
        return board
    for line in (sysfs.read("proc/cpuinfo") or "").splitlines():
        field, _, value = line.partition(":")
        if field.strip() in ("model name", "Hardware") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown processor"
