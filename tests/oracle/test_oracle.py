"""The clairvoyant is exact, and nothing beats the bound."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dvfo_env.oracle import best_fixed_action, bound_costs, clairvoyant_actions
from dvfo_env.serving import outcome
from dvfo_env.simulator import Simulator
from dvfo_env.state import COST, DROP_COST, OUTCOME
from dvfo_env.tables import CostTables, compile_scenario
from tests import worlds


def all_actions(tables: CostTables) -> np.ndarray:
    return np.array(list(product(*(range(size) for size in tables.sizes))), dtype=np.int64)


def brute_force(simulator: Simulator, environment: int) -> float:
    """Least cost over every joint action, one `outcome` call each."""
    row = np.zeros(len(OUTCOME), dtype=np.float32)
    t = simulator.tables
    state, params = simulator.states[environment], t.params[0]
    return min(
        outcome(t.head, t.idle, t.codec, t.send, t.tail_ms, t.cpu_ghz, params, simulator.bank, state,
                a[0], a[1], a[2], a[3], a[4], a[5], row)
        for a in all_actions(t)
    )  # fmt: skip


def small_tables(folder: Path, **changes: object) -> CostTables:
    changes.setdefault("action", {"cuts": ["image", "stem_mixed_3", "reduction_a", "inception_c_1", "fc"]})
    data = worlds.device(
        points=3, hot=bool(changes.pop("hot", False)), delay=float(changes.pop("delay", 1.0))
    )
    return compile_scenario(worlds.scenario(folder, data, **changes))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("delay", "mode"), [(0.0, "free"), (1.0, "free"), (6.0, "free"), (1.0, "blocking"), (1.0, "concurrent")]
)
def test_pruned_search_finds_what_brute_force_finds(
    tmp_path: Path, eta: float, delay: float, mode: str
) -> None:
    decision = {"mode": mode, "latency_ms": 0.0 if mode == "free" else 150.0}
    tables = small_tables(tmp_path, objective={"eta": eta}, delay=delay, hot=True, decision=decision)
    simulator = Simulator(tables, 3)
    rng = np.random.default_rng(0)
    for _ in range(6):
        actions, costs = clairvoyant_actions(simulator)
        for environment in range(simulator.n):
            assert costs[environment] == pytest.approx(brute_force(simulator, environment), rel=1e-9)
        batch = simulator.step(actions)
        assert batch.outcomes[:, COST] == pytest.approx(costs, rel=1e-5)
        # wander off, so that the next states are not only the ones good policies reach
        simulator.step(np.stack([rng.integers(0, size, simulator.n) for size in tables.sizes], axis=1))


def episode_costs(tables: CostTables, act: object, seeds: np.ndarray) -> np.ndarray:
    """Total cost of one episode per seed under `act(simulator) -> actions`."""
    simulator = Simulator(tables, len(seeds))
    simulator.reset(seeds)
    totals, over = np.zeros(len(seeds)), np.zeros(len(seeds), dtype=bool)
    while not over.all():
        batch = simulator.step(act(simulator))  # type: ignore[operator]
        totals += np.where(over, 0.0, batch.outcomes[:, COST] + batch.outcomes[:, DROP_COST])
        over |= batch.ends > 0
    return totals


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    eta=st.floats(0.0, 1.0),
    delay=st.sampled_from([0.0, 1.0, 5.0, 20.0]),
    period_ms=st.sampled_from([20.0, 60.0, 150.0, 1000.0]),
    timeout_ms=st.sampled_from([30.0, 200.0, 1000.0]),
    deadline_ms=st.sampled_from([20.0, 60.0, 200.0]),
    uplink=st.sampled_from(["lte-driving", "5g-mmwave-driving", "dvfo-0.5-8"]),
    poisson=st.booleans(),
    energy=st.sampled_from(["board", "dynamic"]),
    mode=st.sampled_from(["free", "blocking", "concurrent"]),
    decision_ms=st.floats(0.0, 150.0),
    seed=st.integers(0, 1 << 40),
)
def test_no_policy_goes_below_the_bound(
    tmp_path: Path, eta: float, delay: float, period_ms: float, timeout_ms: float, deadline_ms: float,
    uplink: str, poisson: bool, energy: str, mode: str, decision_ms: float, seed: int,
) -> None:  # fmt: skip
    tables = small_tables(
        tmp_path,
        objective={"eta": eta, "energy": energy},
        delay=delay,
        uplink=uplink,
        offload_timeout_ms=timeout_ms,
        decision={"mode": mode, "latency_ms": 0.0 if mode == "free" else decision_ms},
        requests={
            "period_ms": period_ms,
            "deadline_ms": deadline_ms,
            "queue_limit_ms": 400.0,
            "arrival": "poisson" if poisson else "periodic",
            "difficulty": "known" if poisson else "averaged",
        },
    )
    seeds = seed + np.arange(4)
    floor = bound_costs(tables, seeds).sum(axis=1)
    rng = np.random.default_rng(seed)
    sizes = tables.sizes

    def random(simulator: Simulator) -> np.ndarray:
        return np.stack([rng.integers(0, size, simulator.n) for size in sizes], axis=1)

    def greedy(simulator: Simulator) -> np.ndarray:
        return clairvoyant_actions(simulator)[0]

    def restless(simulator: Simulator) -> np.ndarray:
        """Greedy, but now and then the clocks run free: meets old clocks that are better than the new
        ones.
        """
        actions = greedy(simulator)
        change = rng.random(simulator.n) < 0.5
        actions[change, 2:5] = random(simulator)[change, 2:5]
        return actions

    slack = 1.0 - 1e-5  # outcomes are float32
    for act in (random, greedy, restless):
        assert (episode_costs(tables, act, seeds) >= floor * slack).all()


def test_the_bound_charges_waiting_that_nobody_can_avoid(tmp_path: Path) -> None:
    """Requests that come faster than anything serves them wait for each other, and are dropped in the end."""

    def floor(period_ms: float) -> np.ndarray:
        requests = {"period_ms": period_ms, "deadline_ms": 60.0, "queue_limit_ms": 400.0}
        return bound_costs(small_tables(tmp_path, requests=requests), np.arange(2))

    relaxed, hurried = floor(1000.0), floor(1.0)
    assert (hurried[:, 0] >= relaxed[:, 0] - 1e-9).all()
    assert (hurried[:, 5] > hurried[:, 1]).all()
    assert hurried[:, -1] == pytest.approx(hurried[:, -1].max())  # dropped, each at the same price


def test_clocks_still_take_time_where_the_input_is_not_a_cut(tmp_path: Path) -> None:
    tables = small_tables(tmp_path, action={"cuts": ["reduction_a", "fc"]})
    simulator = Simulator(tables, 1)
    slow = tables.action_indices(cut="reduction_a", cpu_mhz=400.0, gpu_mhz=100.0, mem_mhz=1000.0)
    first, second = (simulator.step(slow[None]).outcomes[0].copy() for _ in range(2))
    assert first[OUTCOME.index("transition_ms")] > 0.0
    assert second[OUTCOME.index("transition_ms")] == 0.0
    seeds = np.arange(4)
    floor = bound_costs(tables, seeds).sum(axis=1)
    assert (episode_costs(tables, lambda s: clairvoyant_actions(s)[0], seeds) >= floor * (1.0 - 1e-5)).all()


def test_best_fixed_action_is_the_best_of_all(tmp_path: Path) -> None:
    tables = small_tables(
        tmp_path, action={"cuts": ["image", "reduction_a", "fc"], "compression": ["level-3", "level-5"]}
    )
    search = best_fixed_action(tables, episodes=2, first_seed=5)
    seeds = 5 + np.arange(2)
    costs = [
        episode_costs(tables, lambda _, a=a: np.tile(a, (2, 1)), seeds).sum() for a in all_actions(tables)
    ]
    assert search.cost * tables.scenario.episode_requests * 2 == pytest.approx(min(costs), rel=1e-5)
    assert search.joint_actions == len(costs)
