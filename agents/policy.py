"""What every policy is: observations in, joint actions out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dvfo_env.simulator import Simulator


class Policy(Protocol):
    """A decision maker for a batch of devices.

    `name` is what tables print. A policy may keep memory per environment: `reset(n)` clears it for a batch of
    n
    episodes that begin together.
    """

    name: str

    def reset(self, n: int) -> None:
        """Forget everything and expect batches of `n` from now on."""

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""


@runtime_checkable
class SeesTrueState(Protocol):
    """A policy that is allowed to look at the simulator itself: a yardstick, not something a device could
    run.
    """

    def bind(self, simulator: Simulator) -> None:
        """Look at this simulator from now on."""
