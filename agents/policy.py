"""What every policy is: observations in, joint actions out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dvfo_env.simulator import Simulator


class Policy(Protocol):
    """A decision maker for a batch of devices.

    `name` is what tables print. A policy may keep memory per environment: `reset(n)` clears it for a batch of
    n episodes that begin together, and a batch of another size than the last begins anew.
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


@runtime_checkable
class LearnsOnline(Protocol):
    """A policy that goes on learning while it decides, from what each request turned out to cost."""

    def learn(self, costs: NDArray[np.float64]) -> None:
        """Take the costs float64 [N] of the requests last decided on, dropped ones included."""
