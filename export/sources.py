"""What can be exported by name: a run folder, or a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dvfo_agents.registry import baseline_names
from dvfo_agents.run_folder import read_run_config
from dvfo_env.errors import ConfigError
from dvfo_env.scenario import load_scenario
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_export.bundles import Exported


class Source(NamedTuple):
    """An exported policy and the compiled scenario it decides in."""

    exported: Exported
    tables: CostTables


def export_source(source: str, scenario: str | None = None) -> Source:
    """Export the run folder or the baseline called `source`.

    Args:
        source: a run folder, or a name that `dvfo_agents.registry` knows.
        scenario: shipped name or .yaml file; None takes the one a run was trained on.

    Raises:
        ConfigError: no such thing, a baseline without a scenario, or one that no device can run.
        CheckpointError: the run holds no whole checkpoint.
    """
    if source in baseline_names():
        if scenario is None:
            raise ConfigError(f"{source}: a baseline belongs to no scenario: name one with --scenario")
        from dvfo_export.planners import export_baseline

        tables = compile_scenario(load_scenario(scenario))
        return Source(export_baseline(source, tables), tables)
    if not Path(source).exists():
        raise ConfigError(
            f"{source}: neither a run folder nor a baseline; known: {', '.join(baseline_names())}"
        )
    from dvfo_export.learned import export_run

    found = read_run_config(Path(source)).scenario if scenario is None else load_scenario(scenario)
    tables = compile_scenario(found)
    return Source(export_run(source, tables), tables)
