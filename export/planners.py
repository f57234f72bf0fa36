"""Baselines to bundles: planners as tables and a search by numpy, all that is one function as a graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.baselines.ans_style import Ans
from dvfo_agents.baselines.appealnet_style import AppealNet
from dvfo_agents.baselines.clairvoyant import Clairvoyant
from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_agents.baselines.dads_style import Dads
from dvfo_agents.baselines.mpc_planner import MpcPlanner
from dvfo_agents.baselines.neurosurgeon_style import Neurosurgeon
from dvfo_agents.baselines.planner import Planner
from dvfo_agents.baselines.random_choice import RandomChoice
from dvfo_agents.planning.governors import GovernorPolicy
from dvfo_agents.planning.seen import cost_model, numbers_of
from dvfo_agents.planning.tiny_dqn import DqnPolicy
from dvfo_agents.policy import Policy
from dvfo_agents.registry import make_baseline
from dvfo_controller.policies.governing import GovernorNumbers
from dvfo_controller.policies.graph import MODEL
from dvfo_controller.policies.last_seen import LastSeen, LastSeenNumbers
from dvfo_controller.policies.mpc import MpcNumbers
from dvfo_controller.policies.packing import (
    TABLES,
    pack_belief,
    pack_cost_model,
    pack_moments,
    pack_present,
)
from dvfo_controller.policies.planner import PlannerNumbers
from dvfo_controller.policies.rollout import RolloutNumbers
from dvfo_controller.records import plain
from dvfo_env.errors import ConfigError
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.tables import CostTables
from dvfo_export.bundles import Exported
from dvfo_export.graph import tables_model
from dvfo_export.small_graphs import constant_graph, two_ways_graph, values_graph

#: A graph sees the newest observation only.
_GRAPH_SETTINGS = {"history": 1}
Arrays = dict[str, NDArray[Any]]


def export_baseline(name: str, tables: CostTables) -> Exported:
    """A baseline for a compiled scenario; some search on training episodes first.

    Raises:
        ConfigError: there is no such baseline, or no device could run it.
    """
    if name == Clairvoyant.name:
        raise ConfigError("clairvoyant: cannot be exported: it sees the true state, which no device can")
    return export_policy(make_baseline(name, tables), tables)


def export_policy(policy: Policy, tables: CostTables) -> Exported:
    """A baseline's policy in the form a device reads.

    Raises:
        ConfigError: no device could run it.
    """
    for kind, export in _EXPORTS.items():
        if isinstance(policy, kind):
            return export(policy, tables)
    raise ConfigError(f"{policy.name}: cannot be exported: it is none of the baselines that can")


def _tabled(kind: str, policy: Policy, settings: Any, arrays: Arrays) -> Exported:
    """A policy of settings (a dataclass) and arrays."""
    files = {TABLES: tables_model(arrays)}
    return Exported(kind, policy.name, plain(settings), files, policy)


def _graph(policy: Policy, graph: bytes) -> Exported:
    return Exported("graph", policy.name, dict(_GRAPH_SETTINGS), {MODEL: graph}, policy)


def _constant(policy: ConstantPolicy, tables: CostTables) -> Exported:
    return _graph(policy, constant_graph(policy.action))


def _two_ways(policy: AppealNet, tables: CostTables) -> Exported:
    classes = int(tables.params[0]["n_classes"])
    return _graph(policy, two_ways_graph(classes, policy.threshold, policy.hard, policy.easy))


def _values(policy: DqnPolicy, tables: CostTables) -> Exported:
    return _graph(policy, values_graph(policy.columns, policy.network.layers, policy.joint_actions))


def _draw(policy: RandomChoice, tables: CostTables) -> Exported:
    return Exported("draw", policy.name, {}, {}, policy)


def _planner_parts(policy: Planner, tables: CostTables) -> tuple[PlannerNumbers, Arrays]:
    model = cost_model(tables)
    present, arrays = pack_present(policy.present)
    settings = PlannerNumbers(model.numbers, present, policy.settings.queue_share)
    return settings, pack_cost_model(model) | arrays


def _planner(policy: Planner, tables: CostTables) -> Exported:
    return _tabled("planner", policy, *_planner_parts(policy, tables))


def _mpc(policy: MpcPlanner, tables: CostTables) -> Exported:
    base, arrays = _planner_parts(policy.planner, tables)
    futures, found = pack_moments(policy.futures, "future")
    rollout = rollout_numbers(tables)
    settings = MpcNumbers(base, rollout, futures, policy.settings.horizon, policy.settings.margin)
    columns = policy.habits.actions.astype(np.int32).T
    arrays |= found | {f"habits_{i}": column for i, column in enumerate(columns)}
    arrays |= {
        "moment_at_ms": policy.moments.at_ms,
        "bank": tables.bank(TRAINING_BANK_SEED),
        "head_board_mj": tables.head[..., 2],
        "idle_board_mw": tables.idle[..., 1],
        "codec_board_mw": tables.codec[..., 1],
    }
    return _tabled("mpc", policy, settings, arrays)


def rollout_numbers(tables: CostTables) -> RolloutNumbers:
    """What a rollout needs of a compiled scenario beside its `Numbers`."""
    p = tables.params[0]
    return RolloutNumbers(
        bank_step_ms=float(p["bank_step_ms"]),
        monitor_ms=None if math.isinf(p["monitor_ms"]) else float(p["monitor_ms"]),
        drop_latency_cost=float(p["drop_latency_cost"]),
        drop_energy_cost=float(p["drop_energy_cost"]),
        thermal=bool(p["thermal"]),
        ambient_c=float(p["ambient_c"]),
        resistance_c_per_w=float(p["resistance_c_per_w"]),
        time_constant_ms=float(p["time_constant_ms"]),
        class_edge=tuple(float(edge) for edge in p["class_edge"]),
    )


def _last_seen(
    policy: Neurosurgeon | Dads, tables: CostTables, seen: LastSeen, search: bool, heavy: bool
) -> Exported:
    model = cost_model(tables)
    belief, arrays = pack_belief(seen.belief)
    forget_ms = None if math.isinf(policy.forget_ms) else policy.forget_ms
    settings = LastSeenNumbers(model.numbers, belief, policy.level, forget_ms, search, heavy)
    return _tabled("last-seen", policy, settings, pack_cost_model(model) | arrays)


def _neurosurgeon(policy: Neurosurgeon, tables: CostTables) -> Exported:
    return _last_seen(policy, tables, policy.seen, search=True, heavy=False)


def _dads(policy: Dads, tables: CostTables) -> Exported:
    return _last_seen(policy, tables, policy.rule.seen, search=False, heavy=policy.heavy)


def _bandit(policy: Ans, tables: CostTables) -> Exported:
    arrays = {"head": policy.head, "context": policy.context, "taught": policy.taught}
    return _tabled("bandit", policy, policy.numbers, arrays)


def _governor(policy: GovernorPolicy, tables: CostTables) -> Exported:
    settings = GovernorNumbers(numbers_of(tables), policy.rule, policy.gpu_share)
    return _tabled(
        "governing", policy, settings, {"head_ms": policy.head_ms, "cpu_shares": policy.cpu_shares}
    )


_EXPORTS: dict[type, Callable[[Any, CostTables], Exported]] = {
    ConstantPolicy: _constant,
    AppealNet: _two_ways,
    DqnPolicy: _values,
    RandomChoice: _draw,
    Planner: _planner,
    MpcPlanner: _mpc,
    Neurosurgeon: _neurosurgeon,
    Dads: _dads,
    Ans: _bandit,
    GovernorPolicy: _governor,
}
