from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dvfo_agents.baselines.mpc_planner import MpcPlanner, MpcSettings
from dvfo_agents.baselines.planner import Planner, PlannerSettings
from dvfo_agents.planning.late import LateAnswers
from dvfo_agents.planning.present import BeliefSettings, Knowledge, Present
from dvfo_agents.planning.rollout import Habits, futures_of, roll
from dvfo_agents.planning.seen import LAYOUT, kilobits_of, numbers_of
from dvfo_controller.policies.memory import Remembered
from dvfo_env.observation import index_of
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.state import COST, DROP_COST
from dvfo_env.tables import CUT, CostTables, compile_scenario
from tests.worlds import device, scenario

BASE = PlannerSettings(nearest=32)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> CostTables:
    requests = {"period_ms": 120.0, "deadline_ms": 60.0}
    folder = tmp_path_factory.mktemp("world")
    return compile_scenario(
        scenario(folder, device(), requests=requests, episode_requests=24, link_monitor_ms=500.0)
    )


@pytest.fixture(scope="module")
def knowledge(tables: CostTables) -> Knowledge:
    return Knowledge(tables)


@pytest.fixture(scope="module")
def habits(tables: CostTables, knowledge: Knowledge) -> Habits:
    return Habits(tables, Planner(tables, BASE, knowledge))


def test_a_rollout_over_no_further_request_costs_what_the_step_says(
    tables: CostTables, habits: Habits
) -> None:
    simulator = Simulator(tables, 6, autoreset=False)
    observations = simulator.reset(np.arange(6) + 5).copy()
    at_ms = simulator.states["offset"] * float(tables.params[0]["bank_step_ms"])
    actions = np.repeat(tables.out_of_the_box[None], 6, axis=0)
    actions[:, CUT] = np.arange(6) % tables.sizes[CUT]
    rolled = roll(tables, futures_of(tables, observations), at_ms[:, None], actions[:, None], habits, 0)
    outcomes = simulator.step(actions).outcomes
    np.testing.assert_allclose(rolled[:, 0], outcomes[:, COST] + outcomes[:, DROP_COST], rtol=1e-5)


def test_longer_rollouts_never_cost_less(tables: CostTables, habits: Habits) -> None:
    observations = Simulator(tables, 3).reset(np.arange(3)).copy()
    futures, at_ms = futures_of(tables, observations), np.full((3, 4), 50_000.0)
    candidates = np.repeat(tables.out_of_the_box[None, None], 3, axis=0)
    costs = [roll(tables, futures, at_ms, candidates, habits, horizon)[:, 0] for horizon in (0, 1, 5)]
    assert (np.diff(costs, axis=0) > 0.0).all()


def test_without_a_horizon_it_is_the_planner(
    tables: CostTables, knowledge: Knowledge, habits: Habits
) -> None:
    planner = Planner(tables, BASE, knowledge)
    predictive = MpcPlanner(tables, MpcSettings(horizon=0), BASE, knowledge, habits)
    simulator = Simulator(tables, 5, bank_seed=TRAINING_BANK_SEED)
    observations = simulator.reset(np.arange(5))
    for policy in (planner, predictive):
        policy.reset(5)
    for _ in range(10):
        actions = planner.act(observations)
        np.testing.assert_array_equal(predictive.act(observations), actions)
        observations = simulator.step(actions).observations


def test_the_link_monitor_does_not_make_answers_young(tables: CostTables) -> None:
    memory = remembered(tables, 1)
    observations = Simulator(tables, 1).reset(np.array([0])).copy()
    observations[:, index_of("silence")] = 0.01
    ages = []
    for age_ms in (np.inf, 60.0, 180.0, 1500.0):
        observations[:, index_of("answer_age")] = 1.0 if np.isinf(age_ms) else age_ms / (age_ms + 1000.0)
        memory.update(observations, tables.out_of_the_box[None])
        ages.append(float(memory.answer_age_ms[0]))
    assert ages == [np.inf, 120.0, 240.0, 1560.0]  # from arrival to arrival, every 120 ms


def test_a_time_out_whose_payload_got_through_is_a_late_answer(tables: CostTables) -> None:
    observations = Simulator(tables, 2).reset(np.arange(2)).copy()
    observations[:, index_of("unanswered")] = 0.25
    observations[:, index_of("rate_last")] = [-1.0, 0.9]  # an outage, and a link that carried everything
    sent = np.repeat(tables.out_of_the_box[None], 2, axis=0)
    sent[:, CUT] = 0
    memory = remembered(tables, 2)
    memory.update(observations, sent)
    assert np.isinf(memory.late_age_ms[0])
    assert memory.late_age_ms[1] == 120.0
    memory.update(observations, np.repeat(tables.out_of_the_box[None], 2, axis=0))
    assert memory.late_age_ms[1] == 240.0
    observations[:, index_of("unanswered")] = 0.0  # an answer came
    memory.update(observations, sent)
    assert np.isinf(memory.late_age_ms).all()
    chance = LateAnswers(tables).chance(np.array([0.0, np.inf]))
    np.testing.assert_array_equal(chance, [1.0, 0.0])


def test_where_decisions_are_concurrent_an_outcome_belongs_to_the_action_before(tables: CostTables) -> None:
    numbers = dataclasses.replace(numbers_of(tables), decision_mode=2)
    memory = Remembered(numbers, LAYOUT, kilobits_of(tables), 1)
    observations = Simulator(tables, 1).reset(np.arange(1)).copy()
    observations[:, index_of("rate_last")] = 0.9
    sent = tables.out_of_the_box[None].copy()
    sent[:, CUT] = 0
    memory.update(observations, tables.out_of_the_box[None])
    memory.update(observations, sent)  # nothing is known of it yet
    observations[:, index_of("unanswered")] = 0.25
    memory.update(observations, tables.out_of_the_box[None])
    assert memory.late_age_ms[0] == 240.0


def remembered(tables: CostTables, n: int) -> Remembered:
    return Remembered(numbers_of(tables), LAYOUT, kilobits_of(tables), n)


def test_worlds_weigh_one_and_go_on_from_what_was_seen(tables: CostTables, knowledge: Knowledge) -> None:
    present = Present(knowledge, BeliefSettings())
    observations = np.repeat(Simulator(tables, 1).reset(np.array([0])), 3, axis=0)
    observations[:, index_of("silence")] = 0.05
    for name in ("rate_last", "rate_before", "rate_smooth"):
        observations[:, index_of(name)] = [-0.5, 0.0, 0.3]
    present.reset(3)
    worlds, weights = present.worlds(observations, np.repeat(tables.out_of_the_box[None], 3, axis=0))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    sizes = worlds.shape[1] // weights.shape[1]
    means = (np.log2(np.maximum(worlds[:, 1::sizes, 0], 1e-3)) * weights).sum(axis=1)
    assert (np.diff(means) > 0.0).all()


def test_moments_keep_out_of_what_settings_are_chosen_on(tables: CostTables, knowledge: Knowledge) -> None:
    from dvfo_agents.planning.tuning import EPISODES, FIRST_SEED

    simulator = Simulator(tables, EPISODES)
    simulator.reset(FIRST_SEED + np.arange(EPISODES))
    step_ms = float(tables.params[0]["bank_step_ms"])
    begin_ms = simulator.states["offset"] * step_ms
    end_ms = begin_ms + 24 * 120.0
    at_ms = knowledge.moments.at_ms[:, None]
    assert not ((at_ms >= begin_ms) & (at_ms < end_ms)).any()
