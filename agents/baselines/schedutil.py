"""Schedutil: everything runs on the device, on its first mapping, at the clocks of Linux's
`schedutil` governor.

After the kernel's `Documentation/scheduler/schedutil.rst` and `kernel/sched/cpufreq_schedutil.c`: the CPU's
next clock is 1.25 * highest clock * utilisation, the lowest legal one that is not below it. Utilisation is
PELT's: an average with a half-life of 32 ms of the time that the busiest core runs, scaled by its clock over
the highest (frequency invariance); on top of it `util_est` remembers what it was when requests ended, rises
at once and falls by a quarter of the difference, so a periodic task wakes up at the clock it needs. The
governor runs when a request begins and then every 10 ms at most (`rate_limit_us`). GPU and memory follow
devfreq's `simple_ondemand`, as under `ondemand`.

What differs: a request gets the mean of the clocks it would have passed through, since the simulator sets
clocks once per request (`dvfo_agents.planning.governors`), and the device idles at those. Cores of different
capacity, deadline and interrupt time, and the boost for tasks that wait for input and output are left out.
"""

from __future__ import annotations

from dvfo_agents.planning.governors import GovernorPolicy
from dvfo_controller.policies.governing import SCHEDUTIL
from dvfo_env.tables import CostTables


def make(tables: CostTables) -> GovernorPolicy:
    """The policy for a compiled scenario."""
    return GovernorPolicy("schedutil", tables, SCHEDUTIL)
