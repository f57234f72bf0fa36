"""What the model says about given joint actions at given moments of a bandwidth trace."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_env.simulator import Simulator
from dvfo_env.state import PHASES
from dvfo_env.tables import CPU, GPU, LOAD, MEM, RATE, RATE_LOG2, RTT, CostTables, rate_log2


def trace_bank(rate_mbps: NDArray[np.floating], rtt_ms: NDArray[np.floating]) -> NDArray[np.float32]:
    """A bank float32 [S, 4] of a trace [S] on the uplink's time step, server unloaded."""
    bank = np.ones((len(rate_mbps), 4), dtype=np.float32)
    bank[:, RATE], bank[:, RTT], bank[:, LOAD] = rate_mbps, rtt_ms, 1.0
    bank[:, RATE_LOG2] = rate_log2(bank[:, RATE])
    return bank


def predicted_phases(
    tables: CostTables,
    bank: NDArray[np.float32],
    arrivals_ms: NDArray[np.float64],
    actions: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Latency of every phase float64 [N, PHASES], ms.

    arrivals_ms [N]: where on the trace each request begins, its clocks already in force and nobody waiting.
    actions int64 [N, parts]: joint-action indices.
    """
    simulator = Simulator(tables, len(actions), autoreset=False)
    simulator.bank = bank
    states = simulator.states
    states["offset"] = 0
    states["arrival_ms"] = states["now_ms"] = states["started_ms"] = arrivals_ms
    for field, part in (("cpu", CPU), ("gpu", GPU), ("mem", MEM)):
        states[field] = actions[:, part]
    outcomes = simulator.step(np.ascontiguousarray(actions)).outcomes
    return outcomes[:, : len(PHASES)].astype(np.float64)
