"""What is known of one server: whole-network times and its load process, every number with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from dvfo_env.errors import ConfigError
from dvfo_env.schema import Coefficient, Evidence, Record, load_yaml

_PROFILES = Path(__file__).parent / "profiles"


class LoadProcess(Record):
    """Multiplicative load over wall time: factor = 1 + exp(mu + sigma z), z a Gaussian AR(1) process.

    `mean_factor` is the mean of the factor (1 = always idle), `log_std` is sigma, the spread of log(factor -
    1), and `correlation_time_ms` the time after which the autocorrelation of z has fallen to 1/e.
    """

    mean_factor: Coefficient
    log_std: Coefficient
    correlation_time_ms: Coefficient

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.mean_factor.value < 1.0:
            raise ValueError(
                f"mean_factor: {self.mean_factor.value:g} is below 1, the factor of an idle server"
            )
        if self.log_std.value < 0.0:
            raise ValueError(f"log_std: {self.log_std.value:g} is below 0")
        if self.correlation_time_ms.value <= 0.0:
            raise ValueError(f"correlation_time_ms: {self.correlation_time_ms.value:g} must be above 0")
        return self


class MeasuredTails(Record):
    """Time of what follows each cut of one workload on the unloaded server (ms), keyed by the cut's name.

    The last cut is left out: nothing follows it.
    """

    tail_ms: Annotated[dict[str, Annotated[float, Field(ge=0.0)]], Field(min_length=1)]
    evidence: Evidence
    source: str
    error_percent: float | None = None
    note: str | None = None

    def coefficient(self) -> Coefficient:
        """The table as one labelled coefficient, the longest tail."""
        return Coefficient(
            value=max(self.tail_ms.values()),
            unit="ms",
            evidence=self.evidence,
            source=self.source,
            error_percent=self.error_percent,
            note=self.note or f"{len(self.tail_ms)} tails, each by itself",
        )


class ServerProfile(Record):
    """One server.

    Attributes:
        name, title: what it is called in files, and what a reader calls it.
        runtime: software, precision and setting the times were taken with.
        network_ms: workload -> time of the whole network on the unloaded server, ms, batch 1.
        other_ms_per_gflop: time per GFLOP for a workload that is not in `network_ms`.
        tail_share: exponent of a tail's share of the FLOPs in its share of the whole-network time; 1 =
            proportional.
        tails: workload -> tails measured one by one; they count before `network_ms` and `tail_share`.
        load: the load process; None for a server of one's own, which nobody else keeps busy.
    """

    name: str
    title: str
    runtime: str
    network_ms: dict[str, Coefficient]
    other_ms_per_gflop: Coefficient
    tail_share: Coefficient
    tails: dict[str, MeasuredTails] = Field(default_factory=dict)
    load: LoadProcess | None = None

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.other_ms_per_gflop.value <= 0.0:
            raise ValueError(f"other_ms_per_gflop: {self.other_ms_per_gflop.value:g} must be above 0")
        if self.tail_share.value <= 0.0:
            raise ValueError(f"tail_share: {self.tail_share.value:g} must be above 0")
        for workload, latency in self.network_ms.items():
            if latency.value <= 0.0:
                raise ValueError(f"network_ms.{workload}: {latency.value:g} must be above 0")
        return self

    def coefficients(self) -> dict[str, Coefficient]:
        """Every number of the profile by its dotted field name, with source and evidence."""
        load = (
            {f"load.{field}": getattr(self.load, field) for field in LoadProcess.model_fields}
            if self.load
            else {}
        )
        tails = {f"tails.{workload}": table.coefficient() for workload, table in self.tails.items()}
        networks = {f"network_ms.{workload}": value for workload, value in self.network_ms.items()}
        rest = {"other_ms_per_gflop": self.other_ms_per_gflop, "tail_share": self.tail_share}
        return {**networks, **tails, **rest, **load}


def list_servers() -> tuple[str, ...]:
    """Names of the shipped servers, sorted."""
    return tuple(sorted(path.stem for path in _PROFILES.glob("*.yaml")))


def load_server(name_or_path: str | Path) -> ServerProfile:
    """Load a shipped server by its name, or any profile by the path of its YAML file.

    Raises:
        ConfigError: the name is unknown (the message lists the known ones), or the file does not fit the
            schema.
    """
    if isinstance(name_or_path, Path) or str(name_or_path).endswith((".yaml", ".yml")):
        return load_yaml(name_or_path, ServerProfile)
    if name_or_path not in list_servers():
        raise ConfigError(
            f"server: {name_or_path!r} is unknown; known are {', '.join(list_servers())}, or a .yaml file"
        )
    return load_yaml(_PROFILES / f"{name_or_path}.yaml", ServerProfile)
