"""How long a decision takes on a device: measured on this machine, carried over to one core of the device.

Nobody ran our policies on these boards. A decision is scalar and table work in one thread, as the encoder is,
so it is carried over as encoding is (`dvfo_env.calibration.encoder`): by the time of the reference encoding
on one core of the device over its time here. At the device's highest CPU clock.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dvfo_env.codecs.reference import reference_codec, reference_tensor
from dvfo_env.tables import CostTables

_REPEATS = 500
_WARM_UP = 50


class DeviceTime(NamedTuple):
    """Milliseconds of one decision on the device, and what that rests on."""

    latency_ms: float
    evidence: str
    source: str


def on_device(decision_us: float, tables: CostTables) -> DeviceTime:
    """Carry the processor time of a decision on this machine over to the device of `tables`.

    The evidence is that of the device's encoder speed; a device of which it is not known gets a typical one,
    labelled assumed.
    """
    encoder = tables.device.encoder_ms_ghz
    here_ms = reference_encoding_ms()
    clock_ghz = float(tables.cpu_ghz.max())
    slower = encoder.value / clock_ghz / here_ms
    source = (
        f"{decision_us:.0f} us of processor time on this machine x {slower:.1f} (reference encoding: "
        f"{here_ms:.4f} ms here, {encoder.value:.4f} ms x GHz on the device at {clock_ghz:.2f} GHz)"
    )
    return DeviceTime(decision_us / 1000.0 * slower, encoder.evidence, source)


@lru_cache(maxsize=1)
def reference_encoding_ms() -> float:
    """Median processor time of the reference encoding on one core of this machine, ms."""
    codec, tensors = reference_codec(), [reference_tensor()]
    spent = []
    for _ in range(_REPEATS):
        begun = time.process_time_ns()
        codec.encode(tensors)
        spent.append(time.process_time_ns() - begun)
    return float(np.median(spent[_WARM_UP:])) * 1e-6
