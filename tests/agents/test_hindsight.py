"""What every action would have led to, and learning from it."""

from pathlib import Path

import numpy as np
import pytest

from dvfo_agents.learners import build_learner, training_env
from dvfo_agents.planning.belief import states_of
from dvfo_agents.planning.useful_actions import decided, useful_actions
from dvfo_env.errors import ConfigError
from dvfo_env.oracle import clairvoyant_actions
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CostTables, compile_scenario
from tests.agents import small


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> CostTables:
    folder: Path = tmp_path_factory.mktemp("toy")
    return compile_scenario(small.scenario(folder))


def test_what_is_imagined_is_what_then_happens(tables: CostTables) -> None:
    simulator = Simulator(tables, 6, autoreset=False)
    simulator.reset(np.arange(6))
    actions = useful_actions(tables, 8)
    for step in range(20):
        before = simulator.states.copy()
        imagined = simulator.imagine(actions)
        assert (simulator.states == before).all()
        chosen = (np.arange(6) + step) % len(actions)
        rows = np.arange(6) * len(actions) + chosen
        expected = (imagined.rewards[rows].copy(), imagined.observations[rows].copy())
        batch = simulator.step(actions[chosen])
        np.testing.assert_array_equal(batch.rewards, expected[0])
        np.testing.assert_array_equal(batch.observations, expected[1])


def test_a_fleet_imagines_every_environment_on_its_own_device(tables: CostTables) -> None:
    learner = build_learner(small.agent("hindsight", domain_randomisation=0.3), tables, seed=1)
    env = training_env(learner)
    env.reset()
    actions = useful_actions(tables, 4)
    imagined = env.imagine(actions).rewards.reshape(env.num_envs, -1).copy()
    taken = env.simulator.step(np.repeat(actions[1:2], env.num_envs, axis=0)).rewards
    np.testing.assert_array_equal(imagined[:, 1], taken)


def test_useful_actions_hold_what_is_best_and_no_more_than_asked_for(tables: CostTables) -> None:
    actions = useful_actions(tables, 64)
    assert (actions[0] == tables.out_of_the_box).all()
    assert len(np.unique(actions, axis=0)) == len(actions)
    simulator = Simulator(tables, 64)
    simulator.reset(np.arange(64) + 77)
    _, costs = clairvoyant_actions(simulator)
    least = -simulator.imagine(actions).rewards.reshape(64, -1).max(axis=1)
    assert np.mean(least - costs) < 0.01 * costs.mean()
    few = useful_actions(tables, 3)
    assert len(few) <= 3
    assert (few[0] == tables.out_of_the_box).all()


@pytest.mark.parametrize("decision", [{"mode": "free"}, {"mode": "blocking", "latency_ms": 10.0}])
def test_searches_for_useful_actions_see_a_request_as_a_planner_does(
    decision: dict[str, object], tmp_path: Path
) -> None:
    tables = compile_scenario(small.scenario(tmp_path, decision=decision))
    simulator = Simulator(tables, 16)
    observations = simulator.reset(np.arange(16))
    rng = np.random.default_rng(0)
    for _ in range(12):
        seen, believed = decided(simulator.states, tables), states_of(tables, observations)
        for field in ("now_ms", "started_ms", "arrival_ms"):
            np.testing.assert_allclose(seen[field], believed[field], rtol=1e-5, atol=1e-3)
        observations = simulator.step(rng.integers(tables.sizes, size=(16, 6))).observations


def test_it_learns_what_is_best_where_nothing_beats_staying_as_out_of_the_box(tables: CostTables) -> None:
    config = small.agent("hindsight", n_envs=32, batch_size=256, buffer_size=4096)
    learner = build_learner(config, tables, seed=0)
    for done in range(24):
        learner.progress_remaining = 1.0 - done / 24
        learner.advance()
    view = training_env(learner).view
    simulator = Simulator(tables, 32, bank_seed=5)
    observations, costs = simulator.reset(np.arange(32)), []
    for _ in range(40):
        chosen, _ = learner.predict(observations.copy(), deterministic=True)
        batch = simulator.step(view.to_indices(chosen))
        observations = batch.observations
        costs.append(-batch.rewards.mean())
    assert np.mean(costs) == pytest.approx(1.0, abs=0.01)  # 1 is what the device costs out of the box


def test_parts_of_the_action_cannot_be_left_out(tables: CostTables) -> None:
    with pytest.raises(ConfigError, match="acts_on"):
        build_learner(small.agent("hindsight", acts_on=["cut"]), tables, seed=0)
