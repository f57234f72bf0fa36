"""Whether two profiles of one machine agree within the noise that they state themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dvfo_env.devices.profile import ClockTable, DeviceProfile, SegmentTable
from dvfo_env.errors import ConfigError


@dataclass(frozen=True)
class Agreement:
    """One network at one mapping, highest clocks, in two profiles.

    `noise_percent` is what the two intervals (95 %) allow: the root of the sum of their squared half widths,
    in percent of the mean; None where a profile states none. `segments_percent` is the largest difference of
    a segment, in percent of the whole network.
    """

    network: str
    mapping: str
    first_ms: float
    second_ms: float
    difference_percent: float
    noise_percent: float | None
    segments_percent: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the noise."""
        return self.noise_percent is not None and abs(self.difference_percent) <= self.noise_percent


def compare(first: DeviceProfile, second: DeviceProfile) -> tuple[Agreement, ...]:
    """Compare everything that both measured.

    Raises:
        ConfigError: they have no measured network and mapping in common.
    """
    found = []
    for network, laws in first.latency.items():
        for mapping, law in laws.items():
            other = second.latency.get(network, {}).get(mapping)
            if isinstance(law, SegmentTable | ClockTable) and isinstance(other, SegmentTable | ClockTable):
                found.append(_agreement(network, mapping, law, other))
    if not found:
        raise ConfigError(f"{first.name}, {second.name}: no network and mapping that both measured")
    return tuple(found)


def _agreement(
    network: str, mapping: str, first: SegmentTable | ClockTable, second: SegmentTable | ClockTable
) -> Agreement:
    a, b = _at_top(first), _at_top(second)
    whole_a, whole_b = sum(a.values()), sum(b.values())
    mean = (whole_a + whole_b) / 2.0
    noise = None
    if first.range_ms is not None and second.range_ms is not None:
        halves = [(high - low) / 2.0 for low, high in (first.range_ms, second.range_ms)]
        noise = 100.0 * math.hypot(*halves) / mean
    common = a.keys() & b.keys()
    return Agreement(
        network,
        mapping,
        whole_a,
        whole_b,
        100.0 * (whole_b - whole_a) / mean,
        noise,
        max((100.0 * abs(a[name] - b[name]) / mean for name in common), default=0.0),
    )


def _at_top(law: SegmentTable | ClockTable) -> dict[str, float]:
    if isinstance(law, SegmentTable):
        return law.segment_ms
    return {name: times[-1] for name, times in law.segment_ms.items()}
