"""Trained agents to bundles: one graph, whatever the algorithm."""

from __future__ import annotations

from pathlib import Path

from dvfo_agents.decisions import LargestOfBranches, LargestOfEach, LargestOfList, Squashed
from dvfo_agents.learned import LearnedPolicy, load_policy
from dvfo_controller.policies.graph import MODEL
from dvfo_env.errors import ConfigError
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.tables import CostTables
from dvfo_export.bundles import Exported
from dvfo_export.graph import policy_graph


def export_run(run: Path | str, tables: CostTables | None = None) -> Exported:
    """The newest whole checkpoint of a run folder, to decide in `tables` (None: where it was trained).

    Raises:
        CheckpointError: there is no run or no whole checkpoint.
        ConfigError: the run's action sizes are not those of `tables`, or it is a stable-baselines3 file.
    """
    policy = load_policy(run, tables)
    return export_policy(policy)


def export_policy(policy: LearnedPolicy) -> Exported:
    """A loaded policy.

    Raises:
        ConfigError: it decides by other code than ours.
    """
    decide = policy.decide
    if not isinstance(decide, LargestOfEach | LargestOfBranches | LargestOfList | Squashed):
        raise ConfigError(f"{policy.run}: only run folders are exported, not stable-baselines3 files")
    graph = policy_graph(decide, policy.view, OBSERVATION_SIZE * policy.history)
    return Exported("graph", policy.name, {"history": policy.history}, {MODEL: graph}, policy, policy.steps)
