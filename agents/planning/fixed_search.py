"""What black-box searches over fixed joint actions share: evaluation on training episodes, and the record."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.tuning import EPISODES, FIRST_SEED
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_env.simulator import Simulator
from dvfo_env.state import DEADLINE_MISSED, DROPPED
from dvfo_env.tables import CostTables


class Measured(NamedTuple):
    """A fixed joint action on training episodes: mean cost and share of late or dropped requests."""

    cost: float
    missed: float


class Found(NamedTuple):
    """The best joint action of a search, int64 [parts], its training cost and the number of evaluations."""

    action: NDArray[np.int64]
    cost: float
    evaluations: int


class FixedActions:
    """Fixed joint actions over the parts that have a choice; each is run on training episodes once.

    free_sizes int64 [F]: number of choices of each such part (one part of size 1 where nothing is free).
    start int64 [F]: the device as it comes out of the box, where a search of a running device begins.
    """

    def __init__(self, tables: CostTables) -> None:
        self._tables = tables
        self._free = [part for part, size in enumerate(tables.sizes) if size > 1] or [0]
        self.free_sizes: NDArray[np.int64] = np.array([tables.sizes[part] for part in self._free])
        self.start: NDArray[np.int64] = tables.out_of_the_box[self._free]
        self.known: dict[tuple[int, ...], Measured] = {}

    @property
    def evaluations(self) -> int:
        """Different joint actions run so far."""
        return len(self.known)

    def joint_action(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """The joint action int64 [parts] with the free parts at `indices` [F]."""
        action = np.zeros(len(self._tables.sizes), dtype=np.int64)
        action[self._free] = indices
        return action

    def measure(self, indices: NDArray[np.integer]) -> Measured:
        """Cost and misses of one joint action on training episodes."""
        key = tuple(int(i) for i in indices)
        if key not in self.known:
            self.known[key] = _run(self._tables, self.joint_action(indices))
        return self.known[key]

    def cost(self, indices: NDArray[np.integer]) -> float:
        """Mean cost per request of one joint action on training episodes."""
        return self.measure(indices).cost


def _run(tables: CostTables, action: NDArray[np.int64]) -> Measured:
    simulator = Simulator(tables, EPISODES, autoreset=False)
    simulator.reset(FIRST_SEED + np.arange(EPISODES))
    actions = np.repeat(action[None], EPISODES, axis=0)
    running = np.ones(EPISODES, dtype=np.bool_)
    cost = missed = 0.0
    while running.any():
        batch = simulator.step(actions)
        cost -= float(batch.rewards[running].sum(dtype=np.float64))
        missed += float(batch.outcomes[running][:, [DEADLINE_MISSED, DROPPED]].sum(dtype=np.float64))
        running &= batch.ends == 0
    requests = EPISODES * tables.scenario.episode_requests
    return Measured(cost / requests, missed / requests)


def recalled(
    kind: str,
    tables: CostTables,
    search: Callable[[FixedActions], None],
    worst_missed: float = 1.0,
) -> Found:
    """What `search` finds, or found before: the cheapest action evaluated with at most `worst_missed`
    misses, or the one with the fewest misses where there is none.
    """
    key = tables_digest(tables)
    stored = recall(kind, key) or {}
    action = stored.get("action")
    if isinstance(action, list) and len(action) == len(tables.sizes):
        legal = all(isinstance(i, int) and 0 <= i < n for i, n in zip(action, tables.sizes, strict=True))
        if legal and {"cost", "evaluations"} <= set(stored):
            return Found(np.array(action, dtype=np.int64), stored["cost"], stored["evaluations"])
    actions = FixedActions(tables)
    search(actions)
    fit = {i: m for i, m in actions.known.items() if m.missed <= worst_missed}
    if fit:
        best = min(fit, key=lambda i: fit[i].cost)
    else:
        best = min(actions.known, key=lambda i: (actions.known[i].missed, actions.known[i].cost))
    found = Found(actions.joint_action(np.array(best)), actions.known[best].cost, actions.evaluations)
    plain = {"action": found.action.tolist(), "cost": found.cost, "evaluations": found.evaluations}
    remember(kind, key, plain)
    return found
