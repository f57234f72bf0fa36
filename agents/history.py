"""Stacks the observations of the last requests, for policies that should remember what they saw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class History:
    """The observations of the last `length` requests of each of N environments.

    `stacked` float32 [N, length * features] holds them newest first; None before the first. What came before
    an episode's first request is filled with its first observation.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.stacked: NDArray[np.float32] | None = None

    def begin(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Forget everything and begin episodes everywhere with observations [N, features]; the stack."""
        self.stacked = np.tile(observations, (1, self.length))
        return self.stacked

    def push(
        self, observations: NDArray[np.float32], began: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Add observations [N, features] of the next requests; the new stack.

        `began` [N] marks environments in which an episode begins with them. A batch of another size than the
        last begins anew.
        """
        if self.stacked is None or len(self.stacked) != len(observations):
            return self.begin(observations)
        stacked = self.seen_after(observations, self.stacked)
        if began is not None and self.length > 1 and began.any():
            stacked[began] = np.tile(observations[began], (1, self.length))
        self.stacked = stacked
        return stacked

    @staticmethod
    def seen_after(observations: NDArray[np.float32], stacked: NDArray[np.float32]) -> NDArray[np.float32]:
        """The stack [N, ...] in which `observations` [N, features] follow `stacked`."""
        older = stacked[:, : stacked.shape[1] - observations.shape[1]]
        return np.concatenate([observations, older], axis=1)
