"""Whether two profiles of one machine agree within the noise that they state themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dvfo_env.devices.profile import ClockTable, DeviceProfile, SegmentTable
from dvfo_env.errors import ConfigError
from dvfo_env.profiling.log import read_log
from dvfo_env.profiling.statistics import percentile

#: Undisturbed time of the reference loop (ms) by network, at the highest clocks.
Loops = Mapping[str, float]


@dataclass(frozen=True)
class Agreement:
    """One network at one mapping, highest clocks, in two profiles.

    Attributes:
        change_percent: from the first to the second, in percent of the mean.
        loop_percent: the same of the reference loop undisturbed, None where a run's log is missing: how much
            slower the machine itself was.
        noise_percent: the root of the sum of three squares: half of what `range_ms` spans in the first and in
            the second, and `loop_percent`, which neither run could see; None where a profile states no range.
        segments_percent: the largest change of a segment, in percent of the whole network.
    """

    network: str
    mapping: str
    first_ms: float
    second_ms: float
    change_percent: float
    loop_percent: float | None
    noise_percent: float | None
    segments_percent: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the noise."""
        return self.noise_percent is not None and abs(self.change_percent) <= self.noise_percent


def loops_beside(profile: Path) -> Loops:
    """Times of the reference loop from the logs that lie beside a profile; empty where there are none.

    The 10th percentile over the visits: higher ones also tell what else ran.

    Raises:
        MeasurementError: a log cannot be read.
    """
    levels: dict[str, float] = {}
    logs = profile.parent.glob(f"{profile.stem}.{'[0-9a-f]' * 12}.jsonl")
    for path in sorted(logs, key=lambda log: log.stat().st_mtime):  # what was measured last is in the profile
        by_clocks: dict[tuple[str, tuple[float, ...]], list[float]] = {}
        for entry in read_log(path):
            if entry.get("kind") == "visit":
                network, _, *clocks = entry["condition"].split("/")
                key = (network, tuple(float(mhz) for mhz in clocks))
                by_clocks.setdefault(key, []).append(entry["load"]["reference_ms"])
        levels |= {network: percentile(by_clocks[network, at], 0.1) for network, at in sorted(by_clocks)}
    return levels


def compare(
    first: DeviceProfile, second: DeviceProfile, first_loops: Loops, second_loops: Loops
) -> tuple[Agreement, ...]:
    """Compare everything that both measured.

    Raises:
        ConfigError: they have no measured network and mapping in common.
    """
    found = []
    for network, laws in first.latency.items():
        before, after = first_loops.get(network), second_loops.get(network)
        loop = None if before is None or after is None else _change_percent(before, after)
        for mapping, law in laws.items():
            other = second.latency.get(network, {}).get(mapping)
            if isinstance(law, SegmentTable | ClockTable) and isinstance(other, SegmentTable | ClockTable):
                found.append(_agreement(network, mapping, law, other, loop))
    if not found:
        raise ConfigError(f"{first.name}, {second.name}: no network and mapping that both measured")
    return tuple(found)


def _change_percent(before: float, after: float) -> float:
    return 200.0 * (after - before) / (before + after)


def _agreement(
    network: str,
    mapping: str,
    first: SegmentTable | ClockTable,
    second: SegmentTable | ClockTable,
    loop_percent: float | None,
) -> Agreement:
    a, b = _at_top(first), _at_top(second)
    whole_a, whole_b = sum(a.values()), sum(b.values())
    mean = (whole_a + whole_b) / 2.0
    noise = None
    if first.range_ms is not None and second.range_ms is not None:
        halves = [50.0 * (high - low) / mean for low, high in (first.range_ms, second.range_ms)]
        noise = math.hypot(*halves, loop_percent or 0.0)
    common = a.keys() & b.keys()
    return Agreement(
        network,
        mapping,
        whole_a,
        whole_b,
        _change_percent(whole_a, whole_b),
        loop_percent,
        noise,
        max((100.0 * abs(a[name] - b[name]) / mean for name in common), default=0.0),
    )


def _at_top(law: SegmentTable | ClockTable) -> dict[str, float]:
    if isinstance(law, SegmentTable):
        return law.segment_ms
    return {name: times[-1] for name, times in law.segment_ms.items()}
