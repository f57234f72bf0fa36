"""Speed of the exact searches: the feasible clairvoyant, the bound and the best fixed action."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_benchmarks.env import random_actions
from dvfo_benchmarks.timing import machine
from dvfo_env.oracle import best_fixed_action, bound_costs, clairvoyant_actions
from dvfo_env.scenario import load_scenario
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CostTables, compile_scenario


def bench_oracle(
    scenario: str = "default", decisions: int = 512, bound_episodes: int = 8, fixed_episodes: int = 8
) -> dict[str, Any]:
    """Milliseconds of a clairvoyant decision and of a request of the bound; seconds of the best fixed action.

    The clairvoyant is timed twice: in the states its own decisions lead to (`decision_*`), and in those that
    random actions lead to (`random_state_*`), where queues are long and pruning has less to hold on to.
    """
    tables = compile_scenario(load_scenario(scenario))
    own = decision_times_ms(tables, decisions, wander=False)
    wandering = decision_times_ms(tables, decisions, wander=True)

    seeds = np.arange(bound_episodes)
    bound_costs(tables, seeds[:1])
    begun = time.perf_counter()
    costs = bound_costs(tables, seeds)
    bound_s = time.perf_counter() - begun

    best_fixed_action(tables, episodes=1)
    begun = time.perf_counter()
    fixed = best_fixed_action(tables, episodes=fixed_episodes)
    fixed_s = time.perf_counter() - begun
    return {
        "scenario": tables.scenario.name,
        "joint_actions": tables.joint_actions,
        "decisions": decisions,
        "decision_ms_median": float(np.median(own)),
        "decision_ms_p99": float(np.percentile(own, 99)),
        "random_state_ms_median": float(np.median(wandering)),
        "random_state_ms_p99": float(np.percentile(wandering, 99)),
        "bound_ms_per_request": bound_s * 1e3 / costs.size,
        "best_fixed_s": fixed_s,
        "best_fixed_episodes": fixed_episodes,
        "best_fixed_cost": fixed.cost,
        **machine(),
    }


def decision_times_ms(tables: CostTables, decisions: int, *, wander: bool) -> NDArray[np.float64]:
    """Time of each of `decisions` clairvoyant decisions, float64 [decisions].

    `wander`: step random actions between them instead of the decisions themselves.
    """
    simulator = Simulator(tables, 1)
    random = random_actions(tables, 1, draws=decisions)
    clairvoyant_actions(simulator)
    times = np.empty(decisions)
    for i in range(decisions):
        begun = time.perf_counter()
        best, _ = clairvoyant_actions(simulator)
        times[i] = (time.perf_counter() - begun) * 1e3
        simulator.step(random[i] if wander else best)
    return times
