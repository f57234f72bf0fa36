"""What the visits of a condition say: medians, the shares of heads, whether that is known well enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dvfo_env.profiling.log import MeasurementLog
from dvfo_env.profiling.plan import Condition, Network
from dvfo_env.profiling.statistics import Median, median_interval

#: Fewest visits of a condition before its interval counts.
MIN_VISITS = 8


def whole_of(visits: Sequence[Mapping[str, Any]]) -> Median:
    """Median latency (ms) of the whole network over visits: of each visit's own median."""
    return median_interval([visit["whole_median_ms"] for visit in visits])


def heads_of(network: Network, visits: Sequence[Mapping[str, Any]]) -> tuple[Median, ...]:
    """Median share of the whole network that the head before each inner cut takes.

    Numerator and denominator of a share were timed within milliseconds of each other: a machine whose speed
    wanders changes both.

    Raises:
        ValueError: a cut was never visited.
    """
    return _medians_of_cuts(network, visits, 0)


def pieces_of(network: Network, visits: Sequence[Mapping[str, Any]]) -> tuple[Median, ...]:
    """Median share of the whole network that head and tail take together, at each inner cut.

    Raises:
        ValueError: a cut was never visited.
    """
    return _medians_of_cuts(network, visits, 1)


def _medians_of_cuts(
    network: Network, visits: Sequence[Mapping[str, Any]], column: int
) -> tuple[Median, ...]:
    found: dict[str, list[float]] = {str(cut): [] for cut in range(1, network.inner_cuts + 1)}
    for visit in visits:
        for cut, shares in visit["cuts"].items():
            found[cut].append(shares[column])
    return tuple(median_interval(values) for values in found.values())


def complete(log: MeasurementLog, network: Network, condition: Condition) -> bool:
    """Whether the whole network and the head and tail of every inner cut were timed at least once."""
    visits = log.visits_of(condition.key)
    seen = {cut for visit in visits for cut in visit["cuts"]}
    return bool(visits) and len(seen) == network.inner_cuts


def widths_percent(log: MeasurementLog, network: Network, condition: Condition) -> tuple[float, ...] | None:
    """Half widths of all intervals in percent of the whole network; None while one of them is missing."""
    visits = log.visits_of(condition.key)
    if len(visits) < MIN_VISITS or not complete(log, network, condition):
        return None
    widths = (
        whole_of(visits).half_width_percent,
        *(head.half_width and 100.0 * head.half_width for head in heads_of(network, visits)),
    )
    known = tuple(width for width in widths if width is not None)
    return known if len(known) == len(widths) else None


def settled(log: MeasurementLog, network: Network, condition: Condition, precision_percent: float) -> bool:
    """Whether the whole network and every head are known to `precision_percent` of the whole."""
    widths = widths_percent(log, network, condition)
    return widths is not None and max(widths) <= precision_percent
