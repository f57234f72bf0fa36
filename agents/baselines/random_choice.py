"""Random: every part of the joint action drawn uniformly, anew for every request.

A floor that any method must clear. The draw is a hash of the decision's number and the observation, so an
episode replays bit for bit whatever batch it is part of.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.draw import draw
from dvfo_env.tables import CostTables


class RandomChoice:
    """Uniform over the joint action; `sizes` are the numbers of choices of each part."""

    name = "random"

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = sizes
        self._decision = self._batch = 0

    def reset(self, n: int) -> None:
        """Count decisions from zero again."""
        self._decision, self._batch = 0, n

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        if len(observations) != self._batch:
            self.reset(len(observations))
        self._decision += 1
        return draw(observations, self._decision - 1, self._sizes)


def make(tables: CostTables) -> RandomChoice:
    """The policy for a compiled scenario."""
    return RandomChoice(tables.sizes)
