"""A policy that always does the same: the common ground of all fixed settings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class ConstantPolicy:
    """Answers every observation with one joint action.

    Args:
        name: what tables print.
        action: indices int64 [parts] in the order of `tables.ACTION_PARTS`.
    """

    def __init__(self, name: str, action: NDArray[np.integer]) -> None:
        self.name = name
        self.action: NDArray[np.int64] = np.asarray(action, dtype=np.int64)

    def reset(self, n: int) -> None:
        """Nothing is remembered, so there is nothing to forget."""

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """The same indices int64 [N, parts] for any observations float32 [N, OBSERVATION_SIZE]."""
        return np.repeat(self.action[None], len(observations), axis=0)
