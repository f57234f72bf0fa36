"""Frequency governors of Linux on their own sampling grid: what clocks do when nobody sets them.

One copy of the rules for devices, where Python runs them, and for training, where
`dvfo_agents.planning.governors` compiles them and says how they are simulated: hence plain functions over
records and loops over clocks.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import Bundle
from dvfo_controller.policies.cost_model import CPU, GPU, MEM, Floats, Ints, Numbers, capped
from dvfo_controller.policies.layout import Layout
from dvfo_controller.policies.packing import Arrays, check_numbers, layout_of, one_row, settings_of
from dvfo_controller.policies.situation import situations

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


@dataclass(frozen=True)
class GovernorNumbers:
    """Settings of governors in a bundle: the CPU's rule, how busy a head keeps the GPU, the scenario."""

    numbers: Numbers
    rule: int
    gpu_share: float


@dataclass
class Governed:
    """What the governors of one device remember from one request to the next."""

    cpu: int  # clock indices as the governors left them
    gpu: int
    mem: int
    sampled_ms: float = 0.0  # since the CPU governor last ran
    busy_ms: float = 0.0  # of that: the busiest core at work
    load_before: float = 0.0  # ondemand: the load of the sample before, 0 when it has been used up
    util: float = 0.0  # PELT: share of the highest clock's capacity
    util_estimate: float = 0.0  # what `util` was when requests ended
    polled_ms: float = 0.0  # since the devfreq governors last ran
    device_ms: float = 0.0  # of that: a head running
    spent_ms: float = 0.0  # by the last request
    waited_ms: float = 0.0  # by the last request


def closest(mhz: Any, wanted_mhz: float) -> int:
    """Index of the clock nearest to the wanted one (CPUFREQ_RELATION_C)."""
    best = 0
    for i in range(mhz.shape[0]):
        if abs(mhz[i] - wanted_mhz) < abs(mhz[best] - wanted_mhz):
            best = i
    return best


def at_least(mhz: Any, wanted_mhz: float) -> int:
    """Index of the lowest clock that is no lower than the wanted one, else of the highest
    (CPUFREQ_RELATION_L).
    """
    best = mhz.shape[0] - 1
    for i in range(mhz.shape[0] - 1, -1, -1):
        if mhz[i] >= wanted_mhz - _TINY:
            best = i
    return best


def simple_ondemand(mhz: Any, now: int, load: float) -> int:
    """Index of the clock that devfreq's simple_ondemand sets at clock index `now` and `load` in [0, 1]."""
    if load > TO_TOP:
        return mhz.shape[0] - 1
    if load > NO_CHANGE:
        return now
    return at_least(mhz, load * mhz[now] / AIM)


def decayed(util: float, target: float, span_ms: float) -> float:
    """PELT's average after `span_ms` of running at `target`."""
    return target + (util - target) * 0.5 ** (span_ms / HALF_LIFE_MS)


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


def poll_devices(g: Any, gpu_share: float, gpu_mhz: Any, mem_mhz: Any) -> None:
    """Run the GPU's and the memory's governor on what they have seen since they last ran."""
    load = g.device_ms / max(g.polled_ms, _TINY)
    g.gpu = simple_ondemand(gpu_mhz, g.gpu, gpu_share * load)
    g.mem = simple_ondemand(mem_mhz, g.mem, load)
    g.polled_ms = 0.0
    g.device_ms = 0.0


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


def run_ahead(
    g: Any, s: Any, p: Any, head_ms: Any, rule: int, cpu_shares: Any, gpu_share: float, cpu_mhz: Any,
    gpu_mhz: Any, mem_mhz: Any, action: Any,
) -> None:  # fmt: skip
    """Run one request under the governors and write the mean clocks into `action`."""
    if g.sampled_ms >= SAMPLING_MS:
        sample_cpu(g, rule, cpu_mhz)
    left, cpu_sum, gpu_sum, mem_sum, spent_ms = 1.0, 0.0, 0.0, 0.0, 0.0
    while left > _TINY:
        g.cpu, g.gpu = capped(s.trips, p, g.cpu, g.gpu)
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


def govern(
    g: Any, s: Any, p: Any, head_ms: Any, rule: int, cpu_shares: Any, gpu_share: float,
    cpu_mhz: Any, gpu_mhz: Any, mem_mhz: Any, action: Any,
) -> None:  # fmt: skip
    """Let the time since the last request pass, then run the coming one ahead."""
    waited_ms = s.now_ms
    if waited_ms <= 0.0 and g.spent_ms > 0.0:
        idle_ms = p.period_ms
        if p.poisson == 0:
            idle_ms = max(p.period_ms - g.waited_ms - g.spent_ms, 0.0)
        stay_idle(g, idle_ms, gpu_share, gpu_mhz, mem_mhz)
    g.waited_ms = waited_ms
    run_ahead(g, s, p, head_ms, rule, cpu_shares, gpu_share, cpu_mhz, gpu_mhz, mem_mhz, action)


class GovernorPolicy:
    """Everything local on the first mapping, at the clocks that Linux would give it; a `DevicePolicy`."""

    def __init__(
        self, numbers: GovernorNumbers, layout: Layout, action: Ints, head_ms: Floats, cpu_shares: Floats,
        mhz: tuple[Floats, Floats, Floats],
    ) -> None:  # fmt: skip
        self._numbers, self._layout, self._action = numbers, layout, action
        self._head_ms, self._cpu_shares, self._mhz = head_ms, cpu_shares, mhz
        self.reset()

    def reset(self) -> None:
        """Begin with a device that has been idle."""
        self._governed: Governed | None = None

    def decide(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [6] for an observation float32 [features].

        Raises:
            ActionError: the observation has another shape or is not finite.
        """
        row, n = one_row(observation, self._layout.size), self._numbers
        cpus, gpus, mems = self._head_ms.shape
        here = situations(n.numbers, (cpus, gpus, mems), self._layout, row).here(0)
        if self._governed is None:
            self._governed = Governed(here.cpu, here.gpu, here.mem)
        action = self._action.copy()
        govern(
            self._governed, here, n.numbers, self._head_ms, n.rule, self._cpu_shares, n.gpu_share,
            *self._mhz, action,
        )  # fmt: skip
        return action


def open(bundle: Bundle) -> GovernorPolicy:
    """The policy of a bundle of kind governing.

    Raises:
        BundleError: settings or tables are missing or do not fit.
    """
    settings, arrays = settings_of(bundle, GovernorNumbers), Arrays(bundle)
    check_numbers(settings.numbers, f"{bundle.path}: policy: settings: numbers")
    action = bundle.manifest.action
    cpus, gpus, mems = action.sizes[CPU], action.sizes[GPU], action.sizes[MEM]
    mhz = np.array(action.cpu_mhz), np.array(action.gpu_mhz), np.array(action.mem_mhz)
    return GovernorPolicy(
        settings,
        layout_of(bundle),
        np.array(action.out_of_the_box, dtype=np.int64),
        arrays.take("head_ms", np.float64, cpus, gpus, mems),
        arrays.take("cpu_shares", np.float64, cpus, gpus, mems),
        mhz,
    )
