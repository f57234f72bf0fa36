from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvfo_agents.baselines.planner import Planner, PlannerSettings
from dvfo_agents.planning.belief import BankStatistics, Belief, states_of
from dvfo_agents.planning.expectation import expected_cost
from dvfo_agents.planning.search import make_space, search
from dvfo_agents.planning.seen import silence_ms
from dvfo_env.oracle import clairvoyant_actions
from dvfo_env.simulator import Simulator
from dvfo_env.state import COST, OUTCOME, STATE
from dvfo_env.tables import CPU, GPU, LEVEL, MEM, CostTables, compile_scenario
from tests.baselines.steady import steady
from tests.worlds import device, scenario


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> CostTables:
    requests = {"period_ms": 60.0, "deadline_ms": 50.0, "queue_limit_ms": 600.0}
    folder = tmp_path_factory.mktemp("hot")
    return compile_scenario(scenario(folder, device(hot=True), requests=requests, episode_requests=40))


@pytest.mark.parametrize("mbps", [0.0, 0.5, 4.0, 30.0, 300.0])
def test_in_a_world_that_never_changes_the_planner_is_the_clairvoyant(hot: CostTables, mbps: float) -> None:
    tables = steady(hot, mbps)
    planner = Planner(tables, PlannerSettings(source="last", queue_share=0.0))
    simulator = Simulator(tables, 8, autoreset=True)
    observations = simulator.reset(np.arange(8))
    planner.reset(8)
    for _ in range(40):
        _, best = clairvoyant_actions(simulator)
        batch = simulator.step(planner.act(observations))
        np.testing.assert_allclose(batch.outcomes[:, COST], best, rtol=2e-4)
        observations = batch.observations


@pytest.mark.parametrize("queue_share", [0.0, 2.0])
def test_the_search_finds_what_brute_force_finds(tmp_path: Path, queue_share: float) -> None:
    whole = compile_scenario(scenario(tmp_path)).choices["cut"]
    chosen = [whole[0], whole[len(whole) // 3], whole[2 * len(whole) // 3], whole[-1]]
    objective = {"eta": [0.1, 0.9]}
    tables = compile_scenario(
        scenario(tmp_path, device(hot=True), action={"cuts": chosen}, objective=objective)
    )
    generator = np.random.default_rng(5)
    n, w, sizes = 6, 3, 2
    states = np.zeros(n, dtype=STATE)
    states["now_ms"] = generator.choice([0.0, 20.0, 300.0], n)
    states["eta"] = generator.uniform(0.1, 0.9, n)
    for field, part in (("cpu", CPU), ("gpu", GPU), ("mem", MEM)):
        states[field] = generator.integers(tables.sizes[part], size=n)
    states["trips"] = generator.integers(4, size=n)
    worlds = np.zeros((n, w * sizes, 4), dtype=np.float32)
    worlds[:, :, 0] = 2.0 ** generator.uniform(-6.0, 8.0, (n, w * sizes))
    weights = generator.dirichlet(np.ones(w), n)
    classes = generator.integers(sizes, size=tables.send.shape[:2])
    worlds[:, :, 1] = generator.uniform(5.0, 200.0, (n, 1))
    worlds[:, :, 2] = generator.uniform(1.0, 4.0, (n, 1))
    actions = np.repeat(tables.out_of_the_box[None], n, axis=0)
    found = search(tables, make_space(tables), states.copy(), worlds, actions, queue_share, weights, classes)

    params = tables.params.copy()
    params["bank_step_ms"] = 1e15
    scratch = np.zeros(len(OUTCOME), dtype=np.float32)
    for i in range(n):
        s = states[i]

        def cost(a: tuple[int, ...], s: np.void = s, i: int = i) -> float:
            return float(
                expected_cost(
                    *tables.arrays[:-1],
                    params[0],
                    worlds[i],
                    weights[i],
                    classes,
                    s,
                    *a[:LEVEL],
                    a[LEVEL],
                    queue_share,
                    scratch,
                )
            )

        brute = min(cost(a) for a in np.ndindex(*tables.sizes))
        assert found[i] == pytest.approx(brute, rel=1e-6)
        assert cost(tuple(int(x) for x in actions[i])) == pytest.approx(brute, rel=1e-6)


def test_the_belief_is_the_marginal_first_and_the_rate_just_seen_soon_after(hot: CostTables) -> None:
    statistics = BankStatistics(hot)
    belief = Belief(statistics, last_weight=1.0, worlds=5)
    observations = Simulator(hot, 1).reset(np.zeros(1, dtype=np.int64)).copy()
    assert np.isinf(silence_ms(observations)).all()
    np.testing.assert_allclose(np.log2(belief.worlds(observations)[0, :, 0]), belief.marginal_log2, rtol=1e-4)
    observations[0, 4] = 0.01  # heard from ten milliseconds ago ...
    medians = []
    for feature in (-0.5, 0.0, 0.4):  # ... at 0.7, 8 and 56 Mbit/s
        observations[0, 1:4] = feature
        worlds = belief.worlds(observations)[0]
        assert (np.diff(worlds[:, 0]) >= 0.0).all()
        medians.append(worlds[2, 0])
    assert medians == sorted(medians)
    assert medians[0] < 8.0 < medians[2]


def test_the_belief_forgets_as_silence_grows(hot: CostTables) -> None:
    belief = Belief(BankStatistics(hot), last_weight=1.0, worlds=9)
    observations = np.zeros((2, 15), dtype=np.float32)
    observations[:, 1:4] = -0.9
    observations[:, 4] = [0.05, 0.99]
    soon, late = belief.worlds(observations)[:, 4, 0]
    assert soon < late


def test_throttling_is_read_off_the_observation(hot: CostTables) -> None:
    simulator = Simulator(hot, 4, autoreset=False)
    observations = simulator.reset(np.arange(4))
    seen = 0
    for _ in range(36):
        np.testing.assert_array_equal(states_of(hot, observations)["trips"], simulator.states["trips"])
        seen |= int(simulator.states["trips"].max())
        observations = simulator.step(np.repeat(hot.out_of_the_box[None], 4, axis=0)).observations
    assert seen > 0, "the test needs a device that gets hot"
