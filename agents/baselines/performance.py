"""Performance: everything runs on the device, on its first mapping, at the highest clocks.

What a device does out of the box under the Linux `performance` governor, and what savings are counted from.
Its cost is about 1.0 by construction of the normalised cost (waiting, drops and deadline misses come on
top).
"""

from __future__ import annotations

from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_env.tables import CostTables


def make(tables: CostTables) -> ConstantPolicy:
    """The policy for a compiled scenario."""
    return ConstantPolicy("performance", tables.out_of_the_box)
