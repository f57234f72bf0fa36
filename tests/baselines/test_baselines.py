from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvfo_agents.policy import SeesTrueState
from dvfo_agents.registry import baseline_names, make_baseline
from dvfo_agents.result_cache import cache_folder, recall, remember
from dvfo_env.errors import ConfigError
from dvfo_env.oracle import bound_costs
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CUT, LEVEL, CostTables, compile_scenario
from tests.worlds import device, scenario

DEVICES: dict[str, dict[str, Any]] = {
    "whole": {},
    "no GPU": {"gpu": False},
    "no memory clocks": {"memory": False},
    "hot": {"hot": True},
}


def world(folder: Path, kind: str = "whole", **changes: Any) -> CostTables:
    options = {"episode_requests": 24, "requests": {"period_ms": 120.0, "deadline_ms": 60.0}, **changes}
    return compile_scenario(scenario(folder, device(**DEVICES[kind]), **options))


@pytest.fixture(scope="module", params=list(DEVICES))
def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CostTables:
    return world(tmp_path_factory.mktemp("world"), request.param)


def costs_of(name: str, tables: CostTables, seeds: np.ndarray) -> np.ndarray:
    simulator = Simulator(tables, len(seeds), bank_seed=1, autoreset=False)
    observations = simulator.reset(seeds)
    policy = make_baseline(name, tables)
    policy.reset(len(seeds))
    if isinstance(policy, SeesTrueState):
        policy.bind(simulator)
    running, costs = np.ones(len(seeds), dtype=bool), np.zeros(len(seeds))
    while running.any():
        actions = policy.act(observations)
        assert actions.shape == (len(seeds), len(tables.sizes))
        assert actions.dtype == np.int64
        assert (actions >= 0).all()
        assert (actions < np.array(tables.sizes)).all()
        batch = simulator.step(actions)
        costs -= np.where(running, batch.rewards, 0.0)
        running &= batch.ends == 0
        observations = batch.observations
    return costs


@pytest.mark.parametrize("name", baseline_names())
def test_every_baseline_acts_legally_and_never_beats_the_bound(name: str, tables: CostTables) -> None:
    seeds = np.arange(4) + 7
    bound = bound_costs(tables, seeds, bank_seed=1).sum(axis=1)
    assert (costs_of(name, tables, seeds) >= bound - 1e-4).all()


@pytest.mark.parametrize("name", baseline_names())
def test_every_baseline_works_with_one_compression_level_and_a_sampled_weight(
    name: str, tmp_path: Path
) -> None:
    level = compile_scenario(scenario(tmp_path)).choices["compression"][0]
    tables = world(tmp_path, action={"compression": [level]}, objective={"eta": [0.2, 0.8]})
    seeds = np.arange(3)
    bound = bound_costs(tables, seeds, bank_seed=1).sum(axis=1)
    assert (costs_of(name, tables, seeds) >= bound - 1e-4).all()


@pytest.mark.parametrize("name", ["all-server", "neurosurgeon-style", "planner", "best-fixed"])
def test_a_workload_with_one_cut_leaves_everything_on_the_device(name: str, tmp_path: Path) -> None:
    last = compile_scenario(scenario(tmp_path)).choices["cut"][-1]
    tables = world(tmp_path, action={"cuts": [last]})
    actions = make_baseline(name, tables).act(Simulator(tables, 2).reset(np.arange(2)))
    assert (actions[:, CUT] == 0).all()


def test_all_server_sends_the_input_and_governor_sends_nothing(tables: CostTables) -> None:
    observations = Simulator(tables, 2).reset(np.arange(2))
    assert (make_baseline("all-server", tables).act(observations)[:, CUT] == 0).all()
    governed = make_baseline("performance", tables).act(observations)
    np.testing.assert_array_equal(governed, np.stack([tables.out_of_the_box] * 2))


def test_neurosurgeon_uses_one_level_only(tables: CostTables) -> None:
    policy = make_baseline("neurosurgeon-style", tables)
    simulator = Simulator(tables, 16, bank_seed=3)
    observations = simulator.reset(np.arange(16))
    levels = set()
    for _ in range(20):
        actions = policy.act(observations)
        levels |= set(actions[actions[:, CUT] < tables.sizes[CUT] - 1, LEVEL].tolist())
        observations = simulator.step(actions).observations
    assert len(levels) <= 1


def test_a_name_that_is_no_baseline_is_refused_with_the_known_ones(tables: CostTables) -> None:
    with pytest.raises(ConfigError, match=r"'oracle' is not a baseline; known: performance, .*clairvoyant"):
        make_baseline("oracle", tables)


def test_the_random_policy_does_not_depend_on_the_batch(tables: CostTables) -> None:
    observations = Simulator(tables, 5).reset(np.arange(5))
    policy = make_baseline("random", tables)
    policy.reset(5)
    together = policy.act(observations)
    policy.reset(1)
    np.testing.assert_array_equal(policy.act(observations[3:4])[0], together[3])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"action": [1, 2]}', '{"action": [99999, 0, 0, 0, 0, 0]}'])
def test_a_corrupt_cache_entry_is_searched_again(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVFO_CACHE", str(tmp_path / "cache"))
    tables = world(tmp_path, "no GPU", action={"compression": "all", "cpu_mhz": [2000.0]})
    observations = Simulator(tables, 1).reset(np.zeros(1, dtype=np.int64))
    wanted = make_baseline("best-fixed", tables).act(observations)
    for file in (tmp_path / "cache").iterdir():
        file.write_text(text, encoding="utf-8")
    np.testing.assert_array_equal(make_baseline("best-fixed", tables).act(observations), wanted)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv("DVFO_CACHE", str(tmp_path / "file"))
    remember("kind", "key", {"x": 1})
    assert recall("kind", "key") is None
    assert cache_folder() == tmp_path / "file"
