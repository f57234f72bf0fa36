"""A suite: which contestants meet on which scenarios and in which variants of them; one YAML file."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from dvfo_agents.config import AgentConfig, load_agent_config
from dvfo_agents.registry import baseline_names
from dvfo_env.errors import ConfigError
from dvfo_env.scenario import Scenario, configs_folder, load_scenario
from dvfo_env.schema import Record, load_yaml
from dvfo_evaluation.arena import BOUND, OWN
from dvfo_evaluation.contestants import REFERENCES

SUITE_FOLDER = "suites"
#: A decision's latency that is measured for each contestant.
MEASURED = "measured"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=80)]
Count = Annotated[int, Field(ge=1)]


class DecisionChange(Record):
    """How long computing a decision takes, and whether the request waits for it.

    `latency_ms: measured` takes each contestant's own: the processor time of one decision on this machine,
    carried over to the device's cores (`dvfo_evaluation.decision_time`).
    """

    mode: Literal["free", "blocking", "concurrent"]
    latency_ms: Annotated[float, Field(ge=0.0)] | Literal["measured"] = "measured"


class Perturbed(Record):
    """Devices that differ from their tables: `devices` of them, each coefficient within 1 +- `spread`."""

    spread: Annotated[float, Field(gt=0.0, lt=1.0)]
    devices: Annotated[int, Field(ge=1, le=256)] = 8
    seed: Annotated[int, Field(ge=0)] = 1


class Variant(Record):
    """What is different from a suite's scenarios.

    Policies keep what they learned on the scenario as it is, unless `prepared_on: variant`: then they are
    tuned and trained again for the other uplink or decision time (never for a perturbed device).
    """

    name: Name
    uplink: str | None = None
    decision: DecisionChange | None = None
    perturbed: Perturbed | None = None
    prepared_on: Literal["scenario", "variant"] = "scenario"

    @model_validator(mode="after")
    def _means_something(self) -> Variant:
        if self.name == OWN:
            raise ValueError(f"{OWN!r} is the scenario as it is: choose another name")
        if self.uplink is None and self.decision is None and self.perturbed is None:
            raise ValueError("changes nothing: give uplink, decision or perturbed")
        if self.prepared_on == "variant":
            if self.uplink is None and self.decision is None:
                raise ValueError("prepared_on: variant needs an uplink or a decision to prepare for")
            if self.decision is not None and self.decision.latency_ms == MEASURED:
                raise ValueError("prepared_on: variant needs a latency_ms in numbers")
        return self

    def scenario_changes(self, measured_ms: float | None) -> dict[str, Any]:
        """The fields of a scenario that are different; `measured_ms` stands in for a measured decision."""
        changes: dict[str, Any] = {}
        if self.uplink is not None:
            changes["uplink"] = self.uplink
        if self.decision is not None:
            given = self.decision.latency_ms
            latency_ms = measured_ms if given == MEASURED else given
            changes["decision"] = {"mode": self.decision.mode, "latency_ms": latency_ms}
        return changes


class ScenarioEntry(Record):
    """A scenario of a suite: `like` a shipped one or a file, with some fields changed; a mapping in `changes`
    changes only the fields it names.
    """

    name: Name
    like: str
    changes: dict[str, Any] = Field(default_factory=dict)


class AgentEntry(Record):
    """A learner with its training: `seeds` runs (0, 1, ...) of `steps` environment steps or `minutes` each.

    `agent` is a shipped configuration or a file; `name` is what tables print (default: that of the file).
    """

    agent: str
    name: Name | None = None
    seeds: Annotated[int, Field(ge=1, le=1000)] = 5
    steps: Count | None = None
    minutes: Annotated[float, Field(gt=0.0)] | None = None

    @model_validator(mode="after")
    def _one_budget(self) -> AgentEntry:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("needs a budget: either steps or minutes")
        return self

    @property
    def label(self) -> str:
        """What tables print."""
        return self.name or Path(self.agent).stem


class Suite(Record):
    """Everything a suite's results depend on, besides the scenarios' data.

    `ours` is the contestant that others are told relative to; default: the first agent, else the planner.
    `dvfo_table` adds energy and latency relative to ours beside the figures that DVFO reports.
    """

    name: Name
    title: str
    description: str = ""
    episodes: Annotated[int, Field(ge=4, le=65536)] = 128
    scenarios: Annotated[tuple[Name | ScenarioEntry | str, ...], Field(min_length=1)]
    variants: tuple[Variant, ...] = ()
    baselines: Literal["all"] | tuple[str, ...] = "all"
    agents: tuple[AgentEntry, ...] = ()
    ours: str | None = None
    dvfo_table: bool = False

    @model_validator(mode="after")
    def _unique(self) -> Suite:
        for what, names in (
            ("variants", [variant.name for variant in self.variants]),
            ("agents", [agent.label for agent in self.agents]),
            ("scenarios", [_entry_name(entry) for entry in self.scenarios]),
        ):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{what}: {twice!r} stands there twice")
        for variant in self.variants:
            if variant.perturbed and variant.perturbed.devices > self.episodes:
                raise ValueError(f"variants: {variant.name}: more devices than episodes")
        return self

    @cached_property
    def baseline_names(self) -> tuple[str, ...]:
        """The baselines that take part, references first."""
        names = baseline_names() if self.baselines == "all" else self.baselines
        return tuple(dict.fromkeys((*REFERENCES, *names)))

    @cached_property
    def our_name(self) -> str:
        """The contestant that others are told relative to."""
        return self.ours or (self.agents[0].label if self.agents else "planner")


def _entry_name(entry: str | ScenarioEntry) -> str:
    return entry if isinstance(entry, str) else entry.name


def list_suites() -> tuple[str, ...]:
    """Names of the shipped suites, sorted."""
    return tuple(sorted(file.stem for file in (configs_folder() / SUITE_FOLDER).glob("*.yaml")))


def load_suite(source: str | Path) -> Suite:
    """Load a suite by shipped name or from a YAML file; files it names are relative to it.

    Raises:
        ConfigError: unknown name, key, baseline or agent, wrong type or range; names file and field.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        path = configs_folder() / SUITE_FOLDER / f"{source}.yaml"
        if not path.is_file():
            raise ConfigError(
                f"suite {str(source)!r}: not a shipped suite and not a .yaml file; "
                f"shipped: {', '.join(list_suites())}"
            )
    suite = _resolved(load_yaml(path, Suite), path.parent)
    known = baseline_names()
    for name in suite.baseline_names:
        if name not in known:
            raise ConfigError(f"{path}: baselines: {name!r} is not a baseline; known: {', '.join(known)}")
    taken = [*known, BOUND]
    for entry in suite.agents:
        if entry.label in taken:
            raise ConfigError(f"{path}: agents: {entry.label!r} is the name of a baseline: give another name")
        try:
            load_agent_config(entry.agent)
        except ConfigError as error:
            raise ConfigError(f"{path}: agents: {error}") from None
    if suite.ours is not None and suite.ours not in [*taken, *(entry.label for entry in suite.agents)]:
        raise ConfigError(f"{path}: ours: {suite.ours!r} is neither a baseline nor an agent of this suite")
    suite_scenarios(suite)
    return suite


