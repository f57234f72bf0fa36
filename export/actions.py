"""An agent's view of the joint action as plain numbers, for code generators: no view object is left on a
device.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_env.spaces import ActionView, box_edges, box_order
from dvfo_env.tables import ACTION_PARTS

_FAR = 40.0  # tanh is 1 to the last bit long before


def columns(view: ActionView) -> tuple[int, ...]:
    """Place in the joint action of each part that the agent decides on."""
    return tuple(ACTION_PARTS.index(part) for part in view.free)


def pinned(view: ActionView) -> tuple[int | None, ...]:
    """Index of each part of the joint action that is always the same, None where the agent decides."""
    rest = view.to_indices(np.zeros((1, len(view.free)), dtype=np.int64))[0]
    free = set(columns(view))
    return tuple(None if part in free else int(index) for part, index in enumerate(rest))


def cells(view: ActionView) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """For each free part of a Box view: from which output of the network on the next cell is chosen, float64
    [choices - 1], and the choice of each cell.

    A cell begins at an edge e in (-1, 1) and the point is the tanh of the output. The smallest float64 whose
    tanh reaches e stands for it, so that no tanh is left to compute.
    """
    axes = zip(view.free, view.sizes.tolist(), strict=True)
    return [(_thresholds(box_edges(part, size)[1:-1]), box_order(part, size)) for part, size in axes]


def _thresholds(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.full(edges.shape, -_FAR), np.full(edges.shape, _FAR)
    while True:
        middle = low + 0.5 * (high - low)
        between = (middle > low) & (middle < high)
        if not between.any():
            return high
        reached = np.tanh(middle) >= edges
        high = np.where(between & reached, middle, high)
        low = np.where(between & ~reached, middle, low)
