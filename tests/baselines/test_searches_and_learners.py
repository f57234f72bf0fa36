from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dvfo_agents.baselines import ans_style, appealnet_style, cma_es, polythrottle_style, ztt_style
from dvfo_agents.planning.fixed_search import FixedActions, recalled
from dvfo_agents.planning.tiny_dqn import TinyDqn
from dvfo_env.observation import index_of
from dvfo_env.simulator import Simulator
from dvfo_env.state import OUTCOME
from dvfo_env.tables import CPU, CUT, LEVEL, CostTables, compile_scenario
from tests.worlds import device, scenario


def world(folder: Path, **changes: object) -> CostTables:
    options = {"requests": {"period_ms": 120.0, "deadline_ms": 60.0}, "episode_requests": 12}
    return compile_scenario(scenario(folder, device(), **{**options, **changes}))


def test_gradients_of_the_network_are_those_of_its_loss() -> None:
    generator = np.random.default_rng(2)
    network = TinyDqn(4, 3, hidden=5, seed=1)
    x, actions = generator.normal(size=(6, 4)), generator.integers(3, size=6)
    targets = network.values(x)[np.arange(6), actions] + generator.normal(0.0, 0.3, 6)

    def loss() -> float:
        off = np.abs(network.values(x)[np.arange(6), actions] - targets)
        return float(np.where(off < 1.0, 0.5 * off**2, off - 0.5).mean())

    gradients = network.gradients(x, actions, targets)
    for layer, gradient in zip(network.layers, gradients, strict=True):
        place = np.unravel_index(int(np.abs(gradient).argmax()), gradient.shape)
        before = layer[place]
        layer[place] = before + 1e-6
        up = loss()
        layer[place] = before - 1e-6
        down = loss()
        layer[place] = before
        assert gradient[place] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)


def test_weights_survive_as_lists_and_nonsense_is_refused() -> None:
    network = TinyDqn(4, 3)
    again = TinyDqn.from_lists(network.as_lists(), 4, 3)
    x = np.ones((2, 4))
    np.testing.assert_array_equal(again.values(x), network.values(x))
    assert TinyDqn.from_lists(network.as_lists(), 5, 3) is None
    assert TinyDqn.from_lists([[1.0], "x"], 4, 3) is None


@pytest.mark.parametrize("module", [cma_es, polythrottle_style])
def test_a_black_box_search_finds_the_best_of_few_actions(module: ModuleType, tmp_path: Path) -> None:
    few = {
        "mappings": ["gpu"],
        "compression": ["level-1"],
        "cpu_mhz": [400.0, 2000.0],
        "gpu_mhz": [1300.0],
        "mem_mhz": [1000.0, 1800.0],
    }
    tables = world(tmp_path, action=few)
    actions = FixedActions(tables)
    every = min(actions.cost(np.array(i)) for i in np.ndindex(*actions.free_sizes))
    worst = getattr(module, "MISSED", 1.0)
    found = recalled(f"{module.__name__}-few", tables, module.search, worst)
    assert found.evaluations <= actions.evaluations
    if worst == 1.0:
        assert found.cost <= 1.02 * every


@pytest.mark.parametrize("module", [cma_es, polythrottle_style])
def test_a_black_box_search_is_never_worse_than_what_was_there(module: ModuleType, tmp_path: Path) -> None:
    tables = world(tmp_path)
    actions = FixedActions(tables)
    np.testing.assert_array_equal(actions.joint_action(actions.start), tables.out_of_the_box)
    found = recalled(f"{module.__name__}-start", tables, module.search)
    assert found.cost <= actions.cost(actions.start)


def test_ztt_keeps_everything_on_the_device_and_picks_clocks(tmp_path: Path) -> None:
    tables = world(tmp_path)
    actions = ztt_style.joint_actions(tables)
    assert (actions[:, CUT] == tables.sizes[CUT] - 1).all()
    assert len(np.unique(actions[:, CPU])) == 3
    hot = np.zeros((2, len(OUTCOME)), dtype=np.float32)
    hot[:, OUTCOME.index("latency_ms")] = hot[:, OUTCOME.index("energy_mj")] = 50.0
    hot[:, OUTCOME.index("temperature_c")] = [30.0, 70.0]
    cool, over = ztt_style.paid(tables)(hot, np.zeros(2))
    assert cool - over == pytest.approx(2.2, abs=0.01)


def test_appealnet_decides_by_the_class_alone(tmp_path: Path) -> None:
    requests = {"period_ms": 120.0, "deadline_ms": 60.0, "difficulty": "known"}
    tables = world(tmp_path, requests=requests)
    policy = appealnet_style.AppealNet(2, 1, np.full(6, 7), np.arange(6))
    observations = Simulator(tables, 2).reset(np.arange(2)).copy()
    observations[:, index_of("difficulty")] = [0.0, 1.0]
    np.testing.assert_array_equal(policy.act(observations), [np.full(6, 7), np.arange(6)])


def test_the_bandit_learns_that_offloading_has_become_dear(tmp_path: Path) -> None:
    tables = world(tmp_path)
    settings = ans_style.AnsSettings(width=0.0, force_every=1_000_000, forget=1.0, trust=1.0)
    policy = ans_style.Ans(tables, settings, np.zeros(4))
    observations = Simulator(tables, 1).reset(np.array([0]))
    policy.reset(1)
    assert policy.act(observations)[0, CUT] < tables.sizes[CUT] - 1
    for _ in range(60):
        policy.act(observations)
        policy.learn(np.array([50.0]))
    assert policy.act(observations)[0, CUT] == tables.sizes[CUT] - 1
    assert (policy.act(observations)[:, LEVEL] == settings.level).all()


def test_the_bandit_is_made_to_offload_now_and_then(tmp_path: Path) -> None:
    tables = world(tmp_path)
    dear = ans_style.Ans(tables, ans_style.AnsSettings(force_every=4), np.array([50.0, 0.0, 0.0, 0.0]))
    observations = Simulator(tables, 1).reset(np.array([0]))
    dear.reset(1)
    cuts = [int(dear.act(observations)[0, CUT]) for _ in range(12)]
    assert [cut < tables.sizes[CUT] - 1 for cut in cuts] == [False, False, False, True] * 3
