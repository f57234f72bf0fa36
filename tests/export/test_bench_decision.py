"""The benchmark of decisions: every way to decide beside the others, and all decide the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvfo_benchmarks.decision import bench_decision
from dvfo_env.tables import CostTables
from tests.export import policies


def test_every_way_of_a_run_decides_the_same_and_is_timed(tables: CostTables, tmp_path: Path) -> None:
    run = policies.random_run(tmp_path / "run", "hindsight", tables)
    result = bench_decision(run=str(run), calls=60, rows=50)
    ways = [row["decided by"] for row in result["speeds"]]
    assert ways[:2] == ["numpy", "ONNX in the controller"]
    assert ("C" in ways) == (result["compiler"] is not None)
    for row in result["speeds"]:
        assert row["same"]
        assert 0.0 < row["median_us"] <= row["p99_us"]


@pytest.mark.slow
def test_shipped_agents_stand_beside_stable_baselines3() -> None:
    result = bench_decision("zero2w-mobilenet-v2-5g-driving", calls=500, rows=100)
    assert {row["agent"] for row in result["speeds"]} == {"hindsight", "ppo", "sac"}
    assert sum(row["decided by"] == "stable-baselines3 predict" for row in result["speeds"]) == 2
