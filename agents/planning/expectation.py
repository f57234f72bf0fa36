"""What a joint action costs on average over a handful of possible worlds, and floors of it for the search."""

from __future__ import annotations

from typing import Any

import numpy as np

from dvfo_env.compiled import kernel
from dvfo_env.serving import capped, outcome
from dvfo_env.state import (
    ACCURACY_LOST,
    ENERGY,
    FALLBACK,
    LATENCY_MS,
    NETWORK,
    RECEIVE,
    SEND,
    SERVER,
)

#: What `remainder` writes: mean cost apart from clocks, mean ms away, then ms away per world.
COST_APART, HOLD_MS, HOLDS = 0, 1, 2
_BACKLOG = 16
_LATENCY_SLACK_MS = 1e-2  # outcome rows are float32


@kernel()  # type: ignore[untyped-decorator]
def backlog_cost(latency_ms: float, latency_weight: float, head: Any, p: Any) -> float:
    """What a request that takes `latency_ms` costs those after it, if those are then
    served out of the box.

    They wait, and may miss their deadlines, until the backlog is gone (at most `_BACKLOG` are counted).
    Never falls as `latency_ms` grows.
    """
    waits_ms = latency_ms - p.period_ms
    if p.poisson != 0:
        waits_ms += p.period_ms * np.exp(-latency_ms / p.period_ms)  # expected over the next gap
    cost, serve_ms = 0.0, head[0, -1, -1, -1, -1, 0]
    for _ in range(_BACKLOG):
        if waits_ms <= 0.0:
            break
        cost += latency_weight * waits_ms
        if serve_ms <= p.deadline_ms < serve_ms + waits_ms:
            cost += p.deadline_weight
        waits_ms += serve_ms - p.period_ms
    return float(cost)


@kernel()  # type: ignore[untyped-decorator]
def expected_cost(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p: Any, worlds: Any,
    weights: Any, classes: Any, s: Any,
    cut: int, mapping: int, cpu: int, gpu: int, mem: int, level: int, queue_share: float, scratch: Any,
) -> float:  # fmt: skip
    """Mean cost of one joint action over the worlds, plus `queue_share` times that of its backlog.

    `worlds` float32 [W * S, 4]: row w * S + c is world w for transfers of size class c; `weights` [W] add up
    to 1; `classes` int64 [K, Z] is the size class of what each cut and level send.
    """
    total = 0.0
    latency_weight = (1.0 - s.eta) * p.latency_weight_per_ms
    local = cut == head.shape[1] - 1
    stride = worlds.shape[0] // weights.shape[0]
    for w in range(1 if local else weights.shape[0]):
        weight = 1.0 if local else weights[w]
        if weight <= 0.0:
            continue
        s.offset = w * stride + classes[cut, level]
        cost = outcome(head, idle, codec, send, tail_ms, cpu_ghz, p, worlds, s, cut, mapping, cpu, gpu, mem, level, scratch)  # fmt: skip  # noqa: E501
        if queue_share > 0.0:
            cost += queue_share * backlog_cost(scratch[LATENCY_MS], latency_weight, head, p)
        total += weight * cost
    return float(total)


@kernel()  # type: ignore[untyped-decorator]
def remainder(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p: Any, worlds: Any,
    weights: Any, classes: Any, s: Any, cut: int, level: int, scratch: Any, r: Any,
) -> None:  # fmt: skip
    """What follows the head of a cut that sends, apart from clocks: `r` float64 [2 + W]."""
    energy_weight = s.eta * p.energy_weight_per_mj
    latency_weight = (1.0 - s.eta) * p.latency_weight_per_ms
    stride = worlds.shape[0] // weights.shape[0]
    delay_ms = max(p.cpu_delay_ms, p.gpu_delay_ms, p.mem_delay_ms)
    cpu, gpu = capped(s, p, s.cpu, s.gpu)
    wait_mw = idle[cpu, gpu, s.mem, 0]
    r[COST_APART], r[HOLD_MS] = 0.0, 0.0
    for w in range(weights.shape[0]):
        share = weights[w]
        if share <= 0.0:
            continue
        s.offset = w * stride + classes[cut, level]
        outcome(head, idle, codec, send, tail_ms, cpu_ghz, p, worlds, s, cut, 0, s.cpu, s.gpu, s.mem, level, scratch)  # fmt: skip  # noqa: E501
        hold_ms = scratch[SEND] + scratch[NETWORK] + scratch[SERVER] + scratch[RECEIVE]
        radio_mj = scratch[ENERGY + SEND] + scratch[ENERGY + NETWORK] + scratch[ENERGY + SERVER] + scratch[ENERGY + RECEIVE]  # fmt: skip  # noqa: E501
        radio_mj -= hold_ms * wait_mw * 1e-3
        cost = latency_weight * hold_ms + energy_weight * radio_mj
        cost += p.accuracy_weight_per_point * scratch[ACCURACY_LOST]
        r[COST_APART] += cost * share
        r[HOLD_MS] += hold_ms * share
        # a request that times out is finished on the device; the clock change before that depends on the
        # action
        fallback_ms = scratch[FALLBACK] - delay_ms
        fallback_mj = scratch[ENERGY + FALLBACK] - delay_ms * wait_mw * 1e-3
        r[COST_APART] += max(0.0, latency_weight * fallback_ms + energy_weight * fallback_mj) * share
        r[HOLDS + w] = hold_ms


@kernel()  # type: ignore[untyped-decorator]
def penalties(
    begun_ms: float, r: Any, weights: Any, p: Any, latency_weight: float, head: Any, queue_share: float
) -> float:
    """Floor of deadline misses and of the backlog's cost, when sending begins no sooner than `begun_ms`."""
    cost = 0.0
    for w in range(weights.shape[0]):
        if weights[w] <= 0.0:
            continue
        latency_ms = begun_ms + r[HOLDS + w] - _LATENCY_SLACK_MS
        if latency_ms > p.deadline_ms:
            cost += weights[w] * p.deadline_weight
        if queue_share > 0.0:
            cost += weights[w] * queue_share * backlog_cost(latency_ms, latency_weight, head, p)
    return float(cost)
