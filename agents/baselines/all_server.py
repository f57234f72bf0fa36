"""All-server: the input is sent as it is, always, and the whole network runs on the server.

Tuned, not a straw man: the clocks, which decide how fast the input is encoded and what waiting costs, are the
ones that cost least on whole training episodes. Nothing of the input is lost: it is sent at the level of cut
0 that loses fewest points. Scenarios offer the Pareto-optimal settings of their accuracy table, so
where a lossless image codec was measured it takes the place of the raw pixels.

Where a scenario does not offer cut 0, the earliest cut it offers is sent, on the mapping and at the clocks
that suit it best; where it offers nothing but running locally, everything stays on the device.
"""

from __future__ import annotations

import numpy as np

from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_agents.planning.fixed_choice import best_of, candidates
from dvfo_env.tables import LOST, MAPPING, CostTables


def make(tables: CostTables) -> ConstantPolicy:
    """The policy for a compiled scenario."""
    lost = tables.send[0, :, LOST:].mean(axis=-1)  # levels begin with the one that sends most
    sent = candidates(tables, 0, useful_mappings(tables), levels=np.array([int(np.argmin(lost))]))
    return ConstantPolicy("all-server", best_of(tables, sent))


def useful_mappings(tables: CostTables) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Mappings worth trying at the first cut: the first one where nothing runs before it."""
    return np.arange(tables.sizes[MAPPING] if tables.head[:, 0].any() else 1)
