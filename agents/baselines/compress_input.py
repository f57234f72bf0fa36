"""Compress-input: the input is compressed with an image codec and sent, always; the server does the rest.

What split computing has to beat: Matsubara et al., "SC2: Supervised Compression for Split Computing" (TMLR
2023) report that cutting a network often does worse than sending its input through a good image codec. The
codecs here are the measured ones of the accuracy table (WebP, JPEG or PNG for images: real bytes, real
encoding times, real loss of accuracy). The level and the clocks are the ones that cost least when used for
every request of whole training episodes; the lossless level, which `all-server` sends, is among them.

Where a scenario does not offer cut 0, the earliest cut it offers is compressed and sent, on the mapping that
suits it best; where it offers nothing but running locally, everything stays on the device.
"""

from __future__ import annotations

import numpy as np

from dvfo_agents.baselines.all_server import useful_mappings
from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_agents.planning.fixed_choice import best_of, candidates
from dvfo_env.tables import LEVEL, CostTables


def make(tables: CostTables) -> ConstantPolicy:
    """The policy for a compiled scenario."""
    sent = candidates(tables, 0, useful_mappings(tables), levels=np.arange(tables.sizes[LEVEL]))
    return ConstantPolicy("compress-input", best_of(tables, sent))
