"""Uplinks: bandwidth over time from fitted models or measured traces, round-trip times, and the
radio's power.
"""

from __future__ import annotations

from dvfo_env.uplinks.interface import RadioPower, Uplink
from dvfo_env.uplinks.library import list_uplinks, load_model, load_uplink
from dvfo_env.uplinks.model import ModelUplink, UplinkModel
from dvfo_env.uplinks.trace_uplink import TraceUplink
from dvfo_env.uplinks.traces import Trace, load_mahimahi, load_timed, load_trace, resample

__all__ = [
    "ModelUplink",
    "RadioPower",
    "Trace",
    "TraceUplink",
    "Uplink",
    "UplinkModel",
    "list_uplinks",
    "load_mahimahi",
    "load_model",
    "load_timed",
    "load_trace",
    "load_uplink",
    "resample",
]