def suite_scenarios(suite: Suite) -> dict[str, Scenario]:
    """The suite's scenarios by name.

    Raises:
        ConfigError: one does not exist or cannot be changed so; two have the same name.
    """
    found: dict[str, Scenario] = {}
    for entry in suite.scenarios:
        if isinstance(entry, str):
            scenario = load_scenario(entry)
        else:
            scenario = _changed(load_scenario(entry.like), entry)
        if scenario.name in found:
            raise ConfigError(f"suite {suite.name}: scenarios: {scenario.name!r} stands there twice")
        found[scenario.name] = scenario
    return found


def _changed(scenario: Scenario, entry: ScenarioEntry) -> Scenario:
    changes: dict[str, Any] = {"name": entry.name, **entry.changes}
    for field, value in changes.items():
        if isinstance(value, dict) and isinstance(before := getattr(scenario, field, None), BaseModel):
            changes[field] = before.model_dump() | value
    return load_scenario(scenario, **changes)


def agent_config(entry: AgentEntry) -> AgentConfig:
    """The configuration of one of the suite's learners.

    Raises:
        ConfigError: it does not exist or does not fit its schema.
    """
    return load_agent_config(entry.agent)


def _resolved(suite: Suite, folder: Path) -> Suite:
    """The suite with the names of files made absolute."""

    def absolute(name: str) -> str:
        is_file = "/" in name or Path(name).suffix in (".yaml", ".yml", ".csv", ".txt", ".json")
        return str((folder / name).resolve()) if is_file else name

    def entry(given: str | ScenarioEntry) -> str | ScenarioEntry:
        if isinstance(given, str):
            return absolute(given)
        return given.model_copy(update={"like": absolute(given.like)})

    return suite.model_copy(
        update={
            "scenarios": tuple(entry(given) for given in suite.scenarios),
            "variants": tuple(
                variant.model_copy(update={"uplink": absolute(variant.uplink)}) if variant.uplink else variant
                for variant in suite.variants
            ),
            "agents": tuple(
                agent.model_copy(update={"agent": absolute(agent.agent)}) for agent in suite.agents
            ),
        }
    )
