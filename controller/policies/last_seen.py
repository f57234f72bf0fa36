"""Policies that believe the throughput last seen, for a while: the cut by search or by least latency.

Neurosurgeon-style and DADS-style baselines share how they believe; what they decide by is here too, in
training and on a device alike (but for Neurosurgeon's search, which training has compiled).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import Bundle
from dvfo_controller.policies.belief import Belief
from dvfo_controller.policies.cost_model import (
    CPU,
    CUT,
    DECODE_MS,
    ENCODE_MS,
    GPU,
    KILOBIT,
    LEVEL,
    LOAD,
    MAPPING,
    MEM,
    MS,
    RATE,
    RTT,
    CostModel,
    Ints,
    Numbers,
)
from dvfo_controller.policies.layout import Floats, Layout, Observations
from dvfo_controller.policies.memory import Remembered
from dvfo_controller.policies.packing import (
    Arrays,
    BeliefNumbers,
    layout_of,
    one_row,
    settings_of,
    unpack_belief,
    unpack_cost_model,
)
from dvfo_controller.policies.search import Search
from dvfo_controller.policies.situation import situations
from dvfo_controller.policies.space import Space, prepare_space
from dvfo_env.errors import BundleError

_LEAST_MBPS = 1e-6


@dataclass(frozen=True)
class LastSeenNumbers:
    """Settings of such a policy in a bundle; `forget_ms` None: never, `heavy` means nothing to a search."""

    numbers: Numbers
    belief: BeliefNumbers
    level: int
    forget_ms: float | None
    search: bool
    heavy: bool


class LastSeen:
    """The world as last seen; a throughput older than `forget_ms` gives way to the training bank's median."""

    def __init__(self, belief: Belief, layout: Layout, forget_ms: float) -> None:
        self.belief, self.layout, self.forget_ms = belief, layout, forget_ms

    def worlds(self, observations: Observations, answer_age_ms: Floats | None = None) -> NDArray[np.float32]:
        """One world for each observation, float32 [N, 1, 4]."""
        worlds = self.belief.worlds(observations, answer_age_ms)
        stale = self.layout.age_ms(observations, "silence") > self.forget_ms
        worlds[stale, :, RATE] = np.exp2(self.belief.marginal_log2)
        return worlds


def top_space(model: CostModel, level: int) -> Space:
    """All cuts and mappings at the highest clocks, with one compression level."""
    clocks = np.zeros(model.head.shape[2:5], dtype=bool)
    clocks[-1, -1, -1] = True
    return prepare_space(model, clocks=clocks, levels=np.array([level]))


def start_of(model: CostModel, level: int) -> Ints:
    """What such a policy changes the cut and the mapping of."""
    start = model.out_of_the_box
    start[LEVEL] = level
    return start


