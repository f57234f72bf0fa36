"""What must hold in every scenario one can write down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dvfo_env.env import DVFOEnv
from dvfo_env.simulator import Simulator
from dvfo_env.state import (
    ACCURACY_LOST,
    BOARD_MJ,
    COST,
    DROP_COST,
    DROPPED,
    ENERGY,
    ENERGY_MJ,
    FALLBACK,
    IDLE_MJ,
    LATENCY_MS,
    PHASES,
    SENT_KILOBIT,
    TIMED_OUT,
)
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_env.vector import DVFOVectorEnv
from tests import worlds

UPLINKS = ("lte-driving", "5g-mmwave-driving", "dvfo-0.5-8", "wifi-campus")


@st.composite
def decisions(draw: st.DrawFn) -> dict[str, Any]:
    mode = draw(st.sampled_from(["free", "free", "blocking", "concurrent"]))
    return {"mode": mode, "latency_ms": 0.0 if mode == "free" else draw(st.floats(0.0, 500.0))}


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """(device profile, scenario fields): random devices, arrivals, deadlines, objectives, uplinks and
    batteries.
    """
    device = worlds.device(
        gpu=draw(st.booleans()),
        memory=draw(st.booleans()),
        points=draw(st.integers(1, 4)),
        hot=draw(st.booleans()),
        delay=draw(st.sampled_from([0.0, 1.0, 10.0])),
    )
    low = draw(st.floats(0.0, 1.0))
    fields: dict[str, Any] = {
        "workload": draw(st.sampled_from(["inception-v4", "yolov3-tiny"])),
        "uplink": draw(st.sampled_from(UPLINKS)),
        "server": draw(st.sampled_from(["edge-gpu", "cloud-cpu"])),
        "requests": {
            "arrival": draw(st.sampled_from(["periodic", "poisson"])),
            "difficulty": draw(st.sampled_from(["averaged", "known"])),
            "period_ms": draw(st.floats(1.0, 2000.0)),
            "deadline_ms": draw(st.floats(1.0, 2000.0)),
            "queue_limit_ms": draw(st.floats(1.0, 5000.0)),
        },
        "objective": {
            "eta": draw(st.sampled_from([low, [low, 1.0]])),
            "cost": draw(st.sampled_from(["normalised", "dvfo"])),
            "energy": draw(st.sampled_from(["board", "dynamic"])),
        },
        "offload_timeout_ms": draw(st.floats(1.0, 3000.0)),
        "thermal": {"enabled": draw(st.booleans())},
        "battery": draw(st.sampled_from([None, {"capacity_mj": 4000.0}, {"capacity_mj": 1e9}])),
        "episode_requests": draw(st.integers(1, 40)),
        "decision": draw(decisions()),
    }
    return device, fields


def build(folder: Path, world: tuple[dict[str, Any], dict[str, Any]]) -> CostTables:
    return compile_scenario(worlds.scenario(folder, world[0], **world[1]))


def random_actions(tables: CostTables, n: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([rng.integers(0, size, n) for size in tables.sizes], axis=1)


anywhere = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@anywhere
@given(world=scenarios(), seed=st.integers(0, 1 << 40))
def test_observations_stay_in_space_rewards_are_finite_and_parts_add_up(
    tmp_path: Path, world: tuple[dict[str, Any], dict[str, Any]], seed: int
) -> None:
    tables = build(tmp_path, world)
    env = DVFOEnv(tables=tables)
    simulator = Simulator(tables, 8)
    assert all(env.observation_space.contains(row) for row in simulator.reset(seed + np.arange(8)))
    rng = np.random.default_rng(seed)
    for _ in range(30):
        batch = simulator.step(random_actions(tables, 8, rng))
        assert all(env.observation_space.contains(row) for row in batch.observations)
        assert np.isfinite(batch.rewards).all()
        assert (batch.rewards <= 0.0).all()
        rows = batch.outcomes.astype(np.float64)
        assert np.isfinite(rows).all()
        assert (rows[:, : 2 * len(PHASES)] >= 0.0).all()
        assert rows[:, : len(PHASES)].sum(axis=1) == pytest.approx(rows[:, LATENCY_MS], rel=1e-5)
        assert rows[:, ENERGY : ENERGY + len(PHASES)].sum(axis=1) == pytest.approx(
            rows[:, ENERGY_MJ], rel=1e-5
        )
        assert -batch.rewards == pytest.approx(rows[:, COST] + rows[:, DROP_COST], rel=1e-5)


@anywhere
@given(world=scenarios(), seed=st.integers(0, 1 << 40))
def test_equal_seeds_give_bit_equal_trajectories_and_scalar_equals_batch(
    tmp_path: Path, world: tuple[dict[str, Any], dict[str, Any]], seed: int
) -> None:
    tables = build(tmp_path, world)
    n = 3
    batch_env = DVFOVectorEnv(tables=tables, num_envs=n)
    envs = [DVFOEnv(tables=tables) for _ in range(n)]
    observations, _ = batch_env.reset(seed=seed)
    for i, env in enumerate(envs):
        assert np.array_equal(env.reset(seed=seed + i)[0], observations[i])
    batch_env.action_space.seed(seed)
    for _ in range(50):
        actions = batch_env.action_space.sample()
        observations, rewards, terminated, truncated, info = batch_env.step(actions)
        for i, env in enumerate(envs):
            seen, reward, ended, cut_off, own = env.step(actions[i])
            assert reward == rewards[i]
            assert (ended, cut_off) == (terminated[i], truncated[i])
            assert own["latency_ms"] == info["latency_ms"][i]
            assert np.array_equal(own["reward_vector"], info["reward_vector"][i])
            if ended or cut_off:
                assert np.array_equal(seen, info["final_obs"][i])
                seen, _ = env.reset()
            assert np.array_equal(seen, observations[i])


@anywhere
@given(world=scenarios(), seed=st.integers(0, 1 << 40))
def test_more_compression_never_sends_more_bytes(
    tmp_path: Path, world: tuple[dict[str, Any], dict[str, Any]], seed: int
) -> None:
    tables = build(tmp_path, world)
    assert (np.diff(tables.send[:, :, 0], axis=1) <= 0.0).all()
    simulator, twin = Simulator(tables, 4), Simulator(tables, 4)
    rng = np.random.default_rng(seed)
    actions = random_actions(tables, 4, rng)
    harder = actions.copy()
    harder[:, 5] = np.minimum(harder[:, 5] + 1, tables.sizes[5] - 1)
    plain, pressed = simulator.step(actions).outcomes, twin.step(harder).outcomes
    # time-outs cut transfers short, so compare what got through whole
    whole = (plain[:, TIMED_OUT] == 0.0) & (pressed[:, TIMED_OUT] == 0.0)
    assert (pressed[whole, SENT_KILOBIT] <= plain[whole, SENT_KILOBIT]).all()


@anywhere
@given(world=scenarios())
def test_a_higher_clock_is_never_slower(tmp_path: Path, world: tuple[dict[str, Any], dict[str, Any]]) -> None:
    tables = build(tmp_path, world)
    latency = tables.head[..., 0].astype(np.float64)
    for axis in (2, 3, 4):
        assert (np.diff(latency, axis=axis) <= 1e-6 * latency.max()).all()
    assert (np.diff(latency, axis=1) >= -1e-6 * latency.max()).all()  # a deeper cut does not take less


@anywhere
@given(world=scenarios(), seed=st.integers(0, 1 << 40))
def test_every_request_is_answered_or_counted_as_dropped(
    tmp_path: Path, world: tuple[dict[str, Any], dict[str, Any]], seed: int
) -> None:
    tables = build(tmp_path, world)
    simulator = Simulator(tables, 1, autoreset=False)
    simulator.reset(np.array([seed]))
    rng = np.random.default_rng(seed)
    answered = dropped = 0
    for _ in range(tables.scenario.episode_requests):
        batch = simulator.step(random_actions(tables, 1, rng))
        answered += 1
        dropped += int(batch.outcomes[0, DROPPED])
        if batch.ends[0]:
            break
    assert answered + dropped == tables.scenario.episode_requests


@pytest.mark.parametrize(("mode", "latency_ms"), [("free", 0.0), ("blocking", 20.0), ("concurrent", 80.0)])
def test_wall_power_is_conserved_over_an_episode(tmp_path: Path, mode: str, latency_ms: float) -> None:
    rng = np.random.default_rng(0)
    drawn = np.zeros(16)
    decision = {"mode": mode, "latency_ms": latency_ms}
    tables = compile_scenario(worlds.scenario(tmp_path, battery={"capacity_mj": 1e9}, decision=decision))
    simulator = Simulator(tables, 16, autoreset=False)
    for _ in range(20):
        rows = simulator.step(random_actions(tables, 16, rng)).outcomes
        drawn += rows[:, BOARD_MJ] + rows[:, IDLE_MJ]
    assert 1e9 - simulator.states["battery_mj"] == pytest.approx(drawn, rel=1e-5)


def test_a_time_out_falls_back_on_the_device_and_loses_no_accuracy(tmp_path: Path) -> None:
    trace = tmp_path / "dead.csv"
    trace.write_text("time_s,mbps\n" + "\n".join(f"{t},0.0" for t in range(60)), encoding="utf-8")
    tables = compile_scenario(worlds.scenario(tmp_path, uplink=str(trace)))
    simulator = Simulator(tables, 1)
    action = tables.out_of_the_box.copy()
    action[0] = 0
    row = simulator.step(action[None]).outcomes[0]
    assert row[TIMED_OUT] == 1.0
    assert row[FALLBACK] == pytest.approx(tables.reference_latency_ms, rel=1e-5)
    assert row[LATENCY_MS] >= tables.scenario.offload_timeout_ms
    assert row[ACCURACY_LOST] == 0.0
