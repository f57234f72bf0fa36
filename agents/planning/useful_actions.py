"""The joint actions worth choosing between: a handful out of hundreds of thousands.

For one device and one network nearly all joint actions are dominated: whatever the uplink does, another one
costs less. The few that are ever best are found by asking the exact searches on training episodes, in two
ways: what is best when the present is known (the clairvoyant), and what is best when it is not, that is, on
average over one or three moments of the uplink drawn from the whole training bank. On the shipped scenarios
that gives 5 to 40 joint actions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.search import make_space, search
from dvfo_controller.policies.space import Space
from dvfo_env.oracle import clairvoyant_actions
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.tables import CostTables

_DEVICES = 256
_REQUESTS = 40
_FIRST_SEED = 1_200_000  # training episodes, apart from those of other searches
_DETOURS = 0.15  # share of requests served by an action that was best elsewhere, to see other states
_AT_ONCE = 16  # actions compared at a time


def useful_actions(tables: CostTables, limit: int, seed: int = 0) -> NDArray[np.int64]:
    """At most `limit` joint actions, int64 [A, parts], of which the first is the one out of the box.

    Where more are ever best, those are kept that together cost least over the states seen, taken one by one.
    """
    rng = np.random.default_rng(seed)
    simulator = Simulator(tables, _DEVICES)
    simulator.reset(_FIRST_SEED + np.arange(_DEVICES))
    space = make_space(tables)
    found = [tables.out_of_the_box[None]]
    states = []
    for request in range(_REQUESTS):
        best, _ = clairvoyant_actions(simulator)
        found += [best.copy(), _best_unseen(tables, simulator, space, 1 + 2 * (request % 2), rng)]
        if request % 4 == 1:
            states.append(simulator.states.copy())
        seen = np.unique(np.concatenate(found), axis=0)
        detour = rng.random(_DEVICES) < _DETOURS
        best[detour] = seen[rng.integers(len(seen), size=int(detour.sum()))]
        simulator.step(best)
    actions = np.unique(np.concatenate(found), axis=0)
    first = np.flatnonzero((actions == tables.out_of_the_box).all(axis=1))
    actions = np.concatenate([actions[first], np.delete(actions, first, axis=0)])
    return actions if len(actions) <= limit else _fewer(tables, actions, np.concatenate(states), limit)


def _best_unseen(
    tables: CostTables, simulator: Simulator, space: Space, worlds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Best joint actions [N, parts] where the uplink may be as at any of `worlds` random moments."""
    states = decided(simulator.states, tables)
    moments = rng.integers(len(simulator.bank), size=(simulator.n, worlds))
    actions = np.repeat(tables.out_of_the_box[None], simulator.n, axis=0)
    search(tables, space, states, np.ascontiguousarray(simulator.bank[moments]), actions, 1.0)
    return actions


def decided(states: NDArray[np.void], tables: CostTables) -> NDArray[np.void]:
    """States [N] as `search` takes them: time counts from the arrival, and the decision on the current
    request is there, so that waiting for it is in every floor of the search as in every cost.
    """
    decision_ms = float(tables.params[0]["decision_ms"])
    seen: NDArray[np.void] = states.copy()
    there_ms = np.maximum(states["now_ms"], states["started_ms"] + decision_ms)
    seen["now_ms"] = there_ms - states["arrival_ms"]
    seen["started_ms"] = seen["now_ms"] - decision_ms
    seen["arrival_ms"] = 0.0
    return seen


def _fewer(
    tables: CostTables, actions: NDArray[np.int64], states: NDArray[np.void], limit: int
) -> NDArray[np.int64]:
    """The `limit` actions, the first one among them, that together cost least over `states`, greedily."""
    simulator = Simulator(tables, len(states), bank_seed=TRAINING_BANK_SEED, autoreset=False)
    simulator.states[:] = states
    costs = np.concatenate(
        [
            -simulator.imagine(some).rewards.reshape(len(states), -1).astype(np.float64)
            for some in np.array_split(actions, -(-len(actions) // _AT_ONCE))
        ],
        axis=1,
    )
    chosen, least = [0], costs[:, 0]
    while len(chosen) < limit:
        following = int(np.maximum(least[:, None] - costs, 0.0).sum(axis=0).argmax())
        if following in chosen:
            break  # the rest is never better
        chosen.append(following)
        least = np.minimum(least, costs[:, following])
    return actions[chosen]
