"""Decisions that take time: who waits for them, what they draw, and what is known when they begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvfo_env.errors import ConfigError
from dvfo_env.observation import FEATURES, index_of
from dvfo_env.oracle import best_fixed_action
from dvfo_env.scenario import load_scenario
from dvfo_env.simulator import Simulator
from dvfo_env.state import DECISION, DROPPED, ENERGY, LATENCY_MS, OUTCOME, WAITING
from dvfo_env.tables import ACTION_PARTS, CPU, GPU, MEM, CostTables, compile_scenario
from tests import worlds

PREVIOUS = slice(index_of("previous_cut"), index_of("previous_compression") + 1)


def tables_of(folder: Path, mode: str, latency_ms: float = 0.0, **changes: Any) -> CostTables:
    """A toy scenario without heat, in which no request is ever dropped."""
    changes.setdefault("requests", {"period_ms": 500.0, "deadline_ms": 100.0, "queue_limit_ms": 1e6})
    changes.setdefault("thermal", {"enabled": False})
    decision = {"mode": mode, "latency_ms": latency_ms}
    return compile_scenario(worlds.scenario(folder, decision=decision, **changes))


def outcomes_of(tables: CostTables, actions: list[np.ndarray]) -> np.ndarray:
    """Outcome rows [requests, columns] of one device that takes these actions."""
    simulator = Simulator(tables, 1, autoreset=False)
    rows = [simulator.step(action[None]).outcomes[0].copy() for action in actions]
    return np.array(rows, dtype=np.float64)


def mixed_actions(tables: CostTables, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.array([rng.integers(0, size) for size in tables.sizes]) for _ in range(n)]


def test_a_blocking_decision_costs_every_request_its_latency_and_nothing_else(tmp_path: Path) -> None:
    free, blocking = tables_of(tmp_path, "free"), tables_of(tmp_path, "blocking", 30.0)
    rows = [outcomes_of(tables, [tables.out_of_the_box] * 6) for tables in (free, blocking)]
    assert (rows[0][:, DECISION] == 0.0).all()
    assert rows[1][:, DECISION] == pytest.approx(30.0, rel=1e-6)
    assert rows[1][:, LATENCY_MS] - rows[0][:, LATENCY_MS] == pytest.approx(30.0, rel=1e-4)
    power_mw = float(blocking.codec[-1, -1, -1, 0])
    assert rows[1][:, ENERGY + DECISION] == pytest.approx(30.0e-3 * power_mw, rel=1e-5)
    others = [i for i in range(2 * ENERGY) if i not in (DECISION, ENERGY + DECISION)]
    assert rows[1][:, others] == pytest.approx(rows[0][:, others], rel=1e-6)


def test_a_blocking_decision_waits_with_the_clocks_before(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, "blocking", 30.0)
    slow = tables.action_indices(cpu_mhz=400.0, gpu_mhz=100.0, mem_mhz=1000.0)
    rows = outcomes_of(tables, [slow, slow])
    for row, clocks in zip(rows, [(-1, -1, -1), slow[[CPU, GPU, MEM]]], strict=True):
        assert row[ENERGY + DECISION] == pytest.approx(30.0e-3 * tables.codec[(*clocks, 0)], rel=1e-5)


@pytest.mark.parametrize("mode", ["blocking", "concurrent"])
def test_in_no_time_a_decision_costs_nothing(tmp_path: Path, mode: str) -> None:
    free, other = tables_of(tmp_path, "free"), tables_of(tmp_path, mode)
    actions = mixed_actions(free, 20)
    assert np.array_equal(outcomes_of(free, actions), outcomes_of(other, actions))


def test_a_concurrent_decision_is_waited_for_once_where_requests_come_seldom(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, "concurrent", 200.0)
    rows = outcomes_of(tables, [tables.out_of_the_box] * 6)
    assert rows[:, DECISION] == pytest.approx([200.0, 0.0, 0.0, 0.0, 0.0, 0.0], abs=1e-4)
    idle_mw, codec_mw = (float(mw[-1, -1, -1, 0]) for mw in (tables.idle, tables.codec))
    computing_mj = 200.0e-3 * (codec_mw - idle_mw)  # paid for beside the request before just as well
    assert rows[1:, ENERGY + DECISION] == pytest.approx(computing_mj, rel=1e-5)
    assert rows[0, ENERGY + DECISION] == pytest.approx(computing_mj + 200.0e-3 * idle_mw, rel=1e-5)


@pytest.mark.parametrize("share", [0.4, 1.0, 2.5])
def test_a_busy_device_waits_for_what_is_left_of_a_concurrent_decision(tmp_path: Path, share: float) -> None:
    """Requests that queue up are served one decision apart, or one service apart where that takes longer."""
    rush = {"period_ms": 1.0, "deadline_ms": 100.0, "queue_limit_ms": 1e6}
    service_ms = tables_of(tmp_path, "free").reference_latency_ms
    tables = tables_of(tmp_path, "concurrent", share * service_ms, requests=rush)
    rows = outcomes_of(tables, [tables.out_of_the_box] * 6)
    left_ms = max(0.0, share - 1.0) * service_ms
    assert rows[0, DECISION] == pytest.approx(share * service_ms, rel=1e-6)
    assert rows[1:, DECISION] == pytest.approx(left_ms, rel=1e-4, abs=1e-4)
    apart_ms = max(1.0, share) * service_ms
    assert np.diff(rows[1:, WAITING]) == pytest.approx(apart_ms - 1.0, rel=1e-4)


def test_free_is_never_dearer_than_concurrent_nor_concurrent_than_blocking(tmp_path: Path) -> None:
    requests = {"period_ms": 60.0, "deadline_ms": 100.0, "queue_limit_ms": 1e6}
    sums = []
    for mode, latency_ms in (("free", 0.0), ("concurrent", 20.0), ("blocking", 20.0)):
        tables = tables_of(tmp_path, mode, latency_ms, requests=requests)
        sums.append(outcomes_of(tables, mixed_actions(tables, 30))[:, LATENCY_MS].sum())
    assert sums[0] < sums[1] < sums[2]


def test_what_was_asked_for_is_seen(tmp_path: Path) -> None:
    """Also where a cap holds: the clocks in force are seen apart from those asked for."""
    tables = compile_scenario(worlds.scenario(tmp_path, worlds.device(hot=True), episode_requests=40))
    simulator = Simulator(tables, 2, autoreset=True)
    observations = simulator.reset(np.arange(2))
    assert (observations[:, PREVIOUS] == -1.0).all()
    shares = np.maximum(np.array(tables.sizes) - 1, 1)
    throttled = False
    for _ in range(40):
        actions = np.tile(tables.out_of_the_box, (2, 1))
        batch = simulator.step(actions)
        over = batch.ends > 0
        assert (batch.observations[over][:, PREVIOUS] == -1.0).all()
        last = np.where(over[:, None], batch.final_observations, batch.observations)
        assert last[:, PREVIOUS] == pytest.approx(actions / shares)
        throttled |= bool((last[:, index_of("cpu_clock")] < last[:, index_of("previous_cpu_clock")]).any())
    assert throttled
    assert len(FEATURES[PREVIOUS]) == len(ACTION_PARTS)


def test_a_concurrent_decision_begins_before_the_outcome_is_known(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, "concurrent", 5.0, offload_timeout_ms=1e5)
    simulator = Simulator(tables, 1)
    first = simulator.reset(np.array([0]))[0].copy()
    sends = tables.action_indices(cut="reduction_a", gpu_mhz=100.0)
    seen = [first, *(simulator.step(sends[None]).observations[0].copy() for _ in range(3))]
    silence = [float(row[index_of("silence")]) for row in seen]
    assert silence[:2] == [1.0, 1.0]  # the transfer has only just begun
    assert silence[2] < 1.0
    assert [float(row[index_of("gpu_clock")]) for row in seen] == [1.0, 0.0, 0.0, 0.0]
    assert seen[1][PREVIOUS] == pytest.approx(sends / (np.array(tables.sizes) - 1))


def test_difficulty_is_not_known_before_the_request_is_there(tmp_path: Path) -> None:
    requests = {"period_ms": 500.0, "deadline_ms": 100.0, "difficulty": "known"}
    for mode in ("blocking", "concurrent"):
        tables = tables_of(tmp_path, mode, 5.0, requests=requests)
        simulator = Simulator(tables, 8)
        column = index_of("difficulty")
        assert set(simulator.reset(np.arange(8))[:, column]) == {0.0, 1.0}
        seen = simulator.step(np.tile(tables.out_of_the_box, (8, 1))).observations[:, column]
        assert set(seen) == ({-1.0} if mode == "concurrent" else {0.0, 1.0})


def test_the_link_is_watched_while_a_decision_is_waited_for(tmp_path: Path) -> None:
    trace = tmp_path / "steps.csv"
    lines = [f"{t / 10},{8.0 if t < 5 else 32.0}" for t in range(4000)]
    trace.write_text("\n".join(["time_s,mbps", *lines]), encoding="utf-8")
    tables = tables_of(tmp_path, "concurrent", 1000.0, uplink=str(trace), link_monitor_ms=100.0)
    simulator = Simulator(tables, 1)
    simulator.reset(np.array([0]))
    observation = simulator.step(tables.out_of_the_box[None]).observations[0]
    assert float(observation[index_of("silence")]) <= 0.1  # 1000 ms of waiting, ten reports


@pytest.mark.parametrize("mode", ["blocking", "concurrent"])
def test_the_share_of_the_interval_that_deciding_takes(tmp_path: Path, mode: str) -> None:
    tables = tables_of(tmp_path, mode, 20.0)
    simulator = Simulator(tables, 1)
    column = index_of("decision_share")
    seen = [float(simulator.reset(np.array([0]))[0, column])]
    seen += [float(simulator.step(tables.out_of_the_box[None]).observations[0, column]) for _ in range(4)]
    # concurrent: the first decision is waited for, 20 ms; the second begins when it is there
    expected = {"blocking": [0.04] * 5, "concurrent": [0.04, 1.0, 20.0 / 480.0, 0.04, 0.04]}
    assert seen == pytest.approx(expected[mode], rel=1e-5)
    free = Simulator(tables_of(tmp_path, "free"), 1)
    assert free.step(tables.out_of_the_box[None]).observations[0, column] == 0.0


def test_the_best_fixed_action_pays_for_decisions(tmp_path: Path) -> None:
    action = {"cuts": ["image", "reduction_a", "fc"], "compression": ["level-3"]}
    found = {
        mode: best_fixed_action(tables_of(tmp_path, mode, ms, action=action), episodes=2).cost
        for mode, ms in (("free", 0.0), ("concurrent", 20.0), ("blocking", 20.0))
    }
    assert found["free"] < found["concurrent"] < found["blocking"]


def test_a_slow_decision_delays_but_does_not_drop_the_request_taken_up(tmp_path: Path) -> None:
    requests = {"period_ms": 1000.0, "deadline_ms": 100.0, "queue_limit_ms": 50.0}
    tables = tables_of(tmp_path, "blocking", 200.0, requests=requests)
    rows = outcomes_of(tables, [tables.out_of_the_box] * 3)
    assert rows[:, DECISION] == pytest.approx(200.0, rel=1e-6)
    assert (rows[:, DROPPED] == 0.0).all()
    assert "decision_ms" in OUTCOME


@pytest.mark.parametrize(
    ("decision", "complaint"),
    [
        ({"mode": "free", "latency_ms": 3.0}, "latency_ms 3 needs mode blocking or concurrent"),
        ({"latency_ms": -1.0}, "decision.latency_ms"),
        ({"mode": "later"}, "decision.mode"),
        ({"latency_s": 1.0}, "decision.latency_s: unknown key"),
    ],
)
def test_bad_decisions_are_refused_in_one_line(decision: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_scenario("default", decision=decision)
    assert "\n" not in str(caught.value)
