from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvfo_agents.baselines import ondemand, schedutil
from dvfo_agents.planning.governors import GovernorPolicy, busy_shares
from dvfo_controller.policies import governing
from dvfo_env.simulator import Simulator
from dvfo_env.state import WAITING
from dvfo_env.tables import CPU, CUT, GPU, MAPPING, MEM, CostTables, compile_scenario
from tests.worlds import coefficient, device, scenario

MHZ = np.array([400.0, 800.0, 1200.0, 1600.0, 2000.0])


def compiled(folder: Path, data: dict[str, Any] | None = None, period_ms: float = 200.0) -> CostTables:
    requests = {"period_ms": period_ms, "deadline_ms": 100.0, "queue_limit_ms": 2000.0}
    return compile_scenario(
        scenario(folder, data or device(points=5), requests=requests, episode_requests=64)
    )


def clocks(policy: GovernorPolicy, tables: CostTables, requests: int = 40) -> np.ndarray:
    """Clock indices [T, 3] that one device gets."""
    simulator = Simulator(tables, 1, autoreset=False)
    observations = simulator.reset(np.arange(1))
    policy.reset(1)
    rows = []
    for _ in range(requests):
        actions = policy.act(observations)
        assert actions[0, CUT] == tables.sizes[CUT] - 1
        assert actions[0, MAPPING] == 0
        rows.append(actions[0, [CPU, GPU, MEM]])
        observations = simulator.step(actions).observations
    return np.array(rows)


def sampled(rule: int, **state: float) -> dict[str, float]:
    """What the CPU's governor leaves after one run on a device in `state`."""
    g = governing.Governed(0, 0, 0, **state)
    governing.sample_cpu(g, rule, MHZ)
    return dataclasses.asdict(g)


@pytest.mark.parametrize(
    ("busy_ms", "mhz"),
    [(0.0, 400.0), (2.4, 800.0), (5.0, 1200.0), (9.5, 2000.0), (9.6, 2000.0), (9.0, 2000.0)],
)
def test_ondemand_is_proportional_below_its_threshold_and_jumps_above_it(busy_ms: float, mhz: float) -> None:
    assert MHZ[sampled(governing.ONDEMAND, sampled_ms=10.0, busy_ms=busy_ms)["cpu"]] == mhz


def test_after_a_long_idle_time_ondemand_believes_the_load_before_it_once() -> None:
    woken = sampled(governing.ONDEMAND, sampled_ms=200.0, busy_ms=5.0, load_before=1.0)
    assert MHZ[woken["cpu"]] == 2000.0
    assert woken["load_before"] == 0.0
    assert MHZ[sampled(governing.ONDEMAND, sampled_ms=200.0, busy_ms=5.0)["cpu"]] == 400.0


@pytest.mark.parametrize(
    ("util", "mhz"), [(0.0, 400.0), (0.16, 400.0), (0.3, 800.0), (0.5, 1600.0), (0.8, 2000.0)]
)
def test_schedutil_asks_for_a_quarter_more_than_the_utilisation_and_rounds_up(
    util: float, mhz: float
) -> None:
    assert MHZ[sampled(governing.SCHEDUTIL, util=util)["cpu"]] == mhz
    assert MHZ[sampled(governing.SCHEDUTIL, util_estimate=util)["cpu"]] == mhz


def test_utilisation_halves_in_thirty_two_periods() -> None:
    assert governing.decayed(0.8, 0.0, 32 * 1.024) == pytest.approx(0.4)
    assert governing.decayed(0.0, 1.0, 32 * 1.024) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("load", "now", "expected"),
    [(0.91, 0, 4), (0.88, 2, 2), (0.86, 1, 1), (0.5, 4, 2), (0.5, 2, 1), (0.0, 4, 0)],
)
def test_simple_ondemand_keeps_its_thresholds(load: float, now: int, expected: int) -> None:
    assert governing.simple_ondemand(MHZ, now, load) == expected


@pytest.mark.parametrize("module", [ondemand, schedutil])
def test_a_device_that_cannot_keep_up_ends_at_its_highest_clocks(module: Any, tmp_path: Path) -> None:
    tables = compiled(tmp_path, device(points=5, gpu=False), period_ms=50.0)
    np.testing.assert_array_equal(clocks(module.make(tables), tables)[-1], np.array(tables.sizes)[2:5] - 1)


@pytest.mark.parametrize("module", [ondemand, schedutil])
def test_a_device_that_is_hardly_used_does_not_stay_at_its_highest_clocks(
    module: Any, tmp_path: Path
) -> None:
    data = device(points=5)
    data["latency"]["inception-v4"]["gpu"] |= {
        "gpu_ms_ghz": coefficient(2.0), "mem_ms_ghz": coefficient(1.0), "t0_ms": coefficient(0.1),
    }  # fmt: skip
    tables = compiled(tmp_path, data, period_ms=1000.0)
    top = np.array(tables.sizes)[2:5] - 1
    slows_down = clocks(module.make(tables), tables)[10:] < top
    assert slows_down[:, 1:].all()
    # ondemand measures a load of 100 % every 10 ms of a head, however long the idle time after it
    assert slows_down[:, 0].all() == (module is schedutil)


def test_under_ondemand_a_busy_device_finds_its_cpu_clock_high_after_each_idle_time(tmp_path: Path) -> None:
    tables = compiled(tmp_path, device(points=5, gpu=False), period_ms=1000.0)
    found = clocks(ondemand.make(tables), tables)
    assert (found[:, 0] == tables.sizes[CPU] - 1).all()


def test_the_idle_gpu_clock_of_a_cpu_mapping_falls(tmp_path: Path) -> None:
    data = device(points=5)
    data["mappings"] = {"cpu4": data["mappings"]["cpu4"], "gpu": data["mappings"]["gpu"]}
    data["out_of_the_box"] = "cpu4"
    tables = compiled(tmp_path, data, period_ms=400.0)
    assert tables.choices["mapping"][0] == "cpu4"
    found = clocks(ondemand.make(tables), tables)
    assert (found[5:, 1] == 0).all()
    assert found[-1, 0] == tables.sizes[CPU] - 1


def test_a_core_that_drives_the_gpu_is_busier_at_a_low_clock(tmp_path: Path) -> None:
    data = device(points=5)
    data["mappings"]["gpu"]["busy_cores"] = coefficient(0.01, "cores")
    shares, gpu = busy_shares(compiled(tmp_path, data))
    assert gpu == 1.0
    assert (shares[0] > shares[-1]).all()
    assert shares.min() >= 0.01
    assert shares.max() <= 1.0


def test_the_time_that_passes_between_requests_is_the_simulators(tmp_path: Path) -> None:
    tables = compiled(tmp_path, device(points=1), period_ms=120.0)
    policy = ondemand.make(tables)
    simulator = Simulator(tables, 3, autoreset=False)
    observations = simulator.reset(np.arange(3))
    policy.reset(3)
    for _ in range(10):
        batch = simulator.step(policy.act(observations))
        head_ms = tables.head[0, -1, 0, 0, 0, 0]
        np.testing.assert_allclose(policy._governed["spent_ms"], head_ms, rtol=1e-5)
        np.testing.assert_allclose(policy._governed["waited_ms"], batch.outcomes[:, WAITING], atol=1e-3)
        observations = batch.observations
