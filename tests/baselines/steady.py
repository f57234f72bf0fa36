"""A world in which bandwidth, round-trip time and server load never change."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.tables import CostTables


class Steady:
    """Stands in for an uplink or a server and forwards everything but the samples."""

    def __init__(self, real: Any, *values: float) -> None:
        self._real = real
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def bank(self, samples: int, seed: int) -> NDArray[np.float32]:
        return np.tile(np.array(self._values, dtype=np.float32), (samples, 1))

    def load_bank(self, samples: int, step_ms: float, seed: int) -> NDArray[np.float32]:
        return np.full(samples, self._values[0], dtype=np.float32)


def steady(tables: CostTables, mbps: float, rtt_ms: float = 30.0, factor: float = 1.5) -> CostTables:
    uplink: Any = Steady(tables.uplink, mbps, rtt_ms)
    server: Any = Steady(tables.server, factor)
    return dataclasses.replace(tables, uplink=uplink, server=server)
