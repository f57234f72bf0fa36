"""Planner: for every request, enumerate the model over the whole joint action with the bandwidth estimated.

The plain question every user asks: why learn, when one can enumerate the model with the bandwidth just
seen? So this baseline is made as strong as we can make it, and it is the number that learned policies have
to beat. There is no paper behind it; Neurosurgeon (Kang et al., ASPLOS 2017) is the same idea over the cut
alone.

It sees the observation and nothing else. Its belief about the uplink is a handful of equally likely rates,
given the rate last seen and how long ago that was (`belief.Belief`, from the training bank), it takes the
action with the least expected cost over them (`search`, exact, on the step's own physics, clock delays and
caps included), and:

* The rates are throughputs of whole transfers of the size that is best sent on average (`payload_share`
  scales it).
* Before the first transfer it believes the marginal distribution of the training bank.
* After a time-out the rate seen is that of the outage; as silence grows the belief relaxes to the marginal
  distribution and it offloads again by itself. `probe_ms` shortens that: after so long a silence it
  believes the best of its rates where it would otherwise stay local.
* `queue_share` charges it for the backlog that a slow answer leaves: waiting and missed deadlines of the
  requests after it, until they have caught up.

The settings are chosen per scenario by coordinate search on training episodes (`tuning`), in the order of
`GRID`, twice through; the choice is kept on disk. Both naive planners (last throughput goes on, moving
average goes on) are in the search.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.belief import BankStatistics, Belief, silence_ms, states_of
from dvfo_agents.planning.search import make_space, search
from dvfo_agents.planning.tuning import training_cost
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_env.tables import CUT, CostTables

_KIND = "planner"

#: Settings that are tried, in this order; the first of each is where the search begins.
GRID: dict[str, tuple[Any, ...]] = {
    "learned": (True, False),
    "payload_share": (1.0, 0.1),
    "worlds": (5, 1, 15),
    "last_weight": (0.5, 1.0, 0.0),
    "queue_share": (1.0, 0.0, 3.0),
    "probe_ms": (np.inf, 500.0, 2000.0),
}


@dataclass(frozen=True)
class PlannerSettings:
    """How a planner estimates and hedges; see the module's text and `belief`."""

    learned: bool = True
    payload_share: float = 1.0
    worlds: int = 5
    last_weight: float = 0.5
    queue_share: float = 1.0
    probe_ms: float = np.inf


class Planner:
    """Exact enumeration of the joint action under a belief about the uplink; implements `Policy`."""

    name = "planner"

    def __init__(
        self, tables: CostTables, settings: PlannerSettings, statistics: BankStatistics | None = None
    ) -> None:
        self.settings = settings
        self._tables = tables
        self._space = make_space(tables)
        statistics = statistics or BankStatistics(tables, settings.payload_share)
        self._belief = Belief(statistics, settings.last_weight, settings.worlds, settings.learned)
        self._local = tables.sizes[CUT] - 1
        self._before: NDArray[np.int64] = np.zeros((0, len(tables.sizes)), dtype=np.int64)

    def reset(self, n: int) -> None:
        """Forget the last actions, which only speed the search up."""
        self._before = np.repeat(self._tables.out_of_the_box[None], n, axis=0)

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        if len(self._before) != len(observations):
            self.reset(len(observations))
        states = states_of(self._tables, observations)
        worlds = self._belief.worlds(observations)
        actions = self._before
        search(self._tables, self._space, states, worlds, actions, self.settings.queue_share)
        if np.isfinite(self.settings.probe_ms):
            silent = (actions[:, CUT] == self._local) & (silence_ms(observations) >= self.settings.probe_ms)
            if silent.any():
                probes = actions[silent]
                best = np.ascontiguousarray(worlds[silent, -1:])
                search(self._tables, self._space, states[silent], best, probes, self.settings.queue_share)
                actions[silent] = probes
        return actions.copy()


def tune(tables: CostTables) -> PlannerSettings:
    """The settings that cost least on training episodes, by coordinate search over `GRID`."""
    statistics = {share: BankStatistics(tables, share) for share in GRID["payload_share"]}
    costs: dict[PlannerSettings, float] = {}

    def cost(settings: PlannerSettings) -> float:
        if settings not in costs:
            costs[settings] = training_cost(
                Planner(tables, settings, statistics[settings.payload_share]), tables
            )
        return costs[settings]

    best = PlannerSettings()
    for _ in range(2):
        for field, values in GRID.items():
            best = min((dataclasses.replace(best, **{field: value}) for value in values), key=cost)
    return best


def make(tables: CostTables) -> Planner:
    """The policy for a compiled scenario, with settings tuned on its training episodes."""
    key = tables_digest(tables)
    settings = _stored(recall(_KIND, key))
    if settings is None:
        settings = tune(tables)
        remember(_KIND, key, dataclasses.asdict(settings))
    return Planner(tables, settings)


def _stored(result: dict[str, Any] | None) -> PlannerSettings | None:
    if result is None or set(result) != set(GRID) or any(result[field] not in GRID[field] for field in GRID):
        return None
    return PlannerSettings(**result)
