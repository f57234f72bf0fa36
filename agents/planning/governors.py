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

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.belief import states_of
from dvfo_env.compiled import inline_kernel, kernel
from dvfo_env.serving import capped
from dvfo_env.tables import CPU, GPU, MEM, CostTables

#: Rules for the CPU clock.
ONDEMAND, SCHEDUTIL = 0, 1

#: How often a CPU governor runs at most [ms]: `sampling_rate` and `rate_limit_us` are 1000 times what a clock
#: change takes, at most 10 ms (`cpufreq_policy_transition_delay_us`, up to Linux 6.8).
SAMPLING_MS = 10.0
#: ondemand: `up_threshold` where idle time is counted in microseconds; elsewhere it is 80 %.
UP_THRESHOLD = 0.95
#: devfreq: how often the GPU's and the memory's governor runs [ms] (`polling_ms` of panthor and lima).
POLLING_MS = 50.0
#: simple_ondemand: highest clock above the first load, no change above the second, else aims at the third:
#: upthreshold 90, downdifferential 5, and 90 - 5 / 2 in whole numbers.
TO_TOP, NO_CHANGE, AIM = 0.90, 0.85, 0.88
#: schedutil: headroom over the utilisation; PELT: half-life, 32 periods of 1024 us [ms]; util_est: share of a
#: new value that is lower than the estimate (UTIL_EST_WEIGHT_SHIFT 2).
HEADROOM, HALF_LIFE_MS, ESTIMATE_SHARE = 1.25, 32.768, 0.25

_TINY = 1e-9

#: What the governors of one device remember from one request to the next.
GOVERNED = np.dtype(
    [
        ("cpu", "i8"),  # clock indices as the governors left them
        ("gpu", "i8"),
        ("mem", "i8"),
        ("sampled_ms", "f8"),  # since the CPU governor last ran
        ("busy_ms", "f8"),  # of that: the busiest core at work
        ("load_before", "f8"),  # ondemand: the load of the sample before, 0 when it has been used up
        ("util", "f8"),  # PELT: share of the highest clock's capacity
        ("util_estimate", "f8"),  # what `util` was when requests ended
        ("polled_ms", "f8"),  # since the devfreq governors last ran
        ("device_ms", "f8"),  # of that: a head running
        ("spent_ms", "f8"),  # by the last request
        ("waited_ms", "f8"),  # by the last request
    ],
    align=True,
)


@inline_kernel()  # type: ignore[untyped-decorator]
def closest(mhz: Any, wanted_mhz: float) -> int:
    """Index of the clock nearest to the wanted one (CPUFREQ_RELATION_C)."""
    best = 0
    for i in range(mhz.shape[0]):
        if abs(mhz[i] - wanted_mhz) < abs(mhz[best] - wanted_mhz):
            best = i
    return best


@inline_kernel()  # type: ignore[untyped-decorator]
def at_least(mhz: Any, wanted_mhz: float) -> int:
    """Index of the lowest clock that is no lower than the wanted one, else of the highest
    (CPUFREQ_RELATION_L).
    """
    best = mhz.shape[0] - 1
    for i in range(mhz.shape[0] - 1, -1, -1):
        if mhz[i] >= wanted_mhz - _TINY:
            best = i
    return best


@inline_kernel()  # type: ignore[untyped-decorator]
def simple_ondemand(mhz: Any, now: int, load: float) -> int:
    """Index of the clock that devfreq's simple_ondemand sets at clock index `now` and `load` in [0, 1]."""
    if load > TO_TOP:
        return mhz.shape[0] - 1
    if load > NO_CHANGE:
        return now
    return at_least(mhz, load * mhz[now] / AIM)


@inline_kernel()  # type: ignore[untyped-decorator]
def decayed(util: float, target: float, span_ms: float) -> float:
    """PELT's average after `span_ms` of running at `target`."""
    return target + (util - target) * 0.5 ** (span_ms / HALF_LIFE_MS)


@kernel()  # type: ignore[untyped-decorator]
def sample_cpu(g: Any, rule: int, mhz: Any) -> None:
    """Run the CPU's governor on what it has seen since it last ran."""
    if rule == ONDEMAND:
        if g.sampled_ms - g.busy_ms > 2.0 * SAMPLING_MS and g.load_before > 0.0:
            load = g.load_before  # first sample after a long idle time: as busy as it was before, once
            g.load_before = 0.0
        else:
            load = g.busy_ms / max(g.sampled_ms, _TINY)
            g.load_before = load
        if load > UP_THRESHOLD:
            g.cpu = mhz.shape[0] - 1
        else:
            g.cpu = closest(mhz, mhz[0] + load * (mhz[-1] - mhz[0]))
    else:
        g.cpu = at_least(mhz, HEADROOM * mhz[-1] * max(g.util, g.util_estimate))
    g.sampled_ms = 0.0
    g.busy_ms = 0.0