class LeastLatency:
    """The cut of least latency, or of least bottleneck under heavy load (DADS), for batches of devices.

    Args:
        model: the device's cost tables.
        seen: what is believed.
        level: index of the compression level everything is sent with.
        heavy: whether there is a mode for heavy load.
    """

    def __init__(self, model: CostModel, seen: LastSeen, level: int, heavy: bool) -> None:
        self.model, self.seen, self.level, self.heavy = model, seen, level, heavy

    def act(self, observations: Observations) -> Ints:
        """Indices int64 [N, 6] for observations float32 [N, features]."""
        heads_ms = self.heads_ms(observations)
        device_ms, link_ms, server_ms, rtt_ms = self.stages(observations, heads_ms.min(axis=1))
        total_ms = device_ms + link_ms + rtt_ms + server_ms
        p = self.model.numbers
        late = link_ms + rtt_ms + server_ms > p.offload_timeout_ms
        total_ms[late] = np.inf
        cuts = total_ms.argmin(axis=1)
        if self.heavy:
            slowest_ms = np.maximum(np.maximum(device_ms, link_ms), server_ms)
            rows = np.arange(len(cuts))
            behind = slowest_ms[rows, cuts] > p.period_ms
            slowest_ms[late] = np.inf
            cuts = np.where(behind, slowest_ms.argmin(axis=1), cuts)
        actions = np.repeat(start_of(self.model, self.level)[None], len(observations), axis=0)
        actions[:, CUT] = cuts
        actions[:, MAPPING] = heads_ms.argmin(axis=1)[np.arange(len(cuts)), cuts]
        return actions

    def heads_ms(self, observations: Observations) -> Floats:
        """Time of the head before each cut on each mapping, at the highest clocks that the caps allow [N, U,
        K].
        """
        model, p = self.model, self.model.numbers
        sizes = model.sizes
        clocks = (sizes[CPU], sizes[GPU], sizes[MEM])
        trips = situations(p, clocks, self.seen.layout, observations).trips
        cpu, gpu = np.full(len(trips), clocks[0] - 1), np.full(len(trips), clocks[1] - 1)
        for i in range(p.n_trips):
            capped = gpu if p.trip_is_gpu[i] else cpu
            capped[:] = np.where((trips >> i) & 1, np.minimum(capped, p.trip_cap_index[i]), capped)
        heads = model.head[:, :, cpu, gpu, -1, MS].astype(np.float64)
        return np.moveaxis(heads, -1, 0)

    def stages(self, observations: Observations, heads_ms: Floats) -> tuple[Floats, ...]:
        """What the device, the link, the server and the round trip take, each [N, K]; zero at the last cut
        but for the device.
        """
        model = self.model
        world = self.seen.worlds(observations)[:, 0].astype(np.float64)
        sent = model.send[:, self.level].astype(np.float64)
        encode_ms = sent[:, ENCODE_MS] / float(model.cpu_ghz[-1])
        link_ms = sent[:, KILOBIT] / np.maximum(world[:, RATE, None], _LEAST_MBPS)
        server_ms = model.tail_ms.astype(np.float64) * world[:, LOAD, None] + sent[:, DECODE_MS]
        away = np.arange(model.sizes[CUT]) < model.sizes[CUT] - 1
        rtt_ms = np.repeat(world[:, RTT, None] + model.numbers.answer_ms, len(away), axis=1)
        return heads_ms + encode_ms, link_ms * away, server_ms * away, rtt_ms * away


class LeastLatencyPolicy:
    """`LeastLatency` as a `DevicePolicy`."""

    def __init__(self, rule: LeastLatency) -> None:
        self._rule = rule

    def reset(self) -> None:
        """Nothing is remembered, so there is nothing to forget."""

    def decide(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [6] for an observation float32 [features].

        Raises:
            ActionError: the observation has another shape or is not finite.
        """
        action: Ints = self._rule.act(one_row(observation, self._rule.seen.layout.size))[0]
        return action


class LeastCostPolicy:
    """Neurosurgeon's choice as a `DevicePolicy`: cut and mapping of least cost in the world as last seen."""

    def __init__(self, model: CostModel, seen: LastSeen, level: int) -> None:
        self._seen, self._model = seen, model
        self._search = Search(model, top_space(model, level))
        self._start = start_of(model, level)
        self.reset()

    def reset(self) -> None:
        """Forget the last action and when answers came."""
        model = self._model
        kilobits = model.send[:, :, KILOBIT].astype(np.float64)
        self._remembered = Remembered(model.numbers, self._seen.layout, kilobits, 1)
        self._before = self._start

    def decide(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [6] for an observation float32 [features].

        Raises:
            ActionError: the observation has another shape or is not finite.
        """
        row, sizes = one_row(observation, self._seen.layout.size), self._model.sizes
        self._remembered.update(row, self._before[None])
        clocks = (sizes[CPU], sizes[GPU], sizes[MEM])
        here = situations(self._model.numbers, clocks, self._seen.layout, row).here(0)
        worlds = self._seen.worlds(row, self._remembered.answer_age_ms)
        self._before, _ = self._search(here, worlds[0], np.ones(1), self._start)
        return self._before.copy()


def open(bundle: Bundle) -> LeastCostPolicy | LeastLatencyPolicy:
    """The policy of a bundle of kind last-seen.

    Raises:
        BundleError: settings or tables are missing or do not fit.
    """
    settings, arrays = settings_of(bundle, LastSeenNumbers), Arrays(bundle)
    model, layout = unpack_cost_model(bundle, arrays, settings.numbers), layout_of(bundle)
    if not 0 <= settings.level < model.sizes[LEVEL]:
        raise BundleError(f"{bundle.path}: policy: settings: level: there is no level {settings.level}")
    forget_ms = np.inf if settings.forget_ms is None else settings.forget_ms
    seen = LastSeen(unpack_belief(arrays, settings.belief, settings.numbers, layout), layout, forget_ms)
    if settings.search:
        return LeastCostPolicy(model, seen, settings.level)
    return LeastLatencyPolicy(LeastLatency(model, seen, settings.level, settings.heavy))
