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


def heads_of(visits: Sequence[Mapping[str, Any]]) -> dict[int, Median]:
    """Median share of the whole network that a head takes, by the number of the inner cut behind it.

    Numerator and denominator of a share were timed within milliseconds of each other: a machine whose speed
    wanders changes both. Cuts that were never timed are missing.
    """
    return _medians_of_cuts(visits, 0)


def pieces_of(visits: Sequence[Mapping[str, Any]]) -> dict[int, Median]:
    """Median share of the whole network that head and tail take together, by the number of the inner cut."""
    return _medians_of_cuts(visits, 1)


def _medians_of_cuts(visits: Sequence[Mapping[str, Any]], column: int) -> dict[int, Median]:
    found: dict[int, list[float]] = {}
    for visit in visits:
        for cut, shares in visit["cuts"].items():
            found.setdefault(int(cut), []).append(shares[column])
    return {cut: median_interval(found[cut]) for cut in sorted(found)}


def widest_percent(network: Network, heads: Mapping[int, Median]) -> float | None:
    """Half width of the widest interval of a head, in percent of the whole; None while one is missing."""
    widths = [head.half_width for head in heads.values()]
    known = [100.0 * width for width in widths if width is not None]
    return max(known, default=0.0) if len(known) == network.inner_cuts else None


def precision_percent(log: MeasurementLog, network: Network, condition: Condition) -> float | None:
    """How well the whole network and its heads are known: half of the widest interval, in percent.

    None while there are too few visits for one of the intervals.
    """
    visits = log.visits_of(condition.key)
    if len(visits) < MIN_VISITS:
        return None
    widths = (whole_of(visits).half_width_percent, widest_percent(network, heads_of(visits)))
    known = [width for width in widths if width is not None]
    return max(known) if len(known) == len(widths) else None


def settled(log: MeasurementLog, network: Network, condition: Condition, wanted_percent: float) -> bool:
    """Whether the whole network and every head are known to `wanted_percent` of the whole."""
    found = precision_percent(log, network, condition)
    return found is not None and found <= wanted_percent
