"""Clairvoyant: knows the true uplink, round-trip time and server load, and takes the best action for this
request.

A yardstick, not something a device could run. It is greedy (it does not look beyond the present request)
and obeys clocks, caps and queue like everybody else; see `dvfo_env.oracle.clairvoyant`. A policy that plans
ahead may beat it; no policy beats the bound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_env.oracle import clairvoyant_actions
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CostTables


class Clairvoyant:
    """Exact search over the whole joint action on the simulator's own state; implements `SeesTrueState`."""

    name = "clairvoyant"

    def __init__(self) -> None:
        self._simulator: Simulator | None = None

    def bind(self, simulator: Simulator) -> None:
        """Look at this simulator from now on."""
        self._simulator = simulator

    def reset(self, n: int) -> None:
        """Nothing is remembered, so there is nothing to forget."""

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts]; the observations are ignored, the bound simulator's states are read.

        Raises:
            RuntimeError: no simulator has been bound.
        """
        if self._simulator is None:
            raise RuntimeError("clairvoyant: bind a simulator before the first decision")
        return clairvoyant_actions(self._simulator)[0]


def make(tables: CostTables) -> Clairvoyant:
    """The policy for a compiled scenario."""
    del tables  # it reads the tables of the simulator it is bound to
    return Clairvoyant()