@kernel()  # type: ignore[untyped-decorator]
def poll_devices(g: Any, gpu_share: float, gpu_mhz: Any, mem_mhz: Any) -> None:
    """Run the GPU's and the memory's governor on what they have seen since they last ran."""
    load = g.device_ms / max(g.polled_ms, _TINY)
    g.gpu = simple_ondemand(gpu_mhz, g.gpu, gpu_share * load)
    g.mem = simple_ondemand(mem_mhz, g.mem, load)
    g.polled_ms = 0.0
    g.device_ms = 0.0


@kernel()  # type: ignore[untyped-decorator]
def stay_idle(g: Any, idle_ms: float, gpu_share: float, gpu_mhz: Any, mem_mhz: Any) -> None:
    """Let `idle_ms` pass: no CPU governor runs on an idle core, devfreq polls go on."""
    g.sampled_ms += idle_ms
    g.util = decayed(g.util, 0.0, idle_ms)
    while g.polled_ms + idle_ms >= POLLING_MS:
        idle_ms -= POLLING_MS - g.polled_ms
        g.polled_ms = POLLING_MS
        poll_devices(g, gpu_share, gpu_mhz, mem_mhz)
        if g.gpu == 0 and g.mem == 0:
            idle_ms %= POLLING_MS  # lower than the lowest they cannot go
    g.polled_ms += idle_ms


@kernel()  # type: ignore[untyped-decorator]
def run_ahead(
    g: Any, s: Any, p: Any, head_ms: Any, rule: int, cpu_shares: Any, gpu_share: float, cpu_mhz: Any,
    gpu_mhz: Any, mem_mhz: Any, action: Any,
) -> None:  # fmt: skip
    """Run one request under the governors and write the mean clocks into `action`."""
    if g.sampled_ms >= SAMPLING_MS:
        sample_cpu(g, rule, cpu_mhz)
    left, cpu_sum, gpu_sum, mem_sum, spent_ms = 1.0, 0.0, 0.0, 0.0, 0.0
    while left > _TINY:
        g.cpu, g.gpu = capped(s, p, g.cpu, g.gpu)
        whole_ms = max(head_ms[g.cpu, g.gpu, g.mem], _TINY)
        cpu_share = cpu_shares[g.cpu, g.gpu, g.mem]
        span_ms = min(left * whole_ms, SAMPLING_MS - g.sampled_ms, POLLING_MS - g.polled_ms)
        left -= span_ms / whole_ms
        spent_ms += span_ms
        cpu_sum += span_ms * cpu_mhz[g.cpu]
        gpu_sum += span_ms * gpu_mhz[g.gpu]
        mem_sum += span_ms * mem_mhz[g.mem]
        speed = cpu_mhz[g.cpu] / cpu_mhz[-1] if cpu_mhz[-1] > 0.0 else 1.0
        g.util = decayed(g.util, cpu_share * speed, span_ms)
        g.sampled_ms += span_ms
        g.busy_ms += cpu_share * span_ms
        g.polled_ms += span_ms
        g.device_ms += span_ms
        if g.sampled_ms >= SAMPLING_MS - _TINY:
            sample_cpu(g, rule, cpu_mhz)
        if g.polled_ms >= POLLING_MS - _TINY:
            poll_devices(g, gpu_share, gpu_mhz, mem_mhz)
    if g.util > g.util_estimate:
        g.util_estimate = g.util
    else:
        g.util_estimate += ESTIMATE_SHARE * (g.util - g.util_estimate)
    g.spent_ms = spent_ms
    action[CPU] = closest(cpu_mhz, cpu_sum / spent_ms)
    action[GPU] = closest(gpu_mhz, gpu_sum / spent_ms)
    action[MEM] = closest(mem_mhz, mem_sum / spent_ms)


@kernel()  # type: ignore[untyped-decorator]
def _govern(
    governed: Any, states: Any, p_array: Any, head_ms: Any, rule: int, cpu_shares: Any, gpu_share: float,
    cpu_mhz: Any, gpu_mhz: Any, mem_mhz: Any, actions: Any,
) -> None:  # fmt: skip
    p = p_array[0]
    for i in range(states.shape[0]):
        g, s = governed[i], states[i]
        waited_ms = s.now_ms - s.arrival_ms
        if waited_ms <= 0.0 and g.spent_ms > 0.0:
            idle_ms = p.period_ms
            if p.poisson == 0:
                idle_ms = max(p.period_ms - g.waited_ms - g.spent_ms, 0.0)
            stay_idle(g, idle_ms, gpu_share, gpu_mhz, mem_mhz)
        g.waited_ms = waited_ms
        run_ahead(
            g, s, p, head_ms, rule, cpu_shares, gpu_share, cpu_mhz, gpu_mhz, mem_mhz, actions[i]
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
        self._rule = rule
        self._head_ms = np.ascontiguousarray(tables.head[0, -1, ..., 0], dtype=np.float64)
        self._cpu_shares, self._gpu_share = busy_shares(tables)
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
        _govern(
            self._governed, states, self._tables.params, self._head_ms, self._rule,
            self._cpu_shares, self._gpu_share, *self._mhz, actions,
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
