"""The manifest of a bundle, from a compiled scenario: everything in physical units and by name."""

from __future__ import annotations

import hashlib
import math
from importlib.metadata import version

import numpy as np

from dvfo_agents.result_cache import tables_digest
from dvfo_controller import bundle as b
from dvfo_env import observation as o
from dvfo_env.tables import ACTION_PARTS, LOST, CostTables

#: kilobits to bytes
_BYTES_PER_KILOBIT = np.float32(125.0)


def manifest_of(tables: CostTables, policy: b.PolicyEntry, files: dict[str, bytes]) -> b.Manifest:
    """The manifest of a bundle of `files` for a compiled scenario."""
    p = tables.params[0]
    return b.Manifest(
        format=b.FORMAT,
        made_by=f"dvfo-env {version('dvfo-env')}",
        policy=policy,
        world=_world(tables),
        observation=observation_layout(tables),
        action=_action(tables),
        requests=_requests(tables),
        objective=b.Objective(
            **{name: float(p[name]) for name in b.Objective.__dataclass_fields__},
        ),
        trips=_trips(tables),
        battery_mj=None if math.isinf(p["battery_mj"]) else float(p["battery_mj"]),
        difficulty_classes=int(p["n_classes"]),
        files={
            name: b.FileEntry(len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()
        },
    )


def observation_layout(tables: CostTables) -> tuple[b.Feature, ...]:
    """How physical values become the features, in the order of `observation.FEATURES`.

    The constants are those of `dvfo_env.observation`; spans of shares come from the scenario.
    """
    p = tables.params[0]
    top = dict(zip(ACTION_PARTS, (max(size - 1, 1) for size in tables.sizes), strict=True))
    rate = ("Mbit/s", "log2", o.RATE_CENTRE_LOG2, o.RATE_SPAN_LOG2, -1.0)
    age = ("ms", "age", 0.0, o.SILENCE_MS, 0.0)
    count = ("count", "linear", 0.0, o.TIMEOUT_SPAN, 0.0)
    laws: dict[str, tuple[str, str, float, float, float]] = {
        "waiting": ("ms", "linear", 0.0, float(p["queue_limit_ms"]), 0.0),
        "rate_last": rate,
        "rate_before": rate,
        "rate_smooth": rate,
        "silence": age,
        "rtt": ("ms", "log2", 0.0, o.RTT_SPAN_LOG2, 0.0),
        "server_factor": ("1", "log2", 0.0, o.SERVER_SPAN_LOG2, 0.0),
        "timeouts": count,
        "temperature": ("deg C", "linear", o.TEMPERATURE_LOW_C, o.TEMPERATURE_SPAN_C, -1.0),
        "throttled": ("count", "index", 0.0, float(max(p["n_trips"], 1)), 0.0),
        "battery": ("mJ", "share", 0.0, 1.0 if math.isinf(p["battery_mj"]) else float(p["battery_mj"]), 0.0),
        "eta": ("1", "index", 0.0, 1.0, 0.0),
        "difficulty": ("class", "index", 0.0, float(max(p["n_classes"] - 1, 1)), -1.0),
        "decision_share": ("ms / ms", "share", 0.0, 1.0, 0.0),
        "answer_age": age,
        "unanswered": count,
    }
    for part in ACTION_PARTS:
        laws[f"previous_{part.replace('_mhz', '_clock')}"] = ("index", "index", 0.0, float(top[part]), -1.0)
    for clock in ("cpu", "gpu", "mem"):
        laws[f"{clock}_clock"] = ("index", "index", 0.0, float(top[f"{clock}_mhz"]), 0.0)
    return tuple(b.Feature(feature.name, *laws[feature.name]) for feature in o.FEATURES)


def _world(tables: CostTables) -> b.World:
    scenario = tables.scenario
    return b.World(
        scenario=scenario.name,
        tables_sha256=tables_digest(tables),
        device=tables.device.profile.name,
        workload=tables.device.card.name,
        uplink=scenario.uplink,
        server=scenario.server,
        accuracy=scenario.accuracy,
        input_shape=tuple(tables.device.card.input_shape),
    )


def _action(tables: CostTables) -> b.Action:
    choices = tables.choices
    known = {cut.name: cut for cut in tables.device.card.cuts}
    cuts = [known[str(name)] for name in choices["cut"]]
    levels = tuple(
        tuple(
            _level(tables, k, z, bool(cut.tensors), k == 0 and cut.position == 0)
            for z in range(tables.sizes[-1])
        )
        for k, cut in enumerate(cuts)
    )
    return b.Action(
        cuts=tuple(
            b.Cut(
                cut.name,
                cut.position,
                tuple(b.Tensor(tensor.name, tuple(tensor.shape)) for tensor in cut.tensors),
                _short(tail_ms),
            )
            for cut, tail_ms in zip(cuts, tables.tail_ms, strict=True)
        ),
        mappings=tuple(_mapping(tables, str(name)) for name in choices["mapping"]),
        cpu_mhz=tuple(float(mhz) for mhz in choices["cpu_mhz"]),
        gpu_mhz=tuple(float(mhz) for mhz in choices["gpu_mhz"]),
        mem_mhz=tuple(float(mhz) for mhz in choices["mem_mhz"]),
        compression=levels,
        out_of_the_box=tuple(int(i) for i in tables.out_of_the_box),
    )


def _level(tables: CostTables, cut: int, level: int, sends: bool, raw: bool) -> b.Level:
    codec = tables.encoders[cut][level]
    kind = "none" if not sends else "image" if raw else "bottleneck" if "bottleneck" in codec else "feature"
    row = tables.send[cut, level]
    lost = tuple(_short(points) for points in row[LOST:])
    return b.Level(kind, codec, _short(row[0] * _BYTES_PER_KILOBIT), _short(row[2]), lost)


def _short(value: np.float32) -> float:
    """The shortest decimal number that is this float32."""
    return float(str(np.float32(value)))


def _mapping(tables: CostTables, name: str) -> b.MappingChoice:
    """A base mapping, or `FIRST>SECOND@LAYER`."""
    pair, at, layer = name.partition("@")
    bases = tables.device.profile.mappings
    places = tuple(
        b.Place(base, bases[base].kind, bases[base].cluster, bases[base].threads) for base in pair.split(">")
    )
    return b.MappingChoice(name, places, layer if at else None)


def _requests(tables: CostTables) -> b.RequestClock:
    scenario = tables.scenario
    requests = scenario.requests
    return b.RequestClock(
        arrival=requests.arrival,
        period_ms=requests.period_ms,
        deadline_ms=requests.deadline_ms,
        queue_limit_ms=requests.queue_limit_ms,
        offload_timeout_ms=scenario.offload_timeout_ms,
        link_monitor_ms=scenario.link_monitor_ms,
        decision_mode=scenario.decision.mode,
        decision_ms=scenario.decision.latency_ms,
    )


def _trips(tables: CostTables) -> tuple[b.Trip, ...]:
    law = tables.device.profile.thermal
    if law is None:
        return ()
    return tuple(b.Trip(t.domain, t.temperature_c, t.release_c, t.max_mhz) for t in law.trips)
