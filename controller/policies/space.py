"""The part of the joint action that a search covers, prepared for fast visits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.cost_model import MJ, MS, CostModel

_ETA_POINTS = 9


@dataclass(frozen=True)
class Space:
    """What is searched.

    order      int32 [E, U, K, P]   clock points, cheapest head first, for each of E weights eta
    floor      float64 [E, U, K]    cost of the cheapest head
    shares     float64 [U, K]       at most this share of the head runs while clocks still change
    cuts, levels int64              allowed cuts and compression levels
    """

    order: NDArray[np.int32]
    floor: NDArray[np.float64]
    shares: NDArray[np.float64]
    cuts: NDArray[np.int64]
    levels: NDArray[np.int64]


def prepare_space(
    model: CostModel,
    clocks: NDArray[np.bool_] | None = None,
    cuts: NDArray[np.integer] | None = None,
    levels: NDArray[np.integer] | None = None,
) -> Space:
    """Prepare a search over `clocks` (bool [C, G, M]; default all), `cuts` and `levels` (indices; default
    all).
    """
    p = model.numbers
    shape = model.head.shape
    ms = model.head[..., MS].reshape(*shape[:2], -1).astype(np.float64)
    mj = model.head[..., MJ].reshape(*shape[:2], -1).astype(np.float64)
    allowed = np.arange(ms.shape[2]) if clocks is None else np.flatnonzero(clocks.ravel())
    low, high = p.eta_low, p.eta_high
    etas = np.linspace(low, high, 1 if low == high else _ETA_POINTS)
    weighted = np.stack(
        [e * p.energy_weight_per_mj * mj + (1.0 - e) * p.latency_weight_per_ms * ms for e in etas]
    )
    # the first cut has no head, so any order is sorted: points that are cheap to wait at come first
    key = weighted + np.float64(1e-12) * model.idle[..., 0].ravel().astype(np.float64)
    order = allowed[np.argsort(key[..., allowed], axis=-1, kind="stable")]
    every_cut, every_level = np.arange(shape[1]), np.arange(model.send.shape[1])
    fastest_ms = ms.min(axis=-1)
    delay_ms = max(p.cpu_delay_ms, p.gpu_delay_ms, p.mem_delay_ms)
    shares = np.divide(delay_ms, fastest_ms, out=np.ones_like(fastest_ms), where=fastest_ms > delay_ms)
    shares[ms.max(axis=-1) == 0.0] = 0.0  # no head runs before the input
    return Space(
        order=np.ascontiguousarray(order, dtype=np.int32),
        floor=weighted.min(axis=-1),  # over all clocks: the old ones may be outside `clocks`
        shares=shares,
        cuts=np.asarray(every_cut if cuts is None else cuts, dtype=np.int64),
        levels=np.asarray(every_level if levels is None else levels, dtype=np.int64),
    )
