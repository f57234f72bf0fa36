"""Planner: for every request, enumerate the model over the whole joint action with the bandwidth estimated.

The plain question every user asks: why learn, when one can enumerate the model with the bandwidth just
seen? So this baseline is made as strong as we can make it, and it is the number that learned policies have
to beat. There is no paper behind it; Neurosurgeon (Kang et al., ASPLOS 2017) is the same idea over the cut
alone.

It sees the observation and remembers its last action and when an answer was late, nothing else. Its belief
about the present is a handful of possible worlds with weights, it takes the action with the least expected
cost over them (`search`, exact, on the step's own physics, clock delays and caps included), and:

* Rates come from `nearest` moments of the training bank at which a simulated device saw much the same (last
  rate, the one before, moving average, silence, time-outs; `side` weighs the second and third), each with the
  throughput that small, middling and large transfers had there; or, where that does better on training
  episodes, from quantiles of the rate given the rate seen and its age, or from the rate last seen alone.
* Round-trip time and server load are conditional means given when an answer last came: the link monitor says
  nothing about them, so its reports do not make them young.
* After a time-out whose payload got through, the answer was late: the next one is late too with the chance
  that the training bank gives for the time between.
* Before the first transfer it believes the marginal distribution of the training bank. As silence grows, the
  belief relaxes towards it, so it offloads again by itself.
* `queue_share` charges it for the backlog that a slow answer leaves: waiting and missed deadlines of the
  requests after it, until they have caught up.

The settings are chosen per scenario by coordinate search on training episodes (`tuning`), in the order of
`GRID`; the choice is kept on disk.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.belief import states_of
from dvfo_agents.planning.present import BeliefSettings, Knowledge, Present
from dvfo_agents.planning.search import make_space, search
from dvfo_agents.planning.tuning import training_cost
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_env.tables import CostTables

_KIND = "planner"

#: Settings that are tried, in this order; the first of each is where the search begins.
GRID: dict[str, tuple[Any, ...]] = {
    "queue_share": (1.0, 0.0, 2.0, 4.0),
    "side": (0.3, 0.1, 0.6),
    "nearest": (96, 32),
    "source": ("analogues", "quantiles", "last"),
    "last_weight": (1.0, 0.5),
}


@dataclass(frozen=True)
class PlannerSettings(BeliefSettings):
    """How a planner estimates and hedges; see the module's text and `BeliefSettings`."""

    queue_share: float = 1.0


class Planner:
    """Exact enumeration of the joint action under a belief about the uplink; implements `Policy`."""

    name = "planner"

    def __init__(
        self, tables: CostTables, settings: PlannerSettings, knowledge: Knowledge | None = None
    ) -> None:
        self.settings = settings
        self._tables = tables
        self._space = make_space(tables)
        self.present = Present(knowledge or Knowledge(tables), settings)
        self._before: NDArray[np.int64] = np.zeros((0, len(tables.sizes)), dtype=np.int64)
        self._believed = (np.zeros((0, 1, 4), dtype=np.float32), np.zeros((0, 1)))

    def reset(self, n: int) -> None:
        """Forget the last actions and when answers came."""
        self._before = np.repeat(self._tables.out_of_the_box[None], n, axis=0)
        self.present.reset(n)

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        if len(self._before) != len(observations):
            self.reset(len(observations))
        states = states_of(self._tables, observations)
        self._believed = self.present.worlds(observations, self._before)
        worlds, weights = self._believed
        share = self.settings.queue_share
        actions = self._before  # a good start for the search
        search(self._tables, self._space, states, worlds, actions, share, weights, self.classes)
        return actions.copy()

    @property
    def classes(self) -> NDArray[np.int64]:
        """Size class int64 [K, Z] of what each cut and level send."""
        return self.present.classes

    @property
    def unusual(self) -> NDArray[np.bool_]:
        """Whether [N] the answer to the last request was late, or took unusually long, not long ago."""
        return self.present.unusual

    def believed(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Worlds and weights that the last decisions of devices `rows` rest on, as `search` takes them."""
        worlds, weights = self._believed
        return np.ascontiguousarray(worlds[rows]), np.ascontiguousarray(weights[rows])

    def took(self, actions: NDArray[np.int64]) -> None:
        """Say that `actions` [N, parts] were taken in the place of what `act` gave."""
        self._before = actions.copy()


def tune(tables: CostTables, knowledge: Knowledge) -> PlannerSettings:
    """The settings that cost least on training episodes, by coordinate search over `GRID`."""
    costs: dict[PlannerSettings, float] = {}

    def cost(settings: PlannerSettings) -> float:
        if settings not in costs:
            costs[settings] = training_cost(Planner(tables, settings, knowledge), tables)
        return costs[settings]

    best = PlannerSettings()
    for field, values in GRID.items():
        if field == "last_weight" and best.source != "quantiles":
            continue  # makes no difference
        best = min((dataclasses.replace(best, **{field: value}) for value in values), key=cost)
    return best


def settings_for(tables: CostTables, knowledge: Knowledge) -> PlannerSettings:
    """Settings tuned on training episodes, or those found when they were."""
    key = tables_digest(tables)
    settings = _stored(recall(_KIND, key))
    if settings is None:
        settings = tune(tables, knowledge)
        remember(_KIND, key, dataclasses.asdict(settings))
    return settings


def make(tables: CostTables) -> Planner:
    """The policy for a compiled scenario, with settings tuned on its training episodes."""
    knowledge = Knowledge(tables)
    return Planner(tables, settings_for(tables, knowledge), knowledge)


def _stored(result: dict[str, Any] | None) -> PlannerSettings | None:
    if result is None or set(result) != set(GRID) or any(result[field] not in GRID[field] for field in GRID):
        return None
    return PlannerSettings(**result)
