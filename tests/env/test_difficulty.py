"""Requests of known difficulty: drawn by their shares, seen by the agent, charged by their class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvfo_env.observation import index_of
from dvfo_env.simulator import Simulator
from dvfo_env.state import ACCURACY_LOST, TIMED_OUT
from dvfo_env.tables import CUT, LEVEL, LOST, CostTables, compile_scenario
from tests.worlds import scenario


def tables_of(folder: Path, difficulty: str) -> CostTables:
    requests = {"period_ms": 400.0, "deadline_ms": 400.0, "queue_limit_ms": 600.0, "difficulty": difficulty}
    return compile_scenario(scenario(folder, requests=requests, episode_requests=256))


def test_classes_are_charged_seen_and_drawn_by_their_shares(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, "known")
    simulator = Simulator(tables, 64)
    observations = simulator.reset(np.arange(64))
    action = np.tile(tables.action_indices(cut=tables.choices["cut"][3], compression="level-4"), (64, 1))
    seen, lost = [], []
    for _ in range(40):
        classes = observations[:, index_of("difficulty")].copy()
        batch = simulator.step(action)
        answered = batch.outcomes[:, TIMED_OUT] == 0.0
        seen.append(classes[answered])
        lost.append(batch.outcomes[answered, ACCURACY_LOST])
        observations = batch.observations
    seen_all, lost_all = np.concatenate(seen), np.concatenate(lost)
    charged = tables.send[action[0, CUT], action[0, LEVEL], LOST:]
    assert charged[0] == pytest.approx(5.0 * charged[1], rel=1e-5)  # 2.5 and 0.5 times the average
    assert np.allclose(lost_all, np.where(seen_all < 0.5, charged[0], charged[1]))
    assert (seen_all < 0.5).mean() == pytest.approx(0.25, abs=0.04)


def test_the_average_over_classes_is_what_an_unknown_difficulty_costs(tmp_path: Path) -> None:
    known, averaged = tables_of(tmp_path, "known"), tables_of(tmp_path, "averaged")
    mean = known.send[..., LOST:] @ np.array([0.25, 0.75], dtype=np.float32)
    assert np.allclose(mean, averaged.send[..., LOST], rtol=1e-5)
    assert averaged.params[0]["n_classes"] == 1
