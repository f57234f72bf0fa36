from pathlib import Path

import numpy as np
import pytest

from dvfo_agents.training_env import TrainingEnv, compress
from dvfo_agents.training_log import means
from dvfo_env.state import PHASES, WAITING
from dvfo_env.tables import CostTables, compile_scenario
from tests.agents import small


def play(tables: CostTables, steps: int) -> tuple[TrainingEnv, float]:
    env = TrainingEnv(tables, 4, continuous=False, seed=0, cost_knee=2.0)
    env.reset()
    rng = np.random.default_rng(0)
    total = 0.0
    for _ in range(steps):
        env.step(rng.integers(env.view.sizes, size=(4, len(env.view.sizes))))
        assert env.last_batch is not None
        total += float(env.last_batch.rewards.sum())
    return env, total


def test_rewards_above_the_knee_are_untouched_and_below_it_keep_their_order() -> None:
    rewards = -np.array([0.1, 1.0, 2.0, 2.001, 5.0, 50.0, 500.0], dtype=np.float32)
    seen = compress(rewards, 2.0)
    np.testing.assert_array_equal(seen[:3], rewards[:3])
    assert (np.diff(seen) < 0.0).all()
    assert seen[-1] > -15.0
    assert seen.dtype == np.float32


def test_logged_rewards_and_costs_are_not_compressed(tables: CostTables) -> None:
    env, total = play(tables, steps=64)
    assert env.totals.reward == pytest.approx(total, rel=1e-5)
    episodes = 2 * 4 * tables.scenario.episode_requests
    mean_cost = env.mean_recent_cost()
    assert mean_cost is not None
    assert mean_cost == pytest.approx(-env.totals.reward / episodes, rel=0.5)


def test_logged_parts_add_up(tables: CostTables) -> None:
    env, _ = play(tables, steps=64)
    scalars = means(env.take_totals())
    for kind, unit in (("latency", "ms"), ("energy", "mj")):
        parts = sum(scalars[f"{kind}/{phase}_{unit}"] for phase in PHASES)
        assert parts == pytest.approx(scalars[f"{kind}/total_{unit}"], rel=1e-4)


def test_every_choice_is_counted_once(tables: CostTables) -> None:
    env, _ = play(tables, steps=64)
    totals = env.take_totals()
    assert [int(counts.sum()) for counts in totals.choices] == [64 * 4] * len(tables.sizes)
    assert env.take_totals().steps == 0


@pytest.mark.parametrize("mode", ["free", "blocking", "concurrent"])
def test_waiting_is_charged_to_its_cause_without_changing_the_sum(tmp_path: Path, mode: str) -> None:
    decision = {"mode": mode, "latency_ms": 0.0 if mode == "free" else 8.0}
    tables = compile_scenario(small.scenario(tmp_path, decision=decision))
    env = TrainingEnv(tables, 4, continuous=False, seed=0, cost_knee=1e9)
    env.reset()
    rng = np.random.default_rng(0)
    seen, given = np.zeros(4), np.zeros(4)
    waited = False
    for _ in range(10 * tables.scenario.episode_requests):
        _, rewards, dones, _ = env.step(rng.integers(env.view.sizes, size=(4, len(env.view.sizes))))
        assert env.last_batch is not None
        seen[0] += rewards[0]
        given[0] += env.last_batch.rewards[0]
        waited = waited or env.last_batch.outcomes[0, WAITING] > 0.0
        if dones[0]:
            break
    assert waited
    assert seen[0] == pytest.approx(given[0], rel=1e-3)
