from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dvfo_agents.baselines import all_local, all_server, best_fixed, compress_input
from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_agents.planning.fixed_choice import best_of, candidates
from dvfo_agents.planning.tuning import training_cost
from dvfo_env.tables import CPU, CUT, LEVEL, MAPPING, CostTables, compile_scenario
from tests.baselines.steady import steady
from tests.worlds import device, scenario


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> CostTables:
    folder = tmp_path_factory.mktemp("fixed")
    return compile_scenario(scenario(folder, device(hot=True), episode_requests=32))


def test_every_candidate_is_listed_once_with_its_cut(tables: CostTables) -> None:
    listed = candidates(tables, 2, np.array([1]), np.array([0, 3]))
    assert len(np.unique(listed, axis=0)) == len(listed) == 2 * np.prod(tables.sizes[2:5])
    assert set(listed[:, CUT]) == {2}
    assert set(listed[:, MAPPING]) == {1}
    assert set(listed[:, LEVEL]) == {0, 3}


def test_the_best_candidate_is_the_one_that_costs_least_one_by_one(tables: CostTables) -> None:
    listed = candidates(tables, tables.sizes[CUT] - 1, np.arange(2), np.array([0]))
    found = training_cost(ConstantPolicy("", best_of(tables, listed)), tables, 48)
    one_by_one = min(training_cost(ConstantPolicy("", action), tables, 48) for action in listed)
    assert found == pytest.approx(one_by_one, rel=1e-3)


def test_where_staying_local_is_best_all_local_is_the_best_fixed_action(tables: CostTables) -> None:
    dead = steady(tables, 0.05)
    local = all_local.make(dead).action
    assert local[CUT] == dead.sizes[CUT] - 1
    np.testing.assert_array_equal(local, best_fixed.make(dead).action)


def test_where_sending_the_input_is_best_compress_input_costs_what_the_best_fixed_action_does(
    tables: CostTables,
) -> None:
    fast = steady(tables, 2000.0, rtt_ms=2.0, factor=1.0)
    best = best_fixed.make(fast).action
    assert best[CUT] == 0
    ours = training_cost(compress_input.make(fast), fast)
    assert ours == pytest.approx(training_cost(ConstantPolicy("", best), fast), rel=1e-4)


def test_all_server_loses_nothing_of_the_input_and_compress_input_sends_less_on_a_slow_link(
    tables: CostTables,
) -> None:
    slow = steady(tables, 4.0)
    sent, compressed = all_server.make(slow).action, compress_input.make(slow).action
    assert sent[CUT] == compressed[CUT] == 0
    assert slow.encoders[0][sent[LEVEL]] == "raw"
    assert slow.send[0, compressed[LEVEL], 0] < slow.send[0, sent[LEVEL], 0]
    assert training_cost(compress_input.make(slow), slow) < training_cost(all_server.make(slow), slow)


def test_without_the_first_cut_the_earliest_one_is_sent(tmp_path: Path) -> None:
    cuts = compile_scenario(scenario(tmp_path)).choices["cut"]
    action = {"cuts": [cuts[5], cuts[9], cuts[-1]]}
    tables = compile_scenario(scenario(tmp_path, action=action, episode_requests=16, compression_levels=2))
    for module in (all_server, compress_input):
        assert module.make(tables).action[CUT] == 0


def test_an_engineer_who_pays_for_latency_only_keeps_the_highest_clocks(tables: CostTables) -> None:
    params = tables.params.copy()
    params["eta_low"] = params["eta_high"] = 0.0
    params["thermal"] = 0
    hurried = dataclasses.replace(tables, params=params)
    assert all_local.make(hurried).action[CPU] == tables.sizes[CPU] - 1
