"""All-local: the whole network runs on the device, always, on its best mapping and at its best clocks.

What a careful engineer gets without any network: one mapping and one setting of the CPU, GPU and memory
clocks for every request, the ones that cost least on whole training episodes (waiting, missed deadlines,
heat and drops included). There is no paper behind it; the name is common ("edge-only", "local-only").
"""

from __future__ import annotations

import numpy as np

from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_agents.planning.fixed_choice import best_of, candidates
from dvfo_env.tables import CUT, MAPPING, CostTables


def make(tables: CostTables) -> ConstantPolicy:
    """The policy for a compiled scenario."""
    mappings = np.arange(tables.sizes[MAPPING])
    local = candidates(tables, tables.sizes[CUT] - 1, mappings, levels=np.array([0]))
    return ConstantPolicy("all-local", best_of(tables, local))
