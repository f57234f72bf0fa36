"""Every baseline decides on a device as it did in training: exported decisions are equal, not close."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvfo_agents.baselines import drldo_style, ondemand, powersave, schedutil
from dvfo_agents.baselines.ans_style import Ans, AnsSettings
from dvfo_agents.baselines.appealnet_style import AppealNet
from dvfo_agents.baselines.dads_style import Dads
from dvfo_agents.baselines.mpc_planner import MpcPlanner, MpcSettings
from dvfo_agents.baselines.neurosurgeon_style import Neurosurgeon
from dvfo_agents.baselines.planner import Planner, PlannerSettings
from dvfo_agents.baselines.random_choice import RandomChoice
from dvfo_agents.planning.present import Knowledge
from dvfo_agents.planning.rollout import Habits, futures_of, roll
from dvfo_agents.planning.seen import LAYOUT, cost_model
from dvfo_agents.planning.tiny_dqn import DqnPolicy, TinyDqn
from dvfo_agents.policy import Policy
from dvfo_controller.bundle import Bundle
from dvfo_controller.policies import open_policy
from dvfo_controller.policies.mpc import lanes_of
from dvfo_controller.policies.rollout import Rollout
from dvfo_controller.policies.serving import Board
from dvfo_controller.policies.sessions import read_tables
from dvfo_controller.policies.situation import situations
from dvfo_env.errors import ActionError, BundleError, ConfigError
from dvfo_env.scenario import load_scenario
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.tables import CPU, GPU, MEM, CostTables, compile_scenario
from dvfo_export.bundles import write_bundle
from dvfo_export.graph import tables_model
from dvfo_export.planners import export_baseline, export_policy, rollout_numbers
from tests.export.parity import compare

NANO, PI, ANY_ETA, POISSON = (
    "default", "pi3b-plus-mobilenet-v2-5g-driving", "tx2-vgg19-any-eta", "pi4b-resnet50-tmobile-lte"
)  # fmt: skip
#: Scenarios with what is changed in them: decisions that take time are planned for otherwise.
WORLDS: dict[str, tuple[str, dict[str, Any]]] = {
    "nano": (NANO, {}),
    "pi": (PI, {}),
    "any-eta": (ANY_ETA, {}),
    "poisson": (POISSON, {}),
    "concurrent": (NANO, {"decision": {"mode": "concurrent", "latency_ms": 10.0}}),
    "blocking": (PI, {"decision": {"mode": "blocking", "latency_ms": 5.0}}),
}


@lru_cache(maxsize=8)
def known(world: str) -> tuple[CostTables, Knowledge]:
    name, changes = WORLDS[world]
    tables = compile_scenario(load_scenario(name, episode_requests=64, **changes))
    return tables, Knowledge(tables)


def planner(source: str) -> Callable[[CostTables, Knowledge], Policy]:
    return lambda tables, knowledge: Planner(tables, PlannerSettings(source=source), knowledge)  # type: ignore[arg-type]


def predictive(tables: CostTables, knowledge: Knowledge) -> Policy:
    base = PlannerSettings()
    habits = Habits(tables, Planner(tables, base, knowledge))
    return MpcPlanner(tables, MpcSettings(horizon=6), base, knowledge, habits)


def values(tables: CostTables, knowledge: Knowledge) -> Policy:
    generator = np.random.default_rng(3)
    actions = np.stack([generator.integers(size, size=12) for size in tables.sizes], axis=1)
    columns = drldo_style.SEEN
    return DqnPolicy("drldo-style", TinyDqn(len(columns), len(actions), 48, 1), actions, columns)


def two_ways(tables: CostTables, knowledge: Knowledge) -> Policy:
    hard = tables.out_of_the_box
    return AppealNet(int(tables.params[0]["n_classes"]), 1, hard, np.zeros_like(hard))


def bandit(tables: CostTables, knowledge: Knowledge) -> Policy:
    return Ans(tables, AnsSettings(level=1), np.array([0.1, 0.4, 0.2, 0.1]))


#: What tuning would choose is of no matter here: any setting has to be exported.
POLICIES: dict[str, Callable[[CostTables, Knowledge], Policy]] = {
    "planner": planner("analogues"),
    "planner-quantiles": planner("quantiles"),
    "planner-last": planner("last"),
    "mpc-planner": predictive,
    "neurosurgeon-style": lambda tables, knowledge: Neurosurgeon(tables, knowledge.statistics, 1),
    "dads-style": lambda tables, knowledge: Dads(tables, knowledge.statistics, 0, np.inf),
    "ans-style": bandit,
    "appealnet-style": two_ways,
    "drldo-style": values,
    "ondemand": lambda tables, knowledge: ondemand.make(tables),
    "schedutil": lambda tables, knowledge: schedutil.make(tables),
    "powersave": lambda tables, knowledge: powersave.make(tables),
    "random": lambda tables, knowledge: RandomChoice(tables.sizes),
}


@pytest.mark.parametrize(
    ("name", "world"),
    [
        *((name, "pi") for name in POLICIES),
        *((name, "nano") for name in ("planner", "neurosurgeon-style", "schedutil")),
        *((name, "any-eta") for name in ("planner", "planner-quantiles")),
    ],
)
def test_a_device_decides_as_training_did(name: str, world: str, tmp_path: Path) -> None:
    tables, knowledge = known(world)
    result = compare(POLICIES[name](tables, knowledge), tables, tmp_path, 100, devices=4)
    assert not result.differ, result.differ[:3]


@pytest.mark.parametrize("world", ["poisson", "concurrent", "blocking"])
def test_the_planner_decides_the_same_wherever_decisions_and_requests_come_from(
    world: str, tmp_path: Path
) -> None:
    tables, knowledge = known(world)
    result = compare(planner("analogues")(tables, knowledge), tables, tmp_path, 120, devices=4)
    assert not result.differ, result.differ[:3]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "world", "decisions"),
    [
        *((name, "nano", 10_000) for name in POLICIES if name != "mpc-planner"),
        *(("planner", world, 10_000) for world in ("pi", "any-eta")),
        ("mpc-planner", "nano", 500),  # takes 10 to 280 ms a decision
    ],
)
def test_thousands_of_decisions_are_equal(name: str, world: str, decisions: int, tmp_path: Path) -> None:
    tables, knowledge = known(world)
    result = compare(POLICIES[name](tables, knowledge), tables, tmp_path, decisions, devices=50)
    print(f"{name} {world}: {result.decisions}, {result.median_ms:.2f} ms, p99 {result.p99_ms:.2f} ms")
    assert result.decisions >= decisions
    assert not result.differ, result.differ[:3]


@pytest.mark.parametrize("world", ["poisson", "concurrent"])
def test_rollouts_cost_what_the_step_itself_says(world: str) -> None:
    tables, knowledge = known(world)
    habits = Habits(tables, planner("analogues")(tables, knowledge))
    model, bank = cost_model(tables), tables.bank(TRAINING_BANK_SEED)
    board = Board(tables.head[..., 2], tables.idle[..., 1], tables.codec[..., 1])
    rollout = Rollout(model, board, rollout_numbers(tables), bank, habits.actions)
    simulator = Simulator(tables, 4, bank_seed=3)
    generator = np.random.default_rng(1)
    clocks = (tables.sizes[CPU], tables.sizes[GPU], tables.sizes[MEM])
    for _ in range(4):
        draws = [generator.integers(size, size=(4, 3)) for size in tables.sizes]
        candidates = np.stack(draws, axis=-1)
        observations = simulator.step(candidates[:, 0]).observations
        at_ms = generator.uniform(0.0, len(bank) * rollout.numbers.bank_step_ms, (4, 16))
        expected = roll(tables, futures_of(tables, observations), at_ms, candidates, habits, 5)
        for i in range(4):
            row = observations[i : i + 1]
            lanes = lanes_of(situations(model.numbers, clocks, LAYOUT, row), LAYOUT, row)
            np.testing.assert_array_equal(rollout.costs(lanes, at_ms[i], candidates[i], 5), expected[i])


def test_the_clairvoyant_stays_here() -> None:
    with pytest.raises(ConfigError, match="clairvoyant: cannot be exported: it sees the true state"):
        export_baseline("clairvoyant", known("pi")[0])


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    tables, knowledge = known("pi")
    exported = export_policy(planner("analogues")(tables, knowledge), tables)
    return write_bundle(tmp_path_factory.mktemp("planner") / "bundle", tables, exported)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("head", None, "tables.onnx: has no table 'head'"),
        ("head", lambda a: a[..., :1], "tables.onnx: head: is float32 .*, expected float32"),
        ("head", lambda a: a.astype(np.float64), "tables.onnx: head: is float64"),
        ("send", lambda a: a[..., :3], "tables.onnx: send: has 3 columns, expected 4 or more"),
        ("cpu_ghz", lambda a: 0.0 * a, "tables.onnx: cpu_ghz: is not above zero"),
        ("moment_rows", lambda a: a + np.int32(40_000), "tables.onnx: moment_rows: holds numbers beyond"),
        ("moment_bins", lambda a: a - np.int32(24), "tables.onnx: moment_bins: holds numbers beyond 0..23"),
        ("late_share", lambda a: a * np.nan, "tables.onnx: late_share: is not finite"),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    bundled: Bundle, name: str, change: Callable[[Any], Any] | None, message: str
) -> None:
    arrays = read_tables(bundled)
    if change is None:
        del arrays[name]
    else:
        arrays[name] = np.ascontiguousarray(change(arrays[name]))
    with pytest.raises(BundleError, match=message) as error:
        open_policy(dataclasses.replace(bundled, files={"tables.onnx": tables_model(arrays)}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("queue_share",), None, "settings: queue_share: expected float"),
        (("present", "moments", "nearest"), 0, "nearest: is 0, expected 1..4096"),
        (("numbers", "n_trips"), 9, "n_trips: is 9"),
        (("numbers", "period_ms"), 0.0, "period_ms: is 0.0, expected more than 0"),
        (("numbers", "gpu_rank"), 7, "delay_of_rank_ms: the three clocks need one rank"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    bundled: Bundle, path: tuple[str, ...], value: Any, message: str
) -> None:
    settings = copy.deepcopy(bundled.manifest.policy.settings)
    inner = settings
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    policy = dataclasses.replace(bundled.manifest.policy, settings=settings)
    changed = dataclasses.replace(bundled, manifest=dataclasses.replace(bundled.manifest, policy=policy))
    with pytest.raises(BundleError, match=message):
        open_policy(changed)


def test_an_observation_that_is_none_is_refused(bundled: Bundle) -> None:
    policy = open_policy(bundled)
    for wrong in (np.zeros(24, np.float32), np.full(25, np.nan, np.float32)):
        with pytest.raises(ActionError, match="expected 25 finite numbers"):
            policy.decide(wrong)
