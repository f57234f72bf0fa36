"""Model-predictive planner: rolls the model ahead before it decides.

Model-predictive control by rollouts over a base policy (Bertsekas, "Rollout algorithms", 2013; the same idea
as policy improvement by simulation), with no paper of this field behind it. The base is the one-step
`planner`. For every request it takes a few candidates (the planner's action, the best one that stays local,
the best one that sends, the best one against the bad third of the worlds), lets each meet the same `FUTURES`
stretches of the training bank whose recent history looks like what was observed, follows the planner's
habits for `horizon` requests in the step's own physics, and takes the candidate with the least total. So it
sees what the one-step planner only prices roughly or not at all: the queue after a time-out, what sending
tells about the link, clocks that have to be changed back, heat.

It keeps to the planner's action unless another is better by more than `margin`, and always where a late
answer or an unusual round-trip time is in force, since futures are not chosen by these. `horizon` is
chosen on training episodes; horizon 0 is the planner itself, so on those it is never worse.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.baselines import planner
from dvfo_agents.baselines.planner import Planner, PlannerSettings
from dvfo_agents.planning.analogues import Analogues
from dvfo_agents.planning.belief import states_of
from dvfo_agents.planning.present import Knowledge
from dvfo_agents.planning.rollout import Habits, futures_of, roll
from dvfo_agents.planning.search import make_space, search
from dvfo_agents.planning.tuning import training_cost
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_controller.policies.analogues import Metric
from dvfo_controller.policies.mpc import worst_third
from dvfo_env.tables import CUT, CostTables

_KIND = "mpc-planner"
FUTURES = 32
_EPISODES = 12  # rollouts take their time
GRID: dict[str, tuple[Any, ...]] = {"horizon": (0, 6), "margin": (0.1,)}


@dataclass(frozen=True)
class MpcSettings:
    """How far ahead, and by how much another action must beat the planner's (cost units)."""

    horizon: int = 0
    margin: float = 0.1


class MpcPlanner:
    """Rollouts over the one-step planner; implements `Policy`."""

    name = "mpc-planner"

    def __init__(
        self,
        tables: CostTables,
        settings: MpcSettings,
        base: PlannerSettings,
        knowledge: Knowledge,
        habits: Habits | None = None,
    ) -> None:
        self.settings = settings
        self._tables = tables
        self.planner = Planner(tables, base, knowledge)
        self.habits = habits or Habits(tables, Planner(tables, base, knowledge))
        self.moments = knowledge.moments
        self.futures = Analogues(tables, knowledge.moments, Metric(base.side, base.side), FUTURES)
        local = tables.sizes[CUT] - 1
        self._stay = make_space(tables, cuts=np.array([local]))
        self._send = make_space(tables, cuts=np.arange(local)) if local else None

    def reset(self, n: int) -> None:
        """Forget what the planner remembers."""
        self.planner.reset(n)

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        chosen = self.planner.act(observations)
        if self.settings.horizon == 0 or self._send is None:
            return chosen
        open_ = np.flatnonzero(~self.planner.unusual)
        if len(open_) == 0:
            return chosen
        seen = observations[open_]
        candidates = self._candidates(seen, chosen[open_], *self.planner.believed(open_))
        at_ms = self.moments.at_ms[self.futures.find(seen)]
        futures = futures_of(self._tables, seen)
        costs = roll(self._tables, futures, at_ms, candidates, self.habits, self.settings.horizon)
        costs[:, 1:] += self.settings.margin
        chosen[open_] = candidates[np.arange(len(open_)), costs.argmin(axis=1)]
        self.planner.took(chosen)
        return chosen

    def _candidates(
        self,
        observations: NDArray[np.float32],
        first: NDArray[np.int64],
        worlds: NDArray[np.float32],
        weights: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """Joint actions [N, 4, parts]: the planner's, local, sent, and sent for the worse third."""
        assert self._send is not None
        classes = self.planner.classes
        share = self.planner.settings.queue_share
        found = [first]
        bad = worst_third(worlds, weights)
        for space, likely in ((self._stay, weights), (self._send, weights), (self._send, bad)):
            actions = first.copy()
            actions[:, CUT] = space.cuts[-1]
            states = states_of(self._tables, observations)
            search(self._tables, space, states, worlds, actions, share, likely, classes)
            found.append(actions)
        return np.stack(found, axis=1)


def tune(tables: CostTables, base: PlannerSettings, knowledge: Knowledge) -> MpcSettings:
    """The horizon that costs least on training episodes; none where nothing is gained."""
    habits = Habits(tables, Planner(tables, base, knowledge))

    def cost(settings: MpcSettings) -> float:
        policy = MpcPlanner(tables, settings, base, knowledge, habits)
        return training_cost(policy, tables, _EPISODES)

    return min((MpcSettings(horizon) for horizon in GRID["horizon"]), key=cost)


def make(tables: CostTables) -> MpcPlanner:
    """The policy for a compiled scenario, with settings tuned on its training episodes."""
    key = tables_digest(tables)
    stored, knowledge = recall(_KIND, key), Knowledge(tables)
    base = planner.settings_for(tables, knowledge)
    if stored is None or set(stored) != set(GRID) or any(stored[k] not in GRID[k] for k in GRID):
        settings = tune(tables, base, knowledge)
        remember(_KIND, key, dataclasses.asdict(settings))
    else:
        settings = MpcSettings(**stored)
    return MpcPlanner(tables, settings, base, knowledge)
