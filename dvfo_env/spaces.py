"""The two views of the joint action: MultiDiscrete for PPO-like agents, Box[-1, 1] for SAC-like ones.

Both show only the free parts, those with more than one choice; pinned parts are filled in. Sizes come from
the scenario.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dvfo_env.errors import ActionError
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.tables import ACTION_PARTS, CostTables


def observation_space() -> gym.spaces.Box:
    """Box[-1, 1] of shape [OBSERVATION_SIZE], float32; `observation.FEATURES` names every entry."""
    return gym.spaces.Box(-1.0, 1.0, shape=(OBSERVATION_SIZE,), dtype=np.float32)


def reward_space(worst: float = np.inf) -> gym.spaces.Box:
    """Space of the reward vector (latency, energy, accuracy), each <= 0, float32 [3]."""
    return gym.spaces.Box(-worst, 0.0, shape=(3,), dtype=np.float32)


def box_edges(part: str, size: int) -> NDArray[np.float64]:
    """Where the cells of a Box axis begin and end, float64 [size + 1], ascending from -1 to 1.

    Cells are equally wide, except on an axis of more than four cuts: there sending the input and running
    everything here, side by side at its end (`box_order`), take a quarter each. An agent that explores with a
    wide distribution, as SAC does, must be able to hold on to a choice without first becoming narrow: in a
    cell of one twentieth it never finds out that sending the input is best, while a dozen similar cuts
    together are easily found.
    """
    widths = np.full(size, 2.0 / size)
    if part == "cut" and size > 4:
        widths[:] = 1.0 / (size - 2)
        widths[-2:] = 0.5
    edges = np.concatenate([[0.0], np.cumsum(widths)]) - 1.0
    edges[-1] = 1.0
    return edges


def box_order(part: str, size: int) -> NDArray[np.int64]:
    """Index of the choice in each cell of a Box axis, int64 [size].

    As in the joint action, except for cuts: deeper and deeper ones, everything here, then the input. So an
    agent whose uplink comes and goes moves between everything here and everything there, or between deep cuts
    and everything here, without crossing the early cuts, which send the most.
    """
    return np.roll(np.arange(size), -1 if part == "cut" else 0)


class ActionView:
    """Translates an agent's actions to joint-action indices and back.

    Attributes:
        free: names of the parts the agent chooses, in the order of its action.
        sizes: number of choices of each free part.
        space: the gymnasium space of one action.
    """

    def __init__(self, tables: CostTables, continuous: bool) -> None:
        all_sizes = tables.sizes
        free = [i for i, size in enumerate(all_sizes) if size > 1]
        if not free:
            free = [0]  # a scenario with nothing to choose still needs a space
        self.continuous = continuous
        self._columns = np.array(free, dtype=np.int64)
        self.free = tuple(ACTION_PARTS[i] for i in free)
        self.sizes = np.array([all_sizes[i] for i in free], dtype=np.int64)
        self._parts = len(all_sizes)
        axes = list(zip(self.free, self.sizes.tolist(), strict=True))
        self._edges = [box_edges(part, size) for part, size in axes]
        self._order = [box_order(part, size) for part, size in axes]
        self.space: gym.spaces.Space[Any]
        if continuous:
            self.space = gym.spaces.Box(-1.0, 1.0, shape=(len(free),), dtype=np.float32)
        else:
            self.space = gym.spaces.MultiDiscrete(self.sizes)

    def to_indices(self, actions: Any) -> NDArray[np.int64]:
        """Indices int64 [N, parts] of agents' actions [N, free parts].

        A Box entry picks the choice in whose cell it lies (`box_edges`); entries outside [-1, 1] count as the
        nearer end.

        Whether discrete indices are in range is checked where they are used, by `Simulator.step`.

        Raises:
            ActionError: wrong shape, NaN or not whole numbers; names environment and part.
        """
        array = np.asarray(actions)
        if array.ndim != 2 or array.shape[1] != len(self.free):
            raise ActionError(
                f"action has shape {array.shape}, expected [N, {len(self.free)}]: {', '.join(self.free)}"
            )
        chosen = self._from_box(array) if self.continuous else self._from_discrete(array)
        indices = np.zeros((array.shape[0], self._parts), dtype=np.int64)
        indices[:, self._columns] = chosen
        return indices

    def _from_box(self, array: NDArray[Any]) -> NDArray[np.int64]:
        if not np.isfinite(array).all():
            self._refuse(array, ~np.isfinite(array), "is not finite")
        columns = zip(self._edges, self._order, array.T, strict=True)
        chosen = [order[np.searchsorted(edges[1:-1], x, side="right")] for edges, order, x in columns]
        return np.stack(chosen, axis=1)

    def _from_discrete(self, array: NDArray[Any]) -> NDArray[np.int64]:
        if array.dtype.kind not in "iu":
            bad = ~np.isfinite(array) | (array != np.floor(array))
            if bad.any():
                self._refuse(array, bad, "is not a whole number")
        return array.astype(np.int64, copy=False)  # the compiled step checks the range of every index

    def _refuse(self, array: NDArray[Any], bad: NDArray[np.bool_], why: str) -> None:
        row, column = (int(i) for i in np.argwhere(bad)[0])
        legal = "[-1, 1]" if self.continuous else f"0..{self.sizes[column] - 1}"
        raise ActionError(
            f"action of environment {row}: {self.free[column]} {why} "
            f"(found {array[row, column]}, legal {legal})"
        )

    def from_indices(self, indices: NDArray[np.integer]) -> NDArray[Any]:
        """The agent's action [N, free parts] that picks `indices` [N, parts]; the inverse of `to_indices`."""
        chosen = np.asarray(indices)[:, self._columns]
        if not self.continuous:
            return chosen.astype(np.int64)
        columns = zip(self._edges, self._order, chosen.T, strict=True)
        centres = [(0.5 * (edges[:-1] + edges[1:]))[np.argsort(order)[x]] for edges, order, x in columns]
        return np.stack(centres, axis=1).astype(np.float32)
