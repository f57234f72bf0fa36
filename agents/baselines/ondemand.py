"""Ondemand: everything runs on the device, on its first mapping, at the clocks of Linux's
`ondemand` governor.

After `drivers/cpufreq/cpufreq_ondemand.c` and the kernel's CPU frequency guide (Pallipadi and Starikovskiy,
"The Ondemand Governor", OLS 2006): every sampling period the load of the busiest core is measured; above
`up_threshold` (95 %, as with microsecond idle accounting) the CPU goes to its highest clock, else to the one
nearest to min + load * (max - min). `sampling_down_factor` is 1, the default. The first sample after a long
idle time takes the load before it, once, so a device that was busy wakes up fast. GPU and memory follow
devfreq's `simple_ondemand` (`governor_simpleondemand.c`, thresholds 90 and 5), polled every 50 ms.

What differs: a request gets the mean of the clocks it would have passed through, since the simulator sets
clocks once per request (`dvfo_agents.planning.governors`), and the device idles at those. NVIDIA's boards
scale their GPU with a governor of their own (`nvhost_podgov`), which aims at a load of 70 % in steps of up to
a third of the highest clock; simple_ondemand is the documented one of mainline Linux.
"""

from __future__ import annotations

from dvfo_agents.planning.governors import GovernorPolicy
from dvfo_controller.policies.governing import ONDEMAND
from dvfo_env.tables import CostTables


def make(tables: CostTables) -> GovernorPolicy:
    """The policy for a compiled scenario."""
    return GovernorPolicy("ondemand", tables, ONDEMAND)
