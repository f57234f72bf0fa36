"""What is going to be measured, written down before it is: networks, mappings, clocks, and in which order."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from dvfo_env.errors import ConfigError
from dvfo_env.hardware.clocks import DOMAINS, ClockAxis, Domain
from dvfo_env.hardware.topology import Topology

Engine = Literal["onnxruntime", "torch"]
ENGINES: tuple[Engine, ...] = ("onnxruntime", "torch")

#: (CPU, GPU, memory) clock in MHz; 0.0 on an axis without a known clock.
Clocks = tuple[float, float, float]

#: What a visit times; logs of another method are of another plan.
METHOD = "whole, head and tail at each inner cut"

#: Clocks of one domain that are measured unless more are asked for: both ends and two between.
DEFAULT_CLOCKS = 4


@dataclass(frozen=True)
class Network:
    """A network to run. `cuts` and `positions` are names and places of its cuts, as in its card.

    `source` says how a worker finds it: `shipped:NAME`, `module:FUNCTION` (a function that returns the torch
    module) or `onnx:PATH`; `digest` is that of the file behind it, or empty.
    """

    name: str
    source: str
    cuts: tuple[str, ...]
    positions: tuple[int, ...]
    input_shape: tuple[int, ...]
    digest: str = ""

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of the segments: of the cuts that end them."""
        return self.cuts[1:]

    @property
    def inner_cuts(self) -> int:
        """How many cuts have a head before them and a tail behind them; they are numbered from 1."""
        return len(self.cuts) - 2

    @property
    def turns(self) -> tuple[int, ...]:
        """Inner cuts in the order in which they are timed: the middle one, the middles of both halves, ...

        However early the time is spent, those timed are spread evenly.
        """
        found: list[int] = []
        gaps = [(0, self.inner_cuts + 1)]
        for low, high in gaps:  # grows while it is gone through
            if high - low > 1:
                found.append((low + high) // 2)
                gaps += [(low, found[-1]), (found[-1], high)]
        return tuple(found)


@dataclass(frozen=True)
class Place:
    """A mapping as it will be measured: an engine on some CPUs, or on the GPU driven by one of them."""

    name: str
    engine: Engine
    kind: Literal["cpu", "gpu"]
    cluster: str
    cpus: tuple[int, ...]
    title: str


@dataclass(frozen=True)
class Condition:
    """One thing to measure again and again: a network at a place at (CPU, GPU, memory) clocks."""

    network: str
    place: str
    clocks: Clocks

    @property
    def key(self) -> str:
        """How the log names it."""
        return f"{self.network}/{self.place}/{'/'.join(f'{mhz:g}' for mhz in self.clocks)}"


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a sample means; two runs with one hash may be put together.

    `precision_percent` is the wanted half width of every median's interval, `budget_s` the time for all;
    neither is part of the hash, so that a resumed run may change them. `machine` names processor, kernel and
    versions of the engines.
    """

    networks: tuple[Network, ...]
    places: tuple[Place, ...]
    axes: tuple[tuple[float, ...], ...]
    machine: tuple[tuple[str, str], ...]
    precision_percent: float = 2.0
    budget_s: float = 120.0

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits of what is measured."""
        data = self.as_data() | {"method": METHOD}
        del data["precision_percent"], data["budget_s"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]

    def as_data(self) -> dict[str, Any]:
        """Plain values, as the log's first line holds them."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    def place(self, name: str) -> Place:
        """The place with this name."""
        return next(place for place in self.places if place.name == name)

    def conditions(self, network: str) -> tuple[Condition, ...]:
        """Every condition of one network. CPU places stay at the highest GPU clock."""
        cpu, gpu, memory = (axis or (0.0,) for axis in self.axes)
        return tuple(
            Condition(network, place.name, (c, g, m))
            for place in self.places
            for c in cpu
            for g in (gpu if place.kind == "gpu" else gpu[-1:])
            for m in memory
        )

    def round(self, network: str, number: int) -> Iterator[Condition]:
        """All conditions once, in an order that differs from round to round but not from run to run.

        Clocks are shuffled outside and places inside: a clock is set once a round.
        """
        order = random.Random(f"{self.hash} {network} {number}")
        by_clocks: dict[Clocks, list[Condition]] = {}
        for condition in self.conditions(network):
            by_clocks.setdefault(condition.clocks, []).append(condition)
        clocks = list(by_clocks)
        order.shuffle(clocks)
        for point in clocks:
            places = by_clocks[point]
            order.shuffle(places)
            yield from places

    def lasting(self, precision_percent: float, budget_s: float) -> Plan:
        """The same plan with another stop."""
        return replace(self, precision_percent=precision_percent, budget_s=budget_s)


def places_here(
    topology: Topology, engines: tuple[Engine, ...], only: tuple[str, ...] = (), gpu: bool = False
) -> tuple[Place, ...]:
    """Mappings on this machine; with several engines each carries its engine's name behind a dash.

    Raises:
        ConfigError: `only` names one that does not exist here.
    """
    found: list[Place] = []
    for engine in engines:
        suffix = f"-{engine}" if len(engines) > 1 else ""
        for cpu_set in topology.cpu_sets():
            title = f"{cpu_set.title}, {engine}"
            found.append(Place(cpu_set.name + suffix, engine, "cpu", cpu_set.cluster, cpu_set.cpus, title))
        if gpu:
            driver = topology.clusters[-1]
            found.append(
                Place(f"gpu{suffix}", engine, "gpu", driver.name, driver.cpus[-1:], f"GPU, {engine}")
            )
    if not only:
        return tuple(found)
    names = [place.name for place in found]
    for name in only:
        if name not in names:
            raise ConfigError(f"--mappings: {name!r} does not exist here; there are {', '.join(names)}")
    return tuple(place for place in found if place.name in only)


def clock_axes(axes: Mapping[Domain, ClockAxis]) -> tuple[tuple[float, ...], ...]:
    """(CPU, GPU, memory) clocks to measure at; empty where nothing is known of a domain."""
    return tuple(axes[domain].mhz for domain in DOMAINS)
