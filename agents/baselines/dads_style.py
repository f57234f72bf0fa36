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

from dvfo_agents.planning.belief import BankStatistics, Belief
from dvfo_agents.planning.seen import LAYOUT, cost_model
from dvfo_agents.planning.tuning import training_cost
from dvfo_controller.policies.last_seen import LastSeen, LeastLatency
from dvfo_env.tables import LEVEL, CostTables

FORGET_MS = (1000.0, 250.0, 4000.0, np.inf)


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
        belief = Belief(statistics, last_weight=1.0, worlds=1, learned=False)
        self.rule = LeastLatency(cost_model(tables), LastSeen(belief, LAYOUT, forget_ms), level, heavy)

    def reset(self, n: int) -> None:
        """Nothing is remembered, so there is nothing to forget."""

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        return self.rule.act(observations)


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
