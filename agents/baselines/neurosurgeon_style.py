"""Neurosurgeon-style: the best cut for the bandwidth last seen, at the highest clocks, with one compression
level.

After Kang et al., "Neurosurgeon: Collaborative Intelligence Between the Cloud and Mobile Edge" (ASPLOS
2017): per layer it predicts latency and energy on the device and on the server, and for the current
bandwidth and server load it takes the cut with the least latency or the least energy.

What differs from the paper: it minimises the scenario's own cost (the mix of latency, energy, accuracy and
deadline) instead of one of the two; it chooses among all mappings; its layer predictions are the model's
own, so they are never wrong; and it may compress with one fixed level, the one that does best on training
episodes, where the paper sends 32-bit features. Clocks stay at the top, as the paper knows none. The paper
probes the network now and then; here a throughput older than `forget_ms` (also chosen on training episodes)
gives way to the training bank's median rate, as it does before the first transfer. Round-trip
time and server load relax to their means while no answer comes. It does not hedge or look at the queue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.belief import BankStatistics, Belief, states_of
from dvfo_agents.planning.search import search
from dvfo_agents.planning.seen import LAYOUT, cost_model, kilobits_of, numbers_of
from dvfo_agents.planning.tuning import training_cost
from dvfo_controller.policies.last_seen import LastSeen, start_of, top_space
from dvfo_controller.policies.memory import Remembered
from dvfo_env.tables import LEVEL, CostTables

_FORGET_MS = (1000.0, 250.0, 4000.0, np.inf)


class Neurosurgeon:
    """Cut and mapping by enumeration for the rate last seen; implements `Policy`.

    Args:
        tables: the compiled scenario.
        statistics: of the training bank.
        level: index of the compression level everything is sent with.
        forget_ms: age at which the throughput last seen is no longer believed.
    """

    name = "neurosurgeon-style"

    def __init__(
        self, tables: CostTables, statistics: BankStatistics, level: int, forget_ms: float = _FORGET_MS[0]
    ) -> None:
        self.level = level
        self.forget_ms = forget_ms
        self._tables = tables
        model = cost_model(tables)
        self._space, self._start = top_space(model, level), start_of(model, level)
        belief = Belief(statistics, last_weight=1.0, worlds=1, learned=False)
        self.seen = LastSeen(belief, LAYOUT, forget_ms)
        self.reset(0)

    def reset(self, n: int) -> None:
        """Forget when answers came."""
        self._before = np.repeat(self._start[None], n, axis=0)
        self._remembered = Remembered(numbers_of(self._tables), LAYOUT, kilobits_of(self._tables), n)

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        if len(self._before) != len(observations):
            self.reset(len(observations))
        self._remembered.update(observations, self._before)
        actions = np.repeat(self._start[None], len(observations), axis=0)
        states = states_of(self._tables, observations)
        worlds = self.seen.worlds(observations, self._remembered.answer_age_ms)
        search(self._tables, self._space, states, worlds, actions)
        self._before = actions.copy()
        return actions


def make(tables: CostTables) -> Neurosurgeon:
    """The policy for a compiled scenario, with the level and then the memory that cost least on training
    episodes.
    """
    statistics = BankStatistics(tables)
    by_level = [Neurosurgeon(tables, statistics, level) for level in range(tables.sizes[LEVEL])]
    level = min(by_level, key=lambda policy: training_cost(policy, tables)).level
    by_memory = [Neurosurgeon(tables, statistics, level, forget_ms) for forget_ms in _FORGET_MS]
    return min(by_memory, key=lambda policy: training_cost(policy, tables))
