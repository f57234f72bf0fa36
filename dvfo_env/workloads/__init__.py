"""Workloads: a network as a graph of layers, the places where it can be cut, and its card as data.

The cost model reads cards only (`load_workload`); the graphs behind them are in `networks/`, and `build`
turns a graph into a card. Nothing here needs a deep-learning framework.
"""

from __future__ import annotations

from dvfo_env.workloads.card import Cut, CutTensor, Segment, WorkloadCard, segment_of
from dvfo_env.workloads.library import list_workloads, load_workload
from dvfo_env.workloads.table import cuts_table

__all__ = [
    "Cut",
    "CutTensor",
    "Segment",
    "WorkloadCard",
    "cuts_table",
    "list_workloads",
    "load_workload",
    "segment_of",
]
