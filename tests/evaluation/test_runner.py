from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvfo_agents.registry import make_baseline
from dvfo_env.env import DVFOEnv
from dvfo_env.oracle import bound_costs
from dvfo_env.scenario import load_scenario
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_evaluation.runner import SeedBlock, decision_us, held_out, run_policy
from tests.evaluation.worlds import scenario_file


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> CostTables:
    return compile_scenario(load_scenario(scenario_file(tmp_path_factory.mktemp("world"))))


@pytest.mark.parametrize("name", ["performance", "powersave", "random", "neurosurgeon-style"])
def test_the_cost_of_an_episode_is_minus_the_rewards_of_the_environment(
    name: str, tables: CostTables
) -> None:
    seeds = np.array([2_000_003, 2_000_009])
    policy = make_baseline(name, tables)
    found = run_policy(policy, tables, (SeedBlock(2, seeds),))
    for i, seed in enumerate(seeds):
        env = DVFOEnv(tables.scenario, bank_seed=2, tables=tables)
        observation, _ = env.reset(seed=int(seed))
        policy.reset(1)
        total, answered, dropped, over = 0.0, 0, 0.0, False
        while not over:
            action = env.view.from_indices(policy.act(observation[None]))[0]
            observation, reward, terminated, truncated, info = env.step(action)
            total -= float(reward)
            answered += 1
            dropped += float(info["dropped"])
            over = terminated or truncated
        assert found.cost[i] == pytest.approx(total, rel=1e-6)
        assert (found.answered[i], found.dropped[i]) == (answered, dropped)


@pytest.mark.parametrize("name", ["performance", "powersave", "random"])
def test_every_request_is_either_answered_or_dropped(name: str, tables: CostTables) -> None:
    found = run_policy(make_baseline(name, tables), tables, held_out(8))
    np.testing.assert_array_equal(found.answered + found.dropped, found.requests)
    assert len(found.latencies_ms) == found.answered.sum()
    np.testing.assert_allclose(
        np.bincount(found.latency_episode, weights=found.latencies_ms), found.latency_ms, rtol=1e-9
    )
    assert (found.missed <= found.requests).all()
    assert found.usage["cut"].sum() == found.answered.sum()


def test_a_policy_that_is_too_slow_pays_for_the_requests_it_drops(tables: CostTables) -> None:
    found = run_policy(make_baseline("powersave", tables), tables, held_out(4))
    assert (found.dropped > 0).all()
    p = tables.params[0]
    eta = 0.7
    price = eta * p["drop_energy_cost"] + (1.0 - eta) * p["drop_latency_cost"] + p["deadline_weight"]
    assert (found.cost > found.dropped * price).all()


def test_held_out_worlds_are_not_those_of_training() -> None:
    blocks = held_out(100)
    assert sum(len(block.episode_seeds) for block in blocks) == 100
    assert TRAINING_BANK_SEED not in [block.bank_seed for block in blocks]
    seeds = np.concatenate([block.episode_seeds for block in blocks])
    assert len(np.unique(seeds)) == 100
    assert seeds.min() >= 2_000_000
    assert [len(block.episode_seeds) for block in held_out(2)] == [1, 1]


def test_the_world_is_the_same_whatever_the_policy_does(tables: CostTables) -> None:
    block = (SeedBlock(1, np.array([2_000_000])),)
    slow = run_policy(make_baseline("powersave", tables), tables, block).moments
    fast = run_policy(make_baseline("performance", tables), tables, block).moments
    assert set(slow.arrival_ms) <= set(fast.arrival_ms)


def test_no_policy_is_above_the_bound_on_held_out_seeds(tables: CostTables) -> None:
    blocks = held_out(6)
    bound = np.concatenate(
        [bound_costs(tables, b.episode_seeds, bank_seed=b.bank_seed).mean(axis=1) for b in blocks]
    )
    for name in ("clairvoyant", "performance", "all-server"):
        found = run_policy(make_baseline(name, tables), tables, blocks)
        assert (found.cost_per_request >= bound - 1e-6).all()


def test_a_decision_takes_some_time(tables: CostTables) -> None:
    assert 0.0 < decision_us(make_baseline("performance", tables), tables) < 1e6


def test_scenarios_load_by_path(tmp_path: Path) -> None:
    assert load_scenario(scenario_file(tmp_path)).name == "toy"
