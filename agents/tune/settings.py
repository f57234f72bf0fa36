"""What identifies a study: agent, scenarios, budget of a trial and how trials are proposed and stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from dvfo_agents.config import AgentConfig, load_agent_config, parse_agent_config
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_agents.run_folder import versions
from dvfo_agents.tune.spaces import Range, as_changes, as_plain, space_for
from dvfo_agents.tune.validation import EPISODES, VALIDATION_BANK_SEED, episode_seeds, validation_cost
from dvfo_env.errors import ConfigError
from dvfo_env.scenario import Scenario, load_scenario
from dvfo_env.schema import Record
from dvfo_env.tables import CostTables, compile_scenario

SAMPLERS = ("tpe", "gp")
PRUNERS = ("halving", "median", "none")
#: Shares of a trial's budget after which it is judged, with the step each is reported under: steps double,
#: as successive halving expects.
RUNGS = {1: 0.25, 2: 0.5, 4: 1.0}
LAST_RUNG = max(RUNGS)


class Arena(Record):
    """One scenario of a study with the ends of its score scale, costs per request on the validation bank."""

    scenario: Scenario
    tables_sha256: str
    fixed: float
    bound: float

    def score(self, cost: float) -> float:
        """Score of a policy with this mean cost per request: 0 = best fixed action, 1 = bound."""
        return (self.fixed - cost) / (self.fixed - self.bound)


class Settings(Record):
    """All that decides a study; stored in it and never changed.

    `config` is the configuration that is tuned, the first trial. `seconds`: processor time of a trial for
    each scenario. `space`: what is searched, as plain data.
    """

    format: Literal["dvfo-study-1"] = "dvfo-study-1"
    agent: str
    config: dict[str, Any]
    arenas: Annotated[tuple[Arena, ...], Field(min_length=1)]
    seconds: Annotated[float, Field(gt=0.0)]
    sampler: Literal["tpe", "gp"]
    pruner: Literal["halving", "median", "none"]
    seed: Annotated[int, Field(ge=0)]
    space: dict[str, list[Any]]
    versions: dict[str, str]

    @property
    def name(self) -> str:
        """Name of the study: agent and scenarios."""
        return study_name(self.agent, [arena.scenario.name for arena in self.arenas])

    @property
    def ranges(self) -> dict[str, Range]:
        """What is searched.

        Raises:
            ConfigError: this release searches another space than the study began with.
        """
        space = space_for(self.config["algorithm"], self.config)
        if as_plain(space) != self.space:
            raise ConfigError(
                f"study {self.name}: began with another search space (dvfo-env {self.versions['dvfo_env']}): "
                "begin a new one"
            )
        return space

    def trial_config(self, params: dict[str, Any]) -> AgentConfig:
        """The configuration of a trial; it trains on one thread, whatever the given one says.

        Raises:
            ConfigError: the point does not make a configuration.
        """
        changes = as_changes(self.ranges, params)
        data = {**self.config, **changes, "torch_threads": 1}
        return parse_agent_config(data, where=f"study {self.name}")

    def check_tables(self) -> None:
        """Compare the scenarios' cost tables with those at the start.

        Raises:
            ConfigError: one of them is another now, so that scores would not compare.
        """
        for arena in self.arenas:
            if tables_digest(compile_scenario(arena.scenario)) != arena.tables_sha256:
                raise ConfigError(
                    f"study {self.name}: scenario {arena.scenario.name!r} now has other cost tables than at "
                    f"the start (with dvfo-env {self.versions['dvfo_env']}): begin a new study"
                )


def study_name(agent: str, scenarios: Sequence[str]) -> str:
    """Name of the study of an agent (name or file) on scenarios."""
    return "-".join((Path(agent).stem, *scenarios))


def new_settings(
    agent: str,
    scenarios: Sequence[str],
    seconds: float,
    sampler: str,
    pruner: str,
    seed: int,
    progress: Callable[[str], None],
) -> Settings:
    """Settings of a new study; measures the score scale of each scenario, which takes seconds to minutes.

    Raises:
        ConfigError: agent or scenario do not exist, cannot be searched or leave nothing to gain.
    """
    config = load_agent_config(agent)
    plain = config.model_dump(mode="json")
    space = as_plain(space_for(config.algorithm, config.model_dump()))
    loaded = [load_scenario(name) for name in scenarios]
    names = [scenario.name for scenario in loaded]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"--scenario: {twice[0]} is named twice")
    return Settings(
        agent=Path(agent).stem,
        config=plain,
        arenas=tuple(_arena(scenario, progress) for scenario in loaded),
        seconds=seconds,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
        space=space,
        versions=versions(),
    )


def _arena(scenario: Scenario, progress: Callable[[str], None]) -> Arena:
    """Measure best fixed action and bound on the validation episodes; kept on disk."""
    tables = compile_scenario(scenario)
    digest = tables_digest(tables)
    key = f"{digest[:32]}-{EPISODES}"
    stored = recall("tune-scale", key)
    if stored is None or not {"fixed", "bound"} <= set(stored):
        progress(f"{scenario.name}: measuring the best fixed action and the bound")
        stored = _scale(tables)
        remember("tune-scale", key, stored)
    fixed, bound = float(stored["fixed"]), float(stored["bound"])
    if fixed - bound <= 1e-6 * fixed:
        raise ConfigError(
            f"scenario {scenario.name!r}: the best fixed action is at the bound: nothing to tune"
        )
    return Arena(scenario=scenario, tables_sha256=digest, fixed=fixed, bound=bound)


def _scale(tables: CostTables) -> dict[str, float]:
    from dvfo_agents.registry import make_baseline
    from dvfo_env.oracle import bound_costs

    bound = bound_costs(tables, episode_seeds(), bank_seed=VALIDATION_BANK_SEED).mean()
    return {
        "fixed": validation_cost(make_baseline("best-fixed", tables), tables),
        "bound": float(bound),
    }
