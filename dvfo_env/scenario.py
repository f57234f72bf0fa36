"""What a person chooses: one frozen Scenario, read from a YAML file of one screen.

A scenario names its device, workload, uplink, server and accuracy table (each a shipped name or a file),
says which values of every action part are free, how requests arrive, and what counts as cost. Nothing here
computes: `tables.compile_scenario` turns a Scenario into numbers.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dvfo_env.errors import ConfigError
from dvfo_env.schema import Record, parse_record, read_yaml

Choice = Literal["all"]
PositiveMs = Annotated[float, Field(gt=0.0, le=3_600_000.0)]
EnergyDefinition = Literal["board", "dynamic", "rails"]


class ActionAxes(Record):
    """Which values of each action part the agent may choose; `all` means every legal one.

    A part with a single value is pinned: it is not part of the agents' action.
    """

    cuts: Choice | tuple[str, ...] = "all"
    mappings: Choice | tuple[str, ...] = "all"
    cpu_mhz: Choice | tuple[float, ...] = "all"
    gpu_mhz: Choice | tuple[float, ...] = "all"
    mem_mhz: Choice | tuple[float, ...] = "all"
    compression: Choice | tuple[str, ...] = "all"

    @model_validator(mode="after")
    def _not_empty(self) -> ActionAxes:
        for name in type(self).model_fields:
            values = getattr(self, name)
            if values != "all" and (len(values) == 0 or len(set(values)) != len(values)):
                raise ValueError(f"{name} needs at least one value and no value twice")
        return self


class Requests(Record):
    """When requests arrive and how long they stay useful.

    A request that has waited longer than `queue_limit_ms` when the device becomes free is dropped unanswered
    and
    costs as much as an out-of-the-box answer that comes `queue_limit_ms` late and misses its deadline.

    `difficulty`: with `averaged` every request loses the accuracy that images lose on average; with `known`
    each belongs to a class of difficulty of the accuracy table, loses what images of its class lose, and the
    agent is told the class, as a perfect predictor of difficulty would tell it.
    """

    arrival: Literal["periodic", "poisson"] = "periodic"
    period_ms: PositiveMs
    deadline_ms: PositiveMs
    queue_limit_ms: PositiveMs = 2000.0
    difficulty: Literal["averaged", "known"] = "averaged"


class Objective(Record):
    """The cost of a request; the reward is its negative.

    cost = eta * E / E_ref + (1 - eta) * L / L_ref + accuracy_weight_per_point * (points lost)
           + deadline_weight * [L > deadline]

    `normalised`: E_ref and L_ref are energy and latency of the device out of the box (everything local, first
    mapping, highest clocks), so 1.0 is what the device does untouched. `dvfo`: the form of DVFO (Zhang et
    al.,
    IEEE TMC 2024), eta * E + (1 - eta) * P_max * L, divided by the constant P_max * L_ref so that it has no
    unit.

    `eta` is a number, or a (low, high) pair: then each episode draws its own, and the observation carries it.
    `energy` says which energy counts: `board` (everything at the input connector), `dynamic` (board minus the
    quiet
    idle power) or `rails` (compute rails only). Radio energy is added in all three.
    """

    cost: Literal["normalised", "dvfo"] = "normalised"
    eta: Annotated[float, Field(ge=0.0, le=1.0)] | tuple[float, float] = 0.5
    accuracy_weight_per_point: Annotated[float, Field(ge=0.0, le=100.0)] = 0.02
    deadline_weight: Annotated[float, Field(ge=0.0, le=100.0)] = 0.2
    energy: EnergyDefinition = "board"

    @model_validator(mode="after")
    def _eta_range(self) -> Objective:
        if isinstance(self.eta, tuple) and not 0.0 <= self.eta[0] <= self.eta[1] <= 1.0:
            raise ValueError(f"eta {list(self.eta)} must satisfy 0 <= low <= high <= 1")
        return self

    @property
    def eta_range(self) -> tuple[float, float]:
        """(low, high) of eta; equal when it is fixed."""
        return self.eta if isinstance(self.eta, tuple) else (self.eta, self.eta)


class Thermal(Record):
    """Whether temperature is simulated, and the air around the device; None keeps the profile's ambient."""

    enabled: bool = True
    ambient_c: Annotated[float, Field(ge=-40.0, le=85.0)] | None = None


