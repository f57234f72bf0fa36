"""Baselines to bundles: planners as tables and a search by numpy, all that is one function as a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.baselines.clairvoyant import Clairvoyant
from dvfo_agents.baselines.planner import Planner
from dvfo_agents.planning.seen import cost_model
from dvfo_agents.policy import Policy
from dvfo_agents.registry import make_baseline
from dvfo_controller.policies.packing import TABLES, pack_cost_model, pack_present
from dvfo_controller.policies.planner import PlannerNumbers
from dvfo_controller.records import plain
from dvfo_env.errors import ConfigError
from dvfo_env.tables import CostTables
from dvfo_export.bundles import Exported
from dvfo_export.graph import tables_model


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
    raise ConfigError(f"{policy.name}: cannot be exported: nothing here knows how")


def tabled(kind: str, policy: Policy, settings: Any, arrays: dict[str, NDArray[Any]]) -> Exported:
    """A policy of settings (a dataclass) and arrays."""
    files = {TABLES: tables_model(arrays)}
    return Exported(kind, policy.name, plain(settings), files, policy)


def _planner(policy: Planner, tables: CostTables) -> Exported:
    model = cost_model(tables)
    present, arrays = pack_present(policy.present)
    settings = PlannerNumbers(model.numbers, present, policy.settings.queue_share)
    return tabled("planner", policy, settings, pack_cost_model(model) | arrays)


_EXPORTS: dict[type, Callable[[Any, CostTables], Exported]] = {
    Planner: _planner,
}
