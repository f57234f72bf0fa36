"""All-server: the whole network runs on the server, always.

Tuned, not a straw man: the raw input is sent at the cut "input" (the scenario's first cut, where it offers no
other), with the one compression level and the clocks that have the least expected cost over the training
bank's rates, round-trip times and server load, and then stays at that.
"""

from __future__ import annotations

import numpy as np

from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_agents.planning.belief import states_of
from dvfo_agents.planning.search import make_space, search
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.tables import CPU, CUT, GPU, MEM, CostTables

_WORLDS = 256


def make(tables: CostTables) -> ConstantPolicy:
    """The policy for a compiled scenario."""
    bank = tables.bank(TRAINING_BANK_SEED)
    samples = np.random.default_rng(0).choice(len(bank), _WORLDS, replace=False)
    worlds = np.ascontiguousarray(bank[samples][None])
    states = states_of(tables, Simulator(tables, 1).reset(np.array([0])))
    space = make_space(tables, cuts=np.array([0]))
    action = np.zeros((1, len(tables.sizes)), dtype=np.int64)
    action[0, [CPU, GPU, MEM]] = [tables.sizes[part] - 1 for part in (CPU, GPU, MEM)]
    for _ in range(3):  # with a head the clocks in force matter; what is found is in force from then on
        search(tables, space, states, worlds, action)
        states["cpu"], states["gpu"], states["mem"] = action[:, CPU], action[:, GPU], action[:, MEM]
    action[0, CUT] = 0
    return ConstantPolicy("all-server", action[0])