class Decision(Record):
    """What it costs to decide: the time from an observation to the joint action that is computed from it.

    `free`: no time. `blocking`: computing begins when the device takes a request up, and the request waits
    for it. `concurrent`: computing begins when the device takes the previous request up and runs beside it;
    the request waits only for what is then left. Until a decision is there the clocks stay as they are, and
    computing it costs one core at the power of encoding. `latency_ms` is to be measured, with the policy and
    the board at hand.
    """

    mode: Literal["free", "blocking", "concurrent"] = "free"
    latency_ms: Annotated[float, Field(ge=0.0, le=3_600_000.0)] = 0.0

    @model_validator(mode="after")
    def _free_takes_no_time(self) -> Decision:
        if self.mode == "free" and self.latency_ms > 0.0:
            raise ValueError(f"latency_ms {self.latency_ms:g} needs mode blocking or concurrent")
        return self


class Battery(Record):
    """Energy at the start of an episode; the episode terminates when it is used up."""

    capacity_mj: Annotated[float, Field(gt=0.0)]


class Scenario(Record):
    """One benchmark problem. Every field that is a measure carries its unit in its name.

    `server_load`: `shared` with others, as the server's load process says, or `none`: nobody else uses it.
    `accuracy`: the table of accuracy, bytes and encoding times, or `assumed` for one derived from other
    networks (labelled so); `compression_levels`: how many of its Pareto-optimal settings each cut offers;
    `most_points_lost`: settings that lose more accuracy than this on average are not offered (None: all are).

    `offload_timeout_ms`: an answer that is not back this long after sending began never counts; the request
    then
    finishes on the device, with the first mapping and the highest clocks. `link_monitor_ms`: how often the
    device
    learns the rate of its link without sending a feature (the driver's rate control, other traffic); the rate
    it
    learns is that of the time just past. None: it learns from its own transfers only.
    """

    name: str
    title: str
    description: str = ""
    device: str
    workload: str
    uplink: str
    server: str
    server_load: Literal["shared", "none"] = "shared"
    accuracy: str
    compression_levels: Annotated[int, Field(ge=1, le=64)] = 8
    most_points_lost: Annotated[float, Field(ge=0.0, le=100.0)] | None = None
    action: ActionAxes = ActionAxes()
    requests: Requests
    objective: Objective = Objective()
    offload_timeout_ms: PositiveMs = 1000.0
    link_monitor_ms: PositiveMs | None = None
    thermal: Thermal = Thermal()
    battery: Battery | None = None
    decision: Decision = Decision()
    episode_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 256

    @cached_property
    def summary(self) -> str:
        """One line for tables: device, workload, uplink."""
        return f"{self.device}, {self.workload}, {self.uplink}"


SCENARIO_FOLDER = "scenarios"


def configs_folder() -> Path:
    """The folder of shipped configuration files, in a checkout and in an installed wheel alike."""
    import dvfo_configs

    return Path(dvfo_configs.__path__[0])


def list_scenarios() -> tuple[str, ...]:
    """Names of the shipped scenarios, sorted; the alias `default` is not listed."""
    names = (file.stem for file in (configs_folder() / SCENARIO_FOLDER).glob("*.yaml"))
    return tuple(sorted(name for name in names if name != "default"))


def load_scenario(source: str | Path | Scenario, **changes: Any) -> Scenario:
    """Load a scenario by shipped name, from a YAML file, or pass one through.

    A file holding only `alias: NAME` stands for that scenario. Names of files inside it (device, uplink, ...)
    are
    taken relative to the scenario file. `changes` replace top-level fields, for example `uplink="trace.csv"`.

    Raises:
        ConfigError: unknown name, missing file, unknown key, wrong type, unit or range; names file and field.
    """
    if isinstance(source, Scenario):
        return replace(source, **changes)
    path = _scenario_path(source)
    data = read_yaml(path)
    if isinstance(data, dict) and set(data) == {"alias"}:
        return load_scenario(str(data["alias"]), **changes)
    scenario = parse_record(data, Scenario, where=str(path))
    local_files = {
        field: str((path.parent / getattr(scenario, field)).resolve())
        for field in ("device", "workload", "uplink", "server", "accuracy")
        if _is_file_name(getattr(scenario, field)) and field not in changes
    }
    return replace(scenario, **{**local_files, **changes})


def replace(scenario: Scenario, **changes: Any) -> Scenario:
    """A copy of `scenario` with some top-level fields changed, validated again.

    Raises:
        ConfigError: when a changed field does not fit.
    """
    if not changes:
        return scenario
    data = scenario.model_dump()
    data.update(changes)
    return parse_record(data, Scenario, where=scenario.name)


def _is_file_name(value: str) -> bool:
    return "/" in value or value.endswith((".yaml", ".yml", ".json", ".csv", ".txt", ".gz", ".up", ".down"))


def _scenario_path(source: str | Path) -> Path:
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    shipped = configs_folder() / SCENARIO_FOLDER / f"{source}.yaml"
    if not shipped.is_file():
        known = ", ".join(list_scenarios())
        raise ConfigError(
            f"scenario {str(source)!r}: not a shipped scenario and not a file; shipped: {known}"
        )
    return shipped
