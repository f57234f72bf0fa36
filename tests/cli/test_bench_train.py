"""The training benchmark: a short run in a process of its own, with its peak memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvfo_benchmarks.train import bench_train
from dvfo_env.errors import DvfoError
from tests.worlds import scenario


@pytest.mark.slow
def test_bench_train_reports_speed_share_and_memory(tmp_path: Path) -> None:
    scenario(tmp_path)
    result = bench_train(str(tmp_path / "toy.yaml"), minutes=0.02)
    assert (result["agent"], result["scenario"]) == ("hindsight", "toy")
    assert result["steps"] > 0
    assert result["steps_per_s"] > 0
    assert 0 < result["env_share"] < 1
    assert result["peak_memory_mb"] is None or result["peak_memory_mb"] > 50


def test_bench_train_of_no_scenario_is_an_error_of_ours() -> None:
    with pytest.raises(DvfoError, match="no-such-scenario"):
        bench_train("no-such-scenario")
