"""DADS-style: the cut of least latency under light load, the cut of least bottleneck under heavy load.

After Hu et al., "Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge" (INFOCOM 2019). Under
light load it takes the minimum cut of the network's graph, that is the cut with the least end-to-end latency
of one frame (device + transmission + server). Where the slowest stage of that cut cannot keep up with the
frames, the load is heavy, and it takes the cut whose slowest stage is fastest, which is what bounds the
throughput of a pipeline.

The minimum cut: a workload card lists places to cut in one order of execution, inside blocks with every
tensor that crosses there. So the places form a chain, and on a chain the minimum cut is the place with the
least sum. It is found exactly, and so is the least bottleneck, for which the paper has a 3-approximation,
since on general graphs it is NP-hard.

What differs from the paper: latencies are the model's own, so they are never wrong, and each cut uses the
mapping on which its head is fastest; one fixed compression level may be used where the paper sends 32-bit
features; a cut that would miss the time-out is not taken; the throughput last seen is believed for
`forget_ms`, then the training bank's median, where the paper watches its link. The environment serves one
request after the other, so a shorter bottleneck gains nothing by itself here, and the heavy mode is used only
where it costs less on training episodes. Level, memory and mode are chosen there, in that order. Clocks stay
at the top and only latency counts: the paper knows neither clocks nor energy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.belief import BankStatistics, Belief, states_of
from dvfo_agents.planning.seen import silence_ms
from dvfo_agents.planning.tuning import training_cost
from dvfo_env.tables import CUT, LEVEL, LOAD, MAPPING, RATE, RTT, CostTables

FORGET_MS = (1000.0, 250.0, 4000.0, np.inf)
_LEAST_MBPS = 1e-6


class Dads:
    """The cut of least latency or least bottleneck for the rate last seen; implements `Policy`.

    Args:
        tables: the compiled scenario.
        statistics: of the training bank.
        level: index of the compression level everything is sent with.
        forget_ms: age at which the throughput last seen is no longer believed.
        heavy: whether there is a mode for heavy load.
    """

    name = "dads-style"

    def __init__(
        self,
        tables: CostTables,
        statistics: BankStatistics,
        level: int,
        forget_ms: float = FORGET_MS[0],
        heavy: bool = True,
    ) -> None:
        self.level, self.forget_ms, self.heavy = level, forget_ms, heavy
        self._tables = tables
        self._belief = Belief(statistics, last_weight=1.0, worlds=1, learned=False)
        self._start: NDArray[np.int64] = tables.out_of_the_box.copy()
        self._start[LEVEL] = level

    def reset(self, n: int) -> None:
        """Nothing is remembered, so there is nothing to forget."""

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        heads_ms = self._heads_ms(observations)
        device_ms, link_ms, server_ms, rtt_ms = self._stages(observations, heads_ms.min(axis=1))
        total_ms = device_ms + link_ms + rtt_ms + server_ms
        p = self._tables.params[0]
        late = link_ms + rtt_ms + server_ms > p["offload_timeout_ms"]
        total_ms[late] = np.inf
        cuts = total_ms.argmin(axis=1)
        if self.heavy:
            slowest_ms = np.maximum(np.maximum(device_ms, link_ms), server_ms)
            rows = np.arange(len(cuts))
            behind = slowest_ms[rows, cuts] > p["period_ms"]
            slowest_ms[late] = np.inf
            cuts = np.where(behind, slowest_ms.argmin(axis=1), cuts)
        actions = np.repeat(self._start[None], len(observations), axis=0)
        actions[:, CUT] = cuts
        actions[:, MAPPING] = heads_ms.argmin(axis=1)[np.arange(len(cuts)), cuts]
        return actions

    def _heads_ms(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """Time of the head before each cut on each mapping, at the highest clocks that the caps allow [N, U,
        K].
        """
        tables = self._tables
        p, trips = tables.params[0], states_of(tables, observations)["trips"]
        cpu = np.full(len(trips), tables.head.shape[2] - 1)
        gpu = np.full(len(trips), tables.head.shape[3] - 1)
        for i in range(int(p["n_trips"])):
            capped = gpu if p["trip_is_gpu"][i] else cpu
            capped[:] = np.where((trips >> i) & 1, np.minimum(capped, p["trip_cap_index"][i]), capped)
        heads: NDArray[np.float64] = tables.head[:, :, cpu, gpu, -1, 0].astype(np.float64)
        return np.moveaxis(heads, -1, 0)

    def _stages(
        self, observations: NDArray[np.float32], heads_ms: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], ...]:
        """What the device, the link, the server and the round trip take, each [N, K]; zero at the last cut
        but for the device.
        """
        tables = self._tables
        world = self._belief.worlds(observations)[:, 0].astype(np.float64)
        stale = silence_ms(observations) > self.forget_ms
        world[stale, RATE] = np.exp2(self._belief.marginal_log2)
        sent = tables.send[:, self.level].astype(np.float64)
        encode_ms = sent[:, 1] / float(tables.cpu_ghz[-1])
        link_ms = sent[:, 0] / np.maximum(world[:, RATE, None], _LEAST_MBPS)
        server_ms = tables.tail_ms * world[:, LOAD, None] + sent[:, 2]
        away = np.arange(tables.sizes[CUT]) < tables.sizes[CUT] - 1
        rtt_ms = np.repeat(world[:, RTT, None] + tables.params[0]["answer_ms"], len(away), axis=1)
        return heads_ms + encode_ms, link_ms * away, server_ms * away, rtt_ms * away


def make(tables: CostTables) -> Dads:
    """The policy for a compiled scenario, with the level, the memory and then the mode that cost least on
    training episodes.
    """
    statistics = BankStatistics(tables)

    def best(policies: list[Dads]) -> Dads:
        return min(policies, key=lambda policy: training_cost(policy, tables))

    level = best([Dads(tables, statistics, z) for z in range(tables.sizes[LEVEL])]).level
    forget_ms = best([Dads(tables, statistics, level, forget_ms) for forget_ms in FORGET_MS]).forget_ms
    return best([Dads(tables, statistics, level, forget_ms, heavy) for heavy in (True, False)])
