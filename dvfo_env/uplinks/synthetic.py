"""Bandwidth processes without a measurement behind them: a random walk between two bounds."""

from __future__ import annotations

import numpy as np

from dvfo_env.uplinks.model import ChainProcess


def bounded_walk(
    low_mbps: float, high_mbps: float, bins: int, move_chance: float, step_ms: float = 100.0
) -> ChainProcess:
    """A random walk over `bins` equal steps of log-bandwidth that turns back at its bounds:
    log-uniform, no outage.

    Each step it moves to a neighbouring bin with chance `move_chance`, half of it to each side; at a
    bound the outward half stays.
    """
    half = move_chance / 2.0
    moves = np.diag(np.full(bins - 1, half), 1) + np.diag(np.full(bins - 1, half), -1)
    moves += np.diag(1.0 - moves.sum(axis=1))
    even = (tuple(round(1.0 / bins, 6) for _ in range(bins)),)
    return ChainProcess(
        step_ms=step_ms,
        outage_below_mbps=0.0,
        bin_edges_mbps=tuple(float(f"{edge:.6g}") for edge in np.geomspace(low_mbps, high_mbps, bins + 1)),
        position_persistence=1.0,
        level_transitions=((1.0,),),
        bin_transitions=(tuple(tuple(float(value) for value in row) for row in np.round(moves, 4)),),
        outage_entry=((0.0,) * bins,),
        level_after_outage=((1.0,),),
        bin_after_outage=even,
        outage_dwell_ms=(step_ms,),
    )
