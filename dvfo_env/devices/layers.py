"""How a latency law runs through the layers of a network: time of every segment at every clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.devices.profile import ClockLaw, ClockTable, Law, LayerTable, Mapping, SegmentTable
from dvfo_env.errors import ConfigError

if TYPE_CHECKING:
    from dvfo_env.schema import Coefficient
    from dvfo_env.workloads import WorkloadCard

Array = NDArray[np.float64]
Times = dict[str, float] | dict[str, tuple[float, ...]]
Grid = tuple[Array, Array, Array]
"""Clocks in GHz, shaped [C, 1, 1], [1, G, 1] and [1, 1, M]."""


class Shares(NamedTuple):
    """What part of the network each segment holds, each [n_segments] and summing to 1."""

    flops: Array
    traffic: Array
    ops: Array


def shares(card: WorkloadCard) -> Shares:
    """Shares of FLOPs, memory traffic and operations of every segment of a workload card."""
    return Shares(*(_share(values) for values in (card.flops, card.traffic_bytes, card.ops)))


def _share(values: object) -> Array:
    array = np.asarray(values, dtype=np.float64)
    total = float(array.sum())
    return array / total if total > 0.0 else np.full(array.shape, 1.0 / max(array.size, 1))


def value_of(coefficient: Coefficient | None, default: float = 0.0) -> float:
    """Value of a coefficient, or `default` where it is absent."""
    return default if coefficient is None else coefficient.value


def soft_maximum(compute_ms: Array, memory_ms: Array, shape: float) -> Array:
    """(compute^p + memory^p)^(1/p), the soft roofline; p = 1 is the sum, large p the maximum."""
    largest = np.maximum(compute_ms, memory_ms)
    smallest = np.minimum(compute_ms, memory_ms)
    ratio = np.divide(smallest, largest, out=np.zeros_like(largest), where=largest > 0.0)
    return np.asarray(largest * (1.0 + ratio**shape) ** (1.0 / shape))


def uniform_shares(gpu_ms_ghz: float, mem_ms_ghz: float, shape: float, share: Shares) -> Array:
    """Share of the soft maximum that each segment holds, [n_segments], summing to 1.

    Each segment's own soft maximum at 1 GHz GPU and memory clock, as part of their sum.
    """
    parts = soft_maximum(gpu_ms_ghz * share.flops, mem_ms_ghz * share.traffic, shape)
    return _share(parts)


def segment_latency_ms(
    law: Law, mapping: Mapping, card: WorkloadCard, share: Shares, grid: Grid, where: str
) -> Array:
    """Time (ms) of every segment, [n_segments, C, G, M]; see `ClockLaw` and the two tables for the formulas.

    Raises:
        ConfigError: a table misses a layer or segment of the card; `where` opens the message.
    """
    shape = (len(share.flops), *np.broadcast_shapes(*(clock.shape for clock in grid)))
    if isinstance(law, LayerTable):
        times = _from_table(law, card, where)
    elif isinstance(law, SegmentTable):
        times = _from_segments(law.segment_ms, card, where)
    elif isinstance(law, ClockTable):
        times = _from_clock_table(law, card, grid, where)
    else:
        times = clock_law_ms(law, mapping, share, grid)
    return np.array(np.broadcast_to(times, shape))


def clock_law_ms(law: ClockLaw, mapping: Mapping, share: Shares, grid: Grid) -> Array:
    """Time (ms) of every segment under a clock law; broadcasts to [n_segments, C, G, M]."""
    cpu, gpu, mem = grid
    ops, flops, traffic = (part[:, None, None, None] for part in (share.ops, share.flops, share.traffic))
    times: Array = value_of(law.t0_ms) * ops
    if law.cpu_ms_ghz is not None:
        speed = cpu * mapping.threads ** value_of(law.core_exponent)
        times = times + law.cpu_ms_ghz.value / speed * (ops if mapping.kind == "gpu" else flops)
    compute = value_of(law.gpu_ms_ghz) / gpu if law.gpu_ms_ghz is not None else np.zeros((1, 1, 1))
    memory = value_of(law.mem_ms_ghz) / mem if law.mem_ms_ghz is not None else np.zeros((1, 1, 1))
    exponent = value_of(law.shape, 1.0)
    if law.split == "layered":
        return times + soft_maximum(compute * flops, memory * traffic, exponent)
    weight = uniform_shares(value_of(law.gpu_ms_ghz), value_of(law.mem_ms_ghz), exponent, share)
    return times + weight[:, None, None, None] * soft_maximum(compute, memory, exponent)


def _from_table(law: LayerTable, card: WorkloadCard, where: str) -> Array:
    fused = set(law.fused)
    times = []
    for segment in card.segments:
        for layer in segment.layers:
            if layer not in law.layer_ms and layer not in fused:
                raise ConfigError(f"{where}.layer_ms: layer {layer!r} of {card.name} is missing")
        times.append(sum(law.layer_ms.get(layer, 0.0) for layer in segment.layers))
    return np.asarray(times, dtype=np.float64)[:, None, None, None]


def _from_segments(segment_ms: Times, card: WorkloadCard, where: str) -> Array:
    """Times in the card's order, [n_segments, 1, 1, 1], or [n_segments, points] of a clock table."""
    ends = card.cut_names[1:]
    if set(ends) != set(segment_ms):
        odd = sorted(set(ends) ^ set(segment_ms))
        raise ConfigError(f"{where}.segment_ms: cut {odd[0]!r} is missing here or unknown to {card.name}")
    times = np.asarray([segment_ms[end] for end in ends], dtype=np.float64)
    return times if times.ndim == 2 else times[:, None, None, None]


def _from_clock_table(law: ClockTable, card: WorkloadCard, grid: Grid, where: str) -> Array:
    """Linear in 1/f along each clock in turn, [n_segments, C, G, M]."""
    axes = (law.cpu_mhz, law.gpu_mhz, law.mem_mhz)
    times = _from_segments(law.segment_ms, card, where)
    times = times.reshape(len(times), *(max(1, len(mhz)) for mhz in axes))
    for dimension, (mhz, clock) in enumerate(zip(axes, grid, strict=True), start=1):
        if not mhz:
            continue
        periods = 1000.0 / np.asarray(mhz)[::-1]
        wanted = 1.0 / clock.ravel()
        along = np.flip(times, axis=dimension)
        times = np.apply_along_axis(
            lambda row, x, xs: np.interp(x, xs, row), dimension, along, wanted, periods
        )
    return times
