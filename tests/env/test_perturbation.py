"""Perturbed devices: what the factors do, and what stays as it is."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dvfo_agents.result_cache import tables_digest
from dvfo_env.errors import ConfigError
from dvfo_env.oracle import bound_costs, clairvoyant_actions
from dvfo_env.perturbation import (
    LEAST_UPLINK_RTT,
    MOST_UPLINK_RTTS,
    UPLINK_RATES,
    Perturbation,
    draw_perturbations,
    draw_uplinks,
    perturbed,
)
from dvfo_env.simulator import Simulator
from dvfo_env.state import COST, DROP_COST, ENERGY_MJ, LATENCY_MS, OUTCOME, TIMED_OUT
from dvfo_env.tables import LOAD, RATE, RATE_LOG2, RTT, CostTables, compile_scenario
from tests import worlds

SLACK = 1.0 - 1e-5  # outcomes are float32


def patient(folder: Path, **changes: object) -> CostTables:
    """Requests come so seldom that none waits, and no clock is ever capped."""
    requests = {"period_ms": 60_000.0, "deadline_ms": 100.0, "queue_limit_ms": 600.0}
    return compile_scenario(worlds.scenario(folder, requests=requests, thermal={"enabled": False}, **changes))


def mean_outcome(tables: CostTables, action: np.ndarray, requests: int = 24) -> np.ndarray:
    simulator = Simulator(tables, 4, autoreset=False)
    simulator.reset(np.arange(4))
    rows = [simulator.step(np.tile(action, (4, 1))).outcomes.astype(np.float64) for _ in range(requests)]
    return np.mean(rows, axis=(0, 1))


def test_factors_of_one_give_bit_equal_tables(tmp_path: Path) -> None:
    tables = compile_scenario(worlds.scenario(tmp_path))
    same = perturbed(tables, Perturbation())
    for before, after in zip(tables.arrays, same.arrays, strict=True):
        assert before.tobytes() == after.tobytes()
        assert before.dtype == after.dtype
    assert same.bank(0) is tables.bank(0)
    assert tables_digest(same) == tables_digest(tables)


@pytest.mark.parametrize("part", ["latency", "power", "rtt", "server", "rate"])
def test_every_factor_changes_the_digest(tmp_path: Path, part: str) -> None:
    tables = compile_scenario(worlds.scenario(tmp_path))
    assert tables_digest(perturbed(tables, Perturbation(**{part: 1.01}))) != tables_digest(tables)


def test_latency_factor_scales_time_and_energy_of_local_episodes(tmp_path: Path) -> None:
    tables = patient(tmp_path)
    slow = perturbed(tables, Perturbation(latency=1.2))
    plain, slowed = (mean_outcome(t, tables.out_of_the_box) for t in (tables, slow))
    assert slowed[LATENCY_MS] == pytest.approx(1.2 * plain[LATENCY_MS], rel=1e-5)
    assert slowed[ENERGY_MJ] == pytest.approx(1.2 * plain[ENERGY_MJ], rel=1e-5)


def test_power_factor_scales_the_energy_of_any_action_and_no_time(tmp_path: Path) -> None:
    tables = patient(tmp_path)
    hungry = perturbed(tables, Perturbation(power=1.2))
    for action in (tables.out_of_the_box, tables.action_indices(cut="reduction_a", compression="level-4")):
        plain, fed = (mean_outcome(t, action) for t in (tables, hungry))
        assert fed[LATENCY_MS] == plain[LATENCY_MS]
        assert fed[ENERGY_MJ] == pytest.approx(1.2 * plain[ENERGY_MJ], rel=1e-5)


def test_network_and_server_factors_scale_their_own_phase(tmp_path: Path) -> None:
    tables = patient(tmp_path, offload_timeout_ms=100_000.0)
    action = tables.action_indices(cut="reduction_a", compression="level-4")
    plain = mean_outcome(tables, action)
    assert plain[TIMED_OUT] == 0.0
    for part, column in (("rtt", "network_ms"), ("server", "server_ms")):
        other = mean_outcome(perturbed(tables, Perturbation(**{part: 0.8})), action)
        for index, name in enumerate(OUTCOME):
            if name == column:
                assert other[index] == pytest.approx(0.8 * plain[index], rel=1e-5)
            elif name.endswith("_ms") and name != "latency_ms":
                assert other[index] == plain[index]


def test_banks_are_scaled_once_and_kept(tmp_path: Path) -> None:
    tables = compile_scenario(worlds.scenario(tmp_path))
    other = perturbed(tables, Perturbation(rtt=1.1, server=0.9))
    assert other.bank(0) is other.bank(0)
    assert np.allclose(other.bank(0)[:, RTT], 1.1 * tables.bank(0)[:, RTT], rtol=1e-6)
    assert np.allclose(other.bank(0)[:, LOAD], 0.9 * tables.bank(0)[:, LOAD], rtol=1e-6)
    assert np.array_equal(other.bank(0)[:, [0, 3]], tables.bank(0)[:, [0, 3]])
    with pytest.raises(ValueError, match="read-only"):
        other.bank(0)[0, RTT] = 1.0


def test_costs_keep_their_scale(tmp_path: Path) -> None:
    tables = patient(tmp_path)
    other = perturbed(tables, Perturbation(1.2, 1.1, 0.9, 0.8))
    for field in ("latency_weight_per_ms", "energy_weight_per_mj", "drop_latency_cost", "deadline_ms"):
        assert other.params[0][field] == tables.params[0][field]
    assert other.reference_latency_ms == tables.reference_latency_ms
    assert other.reference_energy_mj == tables.reference_energy_mj


factor = st.floats(0.6, 1.6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    latency=factor,
    power=factor,
    rtt=factor,
    server=factor,
    eta=st.floats(0.0, 1.0),
    seed=st.integers(0, 1 << 40),
)
def test_the_bound_stays_a_bound(
    tmp_path: Path, latency: float, power: float, rtt: float, server: float, eta: float, seed: int
) -> None:
    cuts = {"cuts": ["image", "stem_mixed_3", "reduction_a", "inception_c_1", "fc"]}
    nominal = compile_scenario(worlds.scenario(tmp_path, action=cuts, objective={"eta": eta}))
    tables = perturbed(nominal, Perturbation(latency, power, rtt, server))
    seeds = seed + np.arange(4)
    floor = bound_costs(tables, seeds).sum(axis=1)
    rng = np.random.default_rng(seed)
    simulator = Simulator(tables, len(seeds))
    for clairvoyant in (False, True):
        simulator.reset(seeds)
        total, over = np.zeros(len(seeds)), np.zeros(len(seeds), dtype=bool)
        while not over.all():
            actions = np.stack([rng.integers(0, size, simulator.n) for size in tables.sizes], axis=1)
            if clairvoyant:
                actions, costs = clairvoyant_actions(simulator)
            batch = simulator.step(actions)
            if clairvoyant:
                assert batch.outcomes[:, COST] == pytest.approx(costs, rel=1e-5)
            total += np.where(over, 0.0, batch.outcomes[:, COST] + batch.outcomes[:, DROP_COST])
            over |= batch.ends > 0
        assert (total >= floor * SLACK).all()


def test_draws_stay_in_range_and_come_again() -> None:
    drawn = draw_perturbations(0.2, 500, seed=3)
    factors = np.array([astuple(p) for p in drawn])
    assert (factors[:, 4] == 1.0).all()  # the uplink's rate is no error of a model
    factors = factors[:, :4]
    assert factors.min() >= 0.8
    assert factors.max() <= 1.2
    assert factors.mean(axis=0) == pytest.approx(np.ones(4), abs=0.02)
    assert np.abs(np.corrcoef(factors.T) - np.eye(4)).max() < 0.15
    assert draw_perturbations(0.2, 500, seed=3) == drawn
    assert draw_perturbations(0.2, 5, seed=3) == drawn[:5]
    assert draw_perturbations(0.2, 5, seed=4) != drawn[:5]
    assert draw_perturbations(0.0, 3, seed=3) == (Perturbation(),) * 3
    assert draw_perturbations(0.2, 0, seed=3) == ()


def test_other_uplinks_differ_by_orders_of_magnitude_and_come_again(tmp_path: Path) -> None:
    drawn = draw_uplinks(400, seed=5)
    rates, rtts = np.array([p.rate for p in drawn]), np.array([p.rtt for p in drawn])
    assert UPLINK_RATES[0] <= rates.min() < 0.02
    assert 1.0 < rates.max() <= UPLINK_RATES[1]
    assert LEAST_UPLINK_RTT <= rtts.min() < 1.0 < MOST_UPLINK_RTTS[1] < rtts.max() <= MOST_UPLINK_RTTS[0]
    assert rtts[rates > 1.0].max() < 1.15 * MOST_UPLINK_RTTS[1]  # none is fast and far
    assert draw_uplinks(3, seed=5) == drawn[:3]
    tables = compile_scenario(worlds.scenario(tmp_path))
    other = perturbed(tables, Perturbation(rate=0.125))
    assert np.allclose(other.bank(0)[:, RATE], 0.125 * tables.bank(0)[:, RATE], rtol=1e-6)
    moving = tables.bank(0)[:, RATE] > 0.1
    lower = tables.bank(0)[moving, RATE_LOG2] - 3.0
    assert np.allclose(other.bank(0)[moving, RATE_LOG2], lower, atol=1e-4)


@pytest.mark.parametrize("spread", [-0.1, 1.0, float("nan")])
def test_a_spread_that_could_reach_zero_is_refused(spread: float) -> None:
    with pytest.raises(ConfigError, match="spread"):
        draw_perturbations(spread, 1, seed=0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_impossible_factors_are_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="rtt"):
        Perturbation(rtt=value)
