"""Errors and their summary; what the model predicts for given moments of a trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvfo_env.state import PHASES, SEND
from dvfo_env.tables import CUT, CostTables, compile_scenario
from dvfo_verification.agreement import Agreement, draw, phase_rows
from dvfo_verification.predict import predicted_phases, trace_bank
from tests import worlds


@pytest.fixture
def tables(tmp_path: Path) -> CostTables:
    """A toy scenario in which nobody waits long."""
    return compile_scenario(worlds.scenario(tmp_path))


def agreement(predicted: np.ndarray, measured: np.ndarray) -> Agreement:
    n = len(predicted)
    return Agreement(("head", "send"), predicted, measured, ("x",) * n, ("server",) * n)


def test_errors_are_shares_of_what_was_measured() -> None:
    measured = np.array([[10.0, 10.0], [10.0, 0.0], [50.0, 50.0]])
    predicted = np.array([[11.0, 10.0], [8.0, 0.0], [50.0, 50.0]])
    found = agreement(predicted, measured)
    assert found.error_percent == pytest.approx([5.0, -20.0, 0.0])
    assert found.median_percent == pytest.approx(5.0)
    assert found.p90_percent == pytest.approx(17.0)
    assert found.rank_correlation == pytest.approx(1.0)
    assert found.holds
    assert not agreement(predicted * 1.2, measured).holds


def test_a_phase_nobody_spent_time_in_is_left_out() -> None:
    rows = phase_rows(agreement(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0]])))
    assert rows == [("head", 1, 1.0, 2.0, 1.0)]


def test_the_picture_is_written(tmp_path: Path) -> None:
    values = np.linspace(1.0, 100.0, 20)[:, None] * np.ones(2)
    draw(agreement(values * 1.05, values), tmp_path / "picture.png", "toy")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_what_follows_from_a_trace_is_what_the_environment_computes(tables: CostTables) -> None:
    """A transfer that begins in a sample of 8 Mbit/s and ends in one of 16."""
    step_ms = float(tables.params[0]["bank_step_ms"])
    bank = trace_bank(np.array([8.0, 16.0, 16.0, 16.0]), np.array([5.0, 7.0, 7.0, 7.0]))
    action = tables.out_of_the_box.copy()
    action[CUT] = 0
    kilobit = float(tables.send[0, int(action[-1]), 0])
    begun = predicted_phases(tables, bank, np.array([0.0, step_ms]), np.stack([action, action]))
    assert begun[1, SEND] == pytest.approx(kilobit / 16.0, rel=1e-5)
    assert begun[0, SEND] > begun[1, SEND]
    assert begun[:, PHASES.index("network")] == pytest.approx([5.0, 7.0])


def test_predicting_steps_nothing_and_knows_no_waiting(tables: CostTables) -> None:
    bank = trace_bank(np.full(8, 20.0), np.full(8, 10.0))
    rng = np.random.default_rng(0)
    actions = rng.integers(np.array(tables.sizes), size=(30, len(tables.sizes)))
    first = predicted_phases(tables, bank, np.full(30, 3.0), actions)
    again = predicted_phases(tables, bank, np.full(30, 3.0), actions)
    np.testing.assert_array_equal(first, again)
    assert (first[:, PHASES.index("waiting")] == 0.0).all()
    assert (first[:, PHASES.index("transition")] == 0.0).all()
