"""Random actions that replay: a hash of the decision's number and the observation, wherever it is drawn."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import Bundle
from dvfo_controller.policies.packing import one_row


def draw(observations: NDArray[np.float32], decision: int, sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Joint actions int64 [N, parts], every part uniform over its `sizes`."""
    rows = np.ascontiguousarray(observations)
    keys = np.array([zlib.crc32(row.tobytes(), decision) for row in rows], dtype=np.uint64)
    parts = np.arange(len(sizes), dtype=np.uint64)
    draws = _mix((keys[:, None] * np.uint64(16) + parts).astype(np.uint64))
    return (draws * np.array(sizes, dtype=np.float64)).astype(np.int64)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) from counters (splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * (1.0 / 9007199254740992.0)


class DrawPolicy:
    """Every part uniform, anew for every request; a `DevicePolicy`."""

    def __init__(self, sizes: tuple[int, ...], features: int) -> None:
        self._sizes, self._features = sizes, features
        self.reset()

    def reset(self) -> None:
        """Count decisions from zero again."""
        self._decision = 0

    def decide(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [6] for an observation float32 [features].

        Raises:
            ActionError: the observation has another shape or is not finite.
        """
        row = one_row(observation, self._features)
        self._decision += 1
        action: NDArray[np.int64] = draw(row, self._decision - 1, self._sizes)[0]
        return action


def open(bundle: Bundle) -> DrawPolicy:
    """The policy of a bundle of kind draw."""
    return DrawPolicy(bundle.manifest.action.sizes, len(bundle.manifest.observation))
