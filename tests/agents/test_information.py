"""What `dvfo bench information` tells a learner is what the bank says, and no more than it names."""

from pathlib import Path

import numpy as np

from dvfo_benchmarks.information import KNOWLEDGE, Informed, bench_information
from dvfo_env.simulator import Simulator
from dvfo_env.tables import LOAD, RATE_LOG2, RTT, compile_scenario
from tests.agents import small


def test_what_is_told_are_the_samples_named(tmp_path: Path) -> None:
    tables = compile_scenario(small.scenario(tmp_path))
    simulator = Simulator(tables, 5)
    seen = simulator.reset(np.arange(5)).copy()
    for _ in range(7):
        seen = simulator.step(np.repeat(tables.out_of_the_box[None], 5, axis=0)).observations.copy()
    step_ms = float(tables.params[0]["bank_step_ms"])
    sample = simulator.states["offset"] + (simulator.states["now_ms"] / step_ms).astype(np.int64)
    for lags in KNOWLEDGE.values():
        informed = Informed(tables, lags)
        told = informed.tell(seen, simulator.states, simulator.bank)
        assert told.shape == (5, seen.shape[1] + informed.features)
        np.testing.assert_array_equal(told[:, : seen.shape[1]], seen)
        for place, lag in enumerate(lags):
            rows = simulator.bank[(sample - lag) % len(simulator.bank)]
            first = seen.shape[1] + 1 + 3 * place
            np.testing.assert_allclose(told[:, first] * 7.0 + 3.0, rows[:, RATE_LOG2], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(np.exp2(told[:, first + 1] * 10.0), rows[:, RTT], rtol=1e-4)
            np.testing.assert_allclose(np.exp2(told[:, first + 2] * 3.0), rows[:, LOAD], rtol=1e-4)


def test_it_runs_and_says_what_each_was_told(tmp_path: Path) -> None:
    small.scenario(tmp_path)
    result = bench_information(str(tmp_path / "toy.yaml"), steps=20_000)
    assert [row["told"] for row in result["speeds"]] == list(KNOWLEDGE)
    assert all(row["cost"] >= result["bound_cost"] for row in result["speeds"])
