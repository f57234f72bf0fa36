"""Powersave: everything runs on the device, on its first mapping, at the lowest clocks.

The Linux `powersave` governor. It shows that low clocks alone save nothing when the board's idle power is
paid for longer.
"""

from __future__ import annotations

from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_env.tables import CPU, GPU, MEM, CostTables


def make(tables: CostTables) -> ConstantPolicy:
    """The policy for a compiled scenario."""
    action = tables.out_of_the_box.copy()
    action[[CPU, GPU, MEM]] = 0
    return ConstantPolicy("powersave", action)
