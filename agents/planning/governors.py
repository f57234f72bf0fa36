"""Frequency governors of Linux, simulated on their own sampling grid: what clocks do when nobody sets them.

The simulator takes one clock a domain and request, and a kernel changes clocks several times within one. So
a request is run ahead here, under the governors, on the head latencies of the tables: every domain starts at
the clock its governor left it at, governors sample as time goes on, and the clocks change. The request then
gets, for each domain, the mean over that time of the clocks it passed through (the nearest legal one).

What a governor knows: the busy time of the requests it has run, and the idle time between them, which follows
from the observation. A request that has waited found the device busy until now; one that has not came
`period_ms` after the one before (with Poisson arrivals: after an idle time of one period on average).

Busy is: the GPU while a head runs on it; the memory while any head runs, since the tables do not say how full
its bus is; the busiest CPU core while a head runs on the CPU. A core that drives the GPU is busy for the
profile's share of the time (`busy_cores`), or for the part of the head that goes with one over the CPU's
clock, where that is more. Clocks change at once here; the simulator adds the time they take.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from dvfo_agents.planning.belief import states_of
from dvfo_controller.policies import governing
from dvfo_controller.policies.cost_model import capped
from dvfo_env.compiled import kernel
from dvfo_env.tables import CostTables

#: What the governors of one device remember, `governing.Governed` as a record.
GOVERNED = np.dtype(
    [
        (field.name, "i8" if field.type in ("int", int) else "f8")
        for field in dataclasses.fields(governing.Governed)
    ],
    align=True,
)

for _rule in (
    capped, governing.closest, governing.at_least, governing.simple_ondemand, governing.decayed,
    governing.sample_cpu, governing.poll_devices, governing.stay_idle, governing.run_ahead, governing.govern,
):  # fmt: skip
    register_jitable(_nrt=False, error_model="numpy")(_rule)
_govern = governing.govern


@kernel(cache=False)  # type: ignore[untyped-decorator]
def _govern_all(
    governed: Any, states: Any, p_array: Any, head_ms: Any, rule: int, cpu_shares: Any, gpu_share: float,
    cpu_mhz: Any, gpu_mhz: Any, mem_mhz: Any, actions: Any,
) -> None:  # fmt: skip
    for i in range(states.shape[0]):
        _govern(
            governed[i], states[i], p_array[0], head_ms, rule, cpu_shares, gpu_share, cpu_mhz, gpu_mhz,
            mem_mhz, actions[i],
        )  # fmt: skip


class GovernorPolicy:
    """Everything local on the first mapping, at the clocks that Linux would give it; implements `Policy`.

    Args:
        name: what tables print.
        tables: the compiled scenario.
        rule: the CPU's governor, `ONDEMAND` or `SCHEDUTIL`; GPU and memory follow simple_ondemand.
    """

    def __init__(self, name: str, tables: CostTables, rule: int) -> None:
        self.name = name
        self._tables = tables
        self.rule = rule
        self.head_ms = np.ascontiguousarray(tables.head[0, -1, ..., 0], dtype=np.float64)
        self.cpu_shares, self.gpu_share = busy_shares(tables)
        self._mhz = [
            np.array(tables.choices[part], dtype=np.float64) for part in ("cpu_mhz", "gpu_mhz", "mem_mhz")
        ]
        self._governed: NDArray[np.void] = np.zeros(0, dtype=GOVERNED)

    def reset(self, n: int) -> None:
        """Begin with `n` devices that have been idle."""
        self._governed = np.zeros(0, dtype=GOVERNED)

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        states = states_of(self._tables, observations)
        if len(self._governed) != len(observations):
            self._governed = np.zeros(len(observations), dtype=GOVERNED)
            for field in ("cpu", "gpu", "mem"):
                self._governed[field] = states[field]
        actions = np.repeat(self._tables.out_of_the_box[None], len(observations), axis=0)
        _govern_all(
            self._governed, states, self._tables.params, self.head_ms, self.rule,
            self.cpu_shares, self.gpu_share, *self._mhz, actions,
        )  # fmt: skip
        return actions


def busy_shares(tables: CostTables) -> tuple[NDArray[np.float64], float]:
    """How busy the busiest CPU core [C, G, M] and the GPU are while a head runs on the first mapping."""
    head_ms = tables.head[0, -1, ..., 0].astype(np.float64)
    profile = tables.device.profile
    mapping = profile.mappings.get(str(tables.choices["mapping"][0]))
    if mapping is None:  # two mappings, one after the other
        return np.ones_like(head_ms), 1.0
    if mapping.kind == "cpu":
        return np.ones_like(head_ms), 0.0
    cores = float(mapping.threads) if mapping.busy_cores is None else mapping.busy_cores.value
    shares = np.full_like(head_ms, cores)
    if len(tables.cpu_ghz) > 1:
        per_ghz = 1.0 / tables.cpu_ghz.astype(np.float64)
        work = (head_ms[0] - head_ms[-1]) / (per_ghz[0] - per_ghz[-1])
        shares = np.maximum(shares, work * per_ghz[:, None, None] / head_ms)
    return np.clip(shares, 0.0, 1.0), 1.0
