"""Planners where decisions take time: they plan for the moment in which an action takes effect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvfo_agents.baselines.planner import Planner, PlannerSettings
from dvfo_agents.planning.belief import ahead_ms, states_of
from dvfo_env.oracle import clairvoyant_actions
from dvfo_env.simulator import Simulator
from dvfo_env.state import COST
from dvfo_env.tables import LOST, CostTables, compile_scenario
from tests.baselines.steady import steady
from tests.worlds import scenario


def tables_of(folder: Path, mode: str, latency_ms: float, difficulty: str = "averaged") -> CostTables:
    requests = {"period_ms": 900.0, "deadline_ms": 70.0, "difficulty": difficulty}
    decision = {"mode": mode, "latency_ms": latency_ms}
    return compile_scenario(
        scenario(folder, requests=requests, decision=decision, thermal={"enabled": False})
    )


@pytest.mark.parametrize("mode", ["blocking", "concurrent"])
def test_in_a_world_that_never_changes_the_planner_is_the_clairvoyant(tmp_path: Path, mode: str) -> None:
    tables = steady(tables_of(tmp_path, mode, 25.0), 8.0)
    planner = Planner(tables, PlannerSettings(source="last", queue_share=0.0))
    simulator = Simulator(tables, 4, autoreset=False)
    observations = simulator.reset(np.arange(4))
    planner.reset(4)
    for request in range(8):
        _, best = clairvoyant_actions(simulator)
        batch = simulator.step(planner.act(observations))
        if mode == "blocking" or request > 0:  # the first concurrent decision is late, which nobody foresees
            np.testing.assert_allclose(batch.outcomes[:, COST], best, rtol=2e-4)
        observations = batch.observations


def test_an_unknown_difficulty_is_taken_for_the_average(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, "concurrent", 25.0, "known")
    simulator = Simulator(tables, 6)
    first = states_of(tables, simulator.reset(np.arange(6)))["difficulty"]
    assert set(first) <= {0, 1}
    later = states_of(tables, simulator.step(np.tile(tables.out_of_the_box, (6, 1))).observations)
    assert (later["difficulty"] == 2).all()
    lost = tables.send[..., LOST:]
    assert np.allclose(lost[..., 2], lost[..., :2] @ np.array([0.25, 0.75]), rtol=1e-5)


def test_how_far_ahead_an_action_takes_effect(tmp_path: Path) -> None:
    for mode, latency_ms, expected in (
        ("free", 0.0, 0.0), ("blocking", 25.0, 25.0), ("concurrent", 0.0, 900.0), ("concurrent", 25.0, 900.0)
    ):  # fmt: skip
        tables = tables_of(tmp_path, mode, latency_ms)
        simulator = Simulator(tables, 2)
        for _ in range(4):
            observations = simulator.step(np.tile(tables.out_of_the_box, (2, 1))).observations
        assert ahead_ms(tables.params[0], observations) == pytest.approx(expected, rel=1e-5)
