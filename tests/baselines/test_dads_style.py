from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dvfo_agents.baselines.dads_style import Dads, make
from dvfo_agents.planning.belief import BankStatistics
from dvfo_agents.planning.tuning import training_cost
from dvfo_env.simulator import Simulator
from dvfo_env.state import LATENCY_MS
from dvfo_env.tables import CPU, CUT, GPU, LEVEL, MAPPING, MEM, CostTables, compile_scenario
from tests.baselines.steady import steady
from tests.worlds import device, scenario


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> CostTables:
    folder = tmp_path_factory.mktemp("dads")
    requests = {"period_ms": 2000.0, "deadline_ms": 100.0, "queue_limit_ms": 4000.0}
    return compile_scenario(scenario(folder, device(points=2), requests=requests, episode_requests=8))


@pytest.mark.parametrize("mbps", [0.01, 2.0, 20.0, 200.0, 2000.0])
def test_under_light_load_no_cut_and_mapping_answers_sooner(whole: CostTables, mbps: float) -> None:
    tables = steady(whole, mbps)
    policy = Dads(tables, BankStatistics(tables), level=1)
    chosen = policy.act(Simulator(tables, 1).reset(np.zeros(1, dtype=np.int64)))
    assert (chosen[0, [CPU, GPU, MEM]] == np.array(tables.sizes)[2:5] - 1).all()

    def latency_ms(cut: int, mapping: int) -> float:
        action = chosen.copy()
        action[0, CUT], action[0, MAPPING] = cut, mapping
        simulator = Simulator(tables, 1)
        simulator.reset(np.zeros(1, dtype=np.int64))
        return float(simulator.step(action).outcomes[0, LATENCY_MS])

    brute = min(latency_ms(k, u) for k in range(tables.sizes[CUT]) for u in range(tables.sizes[MAPPING]))
    assert latency_ms(int(chosen[0, CUT]), int(chosen[0, MAPPING])) == pytest.approx(brute, rel=1e-5)


def test_under_heavy_load_no_cut_has_a_shorter_bottleneck(whole: CostTables) -> None:
    params = whole.params.copy()
    params["period_ms"] = 1.0  # nothing can keep up
    tables = dataclasses.replace(steady(whole, 20.0), params=params)
    observations = Simulator(tables, 1).reset(np.zeros(1, dtype=np.int64))
    heavy, light = (Dads(tables, BankStatistics(tables), 1, heavy=on) for on in (True, False))
    heads_ms = heavy.rule.heads_ms(observations)
    stages = heavy.rule.stages(observations, heads_ms.min(axis=1))[:3]
    bottleneck = np.max(stages, axis=0)[0]
    chosen = int(heavy.act(observations)[0, CUT])
    assert bottleneck[chosen] == bottleneck.min()
    assert bottleneck[chosen] <= bottleneck[int(light.act(observations)[0, CUT])]


def test_it_sends_with_one_level_and_is_no_worse_than_its_own_other_settings(whole: CostTables) -> None:
    policy = make(whole)
    cost = training_cost(policy, whole)
    statistics = BankStatistics(whole)
    for level in range(whole.sizes[LEVEL]):
        assert cost <= training_cost(Dads(whole, statistics, level), whole) + 1e-12
    observations = Simulator(whole, 4).reset(np.arange(4))
    assert (policy.act(observations)[:, LEVEL] == policy.level).all()
