"""The baselines by name; each is imported only when it is asked for."""

from __future__ import annotations

import importlib

from dvfo_agents.policy import Policy
from dvfo_env.errors import ConfigError
from dvfo_env.tables import CostTables

_MODULES = {
    "performance": "performance",
    "powersave": "powersave",
    "ondemand": "ondemand",
    "schedutil": "schedutil",
    "all-local": "all_local",
    "all-server": "all_server",
    "compress-input": "compress_input",
    "best-fixed": "best_fixed",
    "neurosurgeon-style": "neurosurgeon_style",
    "dads-style": "dads_style",
    "drldo-style": "drldo_style",
    "planner": "planner",
    "mpc-planner": "mpc_planner",
    "appealnet-style": "appealnet_style",
    "ans-style": "ans_style",
    "ztt-style": "ztt_style",
    "polythrottle-style": "polythrottle_style",
    "cma-es": "cma_es",
    "random": "random_choice",
    "clairvoyant": "clairvoyant",
}

#: Ready in seconds: what an evaluation takes unless it names others.
QUICK_BASELINES = (
    "performance",
    "best-fixed",
    "all-server",
    "compress-input",
    "neurosurgeon-style",
    "dads-style",
    "planner",
    "clairvoyant",
)


def baseline_names() -> tuple[str, ...]:
    """Names that `make_baseline` knows, in the order tables list them by default."""
    return tuple(_MODULES)


def make_baseline(name: str, tables: CostTables) -> Policy:
    """Build a baseline for a compiled scenario; some search on training episodes first.

    Raises:
        ConfigError: there is no baseline of that name; the message lists the known ones.
    """
    if name not in _MODULES:
        raise ConfigError(f"agent {name!r} is not a baseline; known: {', '.join(_MODULES)}")
    module = importlib.import_module(baseline_module(name))
    policy: Policy = module.make(tables)
    return policy


def baseline_module(name: str) -> str:
    """The module a baseline lives in, by the name that `make_baseline` knows."""
    return f"dvfo_agents.baselines.{_MODULES[name]}"
