"""DRLDO-style: a deep Q-network picks the clocks, and whether the whole input is sent or nothing.

DRLDO (deep reinforcement learning for DVFS and offloading) learns clocks and offloading together, and
offloading is binary: a task is sent whole or not at all. Only this idea is taken over: no text or code of it
was at hand, so nothing else here is claimed to be its authors'.

What is ours: a double DQN with two small hidden layers (`dvfo_agents.planning.tiny_dqn`) on the whole
observation, trained on training episodes on the scenario's own cost. Its actions: local or sent, times a
third, two thirds and the whole of the range of each clock, and besides them the clocks that `all-local` and
`compress-input` found. What is local runs on the mapping of `all-local`; what is sent is compressed with the
one level of `compress-input`, where the paper sends raw data. How far it looks ahead (`gamma`) is chosen on
training episodes. Trained networks are kept on disk.

Where a scenario does not offer cut 0, the earliest cut it offers takes its place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.baselines import all_local, compress_input
from dvfo_agents.planning.tiny_dqn import DqnPolicy, DqnSettings, train_cached
from dvfo_agents.planning.tuning import training_cost
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.tables import CPU, GPU, MEM, CostTables

_KIND = "drldo-style"
SEEN = range(OBSERVATION_SIZE)
_SHARES = (1.0 / 3.0, 2.0 / 3.0, 1.0)
#: Trained and compared on training episodes.
SETTINGS = tuple(DqnSettings(gamma=gamma) for gamma in (0.5, 0.0, 0.9))


def joint_actions(tables: CostTables) -> NDArray[np.int64]:
    """The joint actions int64 [A, parts] that it chooses from: local and sent, over a grid of clocks."""
    grids = [
        sorted({int(np.ceil(share * tables.sizes[part])) - 1 for share in _SHARES})
        for part in (CPU, GPU, MEM)
    ]
    clocks = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = []
    for constant in (all_local.make(tables), compress_input.make(tables)):
        rows = np.repeat(constant.action[None], len(clocks) + 1, axis=0)
        rows[1:, [CPU, GPU, MEM]] = clocks
        chosen.append(rows)
    actions: NDArray[np.int64] = np.unique(np.concatenate(chosen), axis=0)
    return actions


def make(tables: CostTables) -> DqnPolicy:
    """The policy for a compiled scenario, trained on its training episodes."""
    actions = joint_actions(tables)
    policies = [
        DqnPolicy(
            "drldo-style",
            train_cached(f"{_KIND}-{i}", tables, actions, SEEN, settings),
            actions,
            SEEN,
        )
        for i, settings in enumerate(SETTINGS)
    ]
    return min(policies, key=lambda policy: training_cost(policy, tables))
