"""Random: every part of the joint action drawn uniformly, anew for every request.

A floor that any method must clear. The draw is a hash of the decision's number and the observation, so an
episode replays bit for bit whatever batch it is part of.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from dvfo_env.tables import CostTables


class RandomChoice:
    """Uniform over the joint action; `sizes` are the numbers of choices of each part."""

    name = "random"

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = np.array(sizes, dtype=np.float64)
        self._decision = self._batch = 0

    def reset(self, n: int) -> None:
        """Count decisions from zero again."""
        self._decision, self._batch = 0, n

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        if len(observations) != self._batch:
            self.reset(len(observations))
        rows = np.ascontiguousarray(observations)
        keys = np.array([zlib.crc32(row.tobytes(), self._decision) for row in rows], dtype=np.uint64)
        self._decision += 1
        parts = np.arange(len(self._sizes), dtype=np.uint64)
        draws = _mix((keys[:, None] * np.uint64(16) + parts).astype(np.uint64))
        return (draws * self._sizes).astype(np.int64)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) from counters (splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * (1.0 / 9007199254740992.0)


def make(tables: CostTables) -> RandomChoice:
    """The policy for a compiled scenario."""
    return RandomChoice(tables.sizes)
