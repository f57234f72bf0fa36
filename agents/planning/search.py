"""Exact search over the joint action for the least expected cost in a handful of possible worlds.

A world is a constant (rate, round-trip time, server factor). What an action costs in a world is asked of
`dvfo_env.serving.outcome`, the step's own physics; only the search is here. It is exact:

* For the worlds at hand, the time and energy that follow a head depend on the clocks through waiting power,
  encoder power and CPU clock alone, so `outcome` is asked once per (cut, level, world) and its breakdown
  gives a floor for every clock point.
  See `expectation`.
* For a fixed weight, the clock points of each (mapping, cut) are sorted once by what the head costs there.
  While clocks change the head runs partly at other clocks: at most `share` = longest delay / fastest head
  of it, and nowhere cheaper than at the cheapest point. Points are visited in that order until the floor
  passes the best cost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.expectation import COST_APART, HOLD_MS, HOLDS, expected_cost, penalties, remainder
from dvfo_agents.planning.seen import cost_model
from dvfo_controller.policies.space import Space, prepare_space
from dvfo_env.compiled import inline_kernel, kernel
from dvfo_env.oracle.clairvoyant import remainder_floor
from dvfo_env.serving import capped, run_head
from dvfo_env.state import OUTCOME
from dvfo_env.tables import CPU, CUT, GPU, LEVEL, MAPPING, MEM, RATE, CostTables

#: Step of the one-sample worlds [ms]: longer than anything lasts, so that rates are constant.
_FOREVER_MS = 1e15
_SLACK = 1e-9


def make_space(
    tables: CostTables,
    clocks: NDArray[np.bool_] | None = None,
    cuts: NDArray[np.integer] | None = None,
    levels: NDArray[np.integer] | None = None,
) -> Space:
    """Prepare a search over `clocks` (bool [C, G, M]; default all), `cuts` and `levels` (indices; default
    all).
    """
    return prepare_space(cost_model(tables), clocks, cuts, levels)


@kernel()  # type: ignore[untyped-decorator]
def _prepare_group(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p: Any, worlds: Any,
    weights: Any, classes: Any, s: Any,
    cut: int, lowest: float, soonest_ms: float, levels: Any, crude: Any, rest: Any, known: Any, base: Any,
    queue_share: float, best: float, scratch: Any,
) -> None:  # fmt: skip
    """Ask for the remainders a group needs; `base` [Z] is their floor apart from clocks, infinite where
    hopeless.
    """
    latency_weight = (1.0 - s.eta) * p.latency_weight_per_ms
    for z in levels:
        base[z] = np.inf
        if lowest + crude[cut, z] >= best - _SLACK:
            continue  # `best` only falls, so this level stays hopeless for the group
        r = rest[cut, z]
        if not known[cut, z]:
            remainder(
                head, idle, codec, send, tail_ms, cpu_ghz, p, worlds, weights, classes, s, cut, z, scratch, r
            )
            known[cut, z] = True
        soonest_sent_ms = soonest_ms + send[cut, z, 1] / cpu_ghz[-1]
        base[z] = r[COST_APART] + penalties(soonest_sent_ms, r, weights, p, latency_weight, head, queue_share)


@kernel()  # type: ignore[untyped-decorator]
def _visit(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p: Any, worlds: Any,
    weights: Any, classes: Any, s: Any,
    mapping: int, cut: int, points: Any, sorted_points: bool, floor: float, share: float, levels: Any,
    least: float, base: Any, rest: Any, queue_share: float, best: float, action: Any, scratch: Any,
) -> float:  # fmt: skip
    """Search the clock points and levels of one (mapping, cut); returns the best cost known afterwards."""
    last = head.shape[1] - 1
    energy_weight = s.eta * p.energy_weight_per_mj
    latency_weight = (1.0 - s.eta) * p.latency_weight_per_ms
    waited_ms = s.now_ms - s.arrival_ms
    gpus, mems = head.shape[3], head.shape[4]
    cpu_top, gpu_top = capped(s, p, head.shape[2] - 1, gpus - 1)
    for at in range(points.shape[0]):
        point = points[at]
        m = point % mems
        c, g = min(point // (gpus * mems), cpu_top), min((point // mems) % gpus, gpu_top)
        ms, mj = head[mapping, cut, c, g, m, 0], head[mapping, cut, c, g, m, 1]
        linear = energy_weight * mj + latency_weight * ms
        begun = latency_weight * waited_ms + (1.0 - share) * linear + share * floor
        if begun + least >= best - _SLACK:
            if sorted_points:
                break
            continue
        per_hold = energy_weight * 1e-3 * idle[c, g, m, 0]
        per_encode = (latency_weight + energy_weight * 1e-3 * codec[c, g, m, 0]) / cpu_ghz[c]
        exact, hopeless = False, cut < last
        begun_ms = waited_ms
        for z in levels:
            follow = 0.0
            if cut < last:
                hold = per_hold * rest[cut, z, HOLD_MS] if base[z] < np.inf else 0.0
                if begun + base[z] + hold + latency_weight * send[cut, z, 1] / cpu_ghz[-1] >= best - _SLACK:
                    continue
                hopeless = False
                follow = hold + per_encode * send[cut, z, 1]
                if begun + base[z] + follow >= best - _SLACK:
                    continue
            if not exact:
                early_ms, early_mj, _, late_ms, late_mj, _ = run_head(head, s, p, mapping, cut, c, g, m)
                begun_ms = waited_ms + early_ms + late_ms
                begun = latency_weight * begun_ms + energy_weight * (early_mj + late_mj)
                exact = True
            if cut < last:
                r = rest[cut, z]
                encode_ms = send[cut, z, 1] / cpu_ghz[c]
                low = begun + r[COST_APART] + follow
                low += penalties(begun_ms + encode_ms, r, weights, p, latency_weight, head, queue_share)
                if low >= best - _SLACK:
                    continue
            elif begun >= best - _SLACK:
                break
            cost = expected_cost(head, idle, codec, send, tail_ms, cpu_ghz, p, worlds, weights, classes, s, cut, mapping, c, g, m, z, queue_share, scratch)  # fmt: skip  # noqa: E501
            if cost < best:
                best = cost
                action[CUT], action[MAPPING], action[LEVEL] = cut, mapping, z
                action[CPU], action[GPU], action[MEM] = point // (gpus * mems), (point // mems) % gpus, m
            if cut == last:
                break  # nothing is sent: the level makes no difference
        if hopeless and cut == 0 and floor == 0.0 and sorted_points:
            break  # every later point costs more to wait at
    return best


@inline_kernel()  # type: ignore[untyped-decorator]
def _least(crude: Any, cut: int, last: int, levels: Any) -> float:
    """Floor of what follows a head, over all levels."""
    if cut == last:
        return 0.0
    least = np.inf
    for z in levels:
        least = min(least, crude[cut, z])
    return least


@kernel()  # type: ignore[untyped-decorator]
def _search_one(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p: Any, worlds: Any,
    weights: Any, classes: Any, s: Any,
    order: Any, floor: Any, shares: Any, cuts: Any, levels: Any, wait_mw: float, queue_share: float,
    action: Any, crude: Any, one: Any, base: Any, rest: Any, known: Any, scratch: Any,
) -> float:  # fmt: skip
    """Write the joint action with the least expected cost for state `s` into `action` [6]; returns that
    cost.
    """
    last = head.shape[1] - 1
    latency_weight = (1.0 - s.eta) * p.latency_weight_per_ms
    waited = latency_weight * (s.now_ms - s.arrival_ms)
    stride = worlds.shape[0] // weights.shape[0]
    for k in range(last):
        for z in levels:
            crude[k, z], known[k, z] = 0.0, False
    for w in range(weights.shape[0]):
        if weights[w] <= 0.0:
            continue
        s.offset = w * stride
        rate = worlds[s.offset, RATE]
        for size in range(1, stride):
            rate = max(rate, worlds[s.offset + size, RATE])
        remainder_floor(send, tail_ms, p, worlds, s, cpu_ghz[-1], wait_mw, rate, one)
        for k in range(last):
            for z in levels:
                crude[k, z] += weights[w] * one[k, z]
    at = 0.0
    if order.shape[0] > 1:
        at = (s.eta - p.eta_low) / (p.eta_high - p.eta_low) * (order.shape[0] - 1)
    near, below = int(at + 0.5), min(int(at), order.shape[0] - 1)
    above = min(below + 1, order.shape[0] - 1)
    # the floor of a head is concave in eta, so the chord between two weights lies below it
    best = expected_cost(head, idle, codec, send, tail_ms, cpu_ghz, p, worlds, weights, classes, s, action[CUT], action[MAPPING], action[CPU], action[GPU], action[MEM], action[LEVEL], queue_share, scratch)  # fmt: skip  # noqa: E501
    first_u, first_k, least = 0, cuts[0], np.inf
    for u in range(head.shape[0]):
        for k in cuts:
            lowest = floor[below, u, k] + (at - below) * (floor[above, u, k] - floor[below, u, k])
            lowest += _least(crude, k, last, levels)
            if lowest < least:
                first_u, first_k, least = u, k, lowest
    for turn in range(2):
        for u in range(head.shape[0]):
            for k in cuts:
                if (turn == 0) != (u == first_u and k == first_k):
                    continue
                lowest = floor[below, u, k] + (at - below) * (floor[above, u, k] - floor[below, u, k])
                least = _least(crude, k, last, levels)
                if waited + lowest + least >= best - _SLACK:
                    continue
                if k < last:
                    _prepare_group(
                        head, idle, codec, send, tail_ms, cpu_ghz, p, worlds, weights, classes,
                        s, k, waited + lowest, s.now_ms - s.arrival_ms, levels, crude, rest, known, base,
                        queue_share, best,
                        scratch,
                    )  # fmt: skip
                best = _visit(
                    head, idle, codec, send, tail_ms, cpu_ghz, p, worlds, weights, classes,
                    s, u, k, order[near, u, k], order.shape[0] == 1 and s.trips == 0, lowest, shares[u, k],
                    levels, least, base, rest,
                    queue_share, best, action, scratch,
                )  # fmt: skip
    return float(best)


@kernel()  # type: ignore[untyped-decorator]
def _search_batch(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p_array: Any, worlds: Any,
    weights: Any, classes: Any, states: Any, order: Any, floor: Any, shares: Any, cuts: Any, levels: Any,
    queue_share: float, actions: Any, costs: Any, wait_mw: float, base: Any, crude: Any, one: Any,
    known: Any, rest: Any,
    scratch: Any,
) -> None:  # fmt: skip
    for i in range(states.shape[0]):
        costs[i] = _search_one(
            head, idle, codec, send, tail_ms, cpu_ghz, p_array[0], worlds[i], weights[i], classes, states[i],
            order, floor, shares, cuts, levels, wait_mw, queue_share, actions[i], crude, one, base, rest,
            known, scratch,
        )  # fmt: skip


def search(
    tables: CostTables,
    space: Space,
    states: NDArray[np.void],
    worlds: NDArray[np.float32],
    actions: NDArray[np.int64],
    queue_share: float = 0.0,
    weights: NDArray[np.float64] | None = None,
    classes: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Find the joint action with the least expected cost for every state.

    Args:
        tables: the compiled scenario.
        space: which actions to search.
        states: STATE [N]; time is counted from the request's arrival (`arrival_ms` 0). `offset` is
            overwritten.
        worlds: float32 [N, W * S, 4], columns as in a bank; RATE_LOG2 is not read. Rows from w * S on
            are world w, one for transfers of each of S size classes.
        actions: int64 [N, parts]; legal actions of `space` to begin with, overwritten by the best ones.
        queue_share: how much of what the backlog costs later requests counts as cost of this one.
        weights: probabilities float64 [N, W] of the worlds; equally likely by default, with S = 1.
        classes: size class int64 [K, Z] of what each cut and level send; all 0 by default.

    Returns:
        Expected costs float64 [N].
    """
    params = tables.params.copy()
    params["bank_step_ms"] = _FOREVER_MS
    costs = np.zeros(len(states))
    sends = tables.send.shape[:2]
    if weights is None:
        weights = np.full(worlds.shape[:2], 1.0 / worlds.shape[1])
    if classes is None:
        classes = np.zeros(sends, dtype=np.int64)
    memory = (
        np.zeros(sends[1]),
        np.zeros(sends),
        np.zeros(sends),
        np.zeros(sends, dtype=np.bool_),
        np.zeros((*sends, HOLDS + weights.shape[1])),
        np.zeros(len(OUTCOME), dtype=np.float32),
    )
    _search_batch(
        *tables.arrays[:-1], params, worlds, weights, classes, states, space.order, space.floor,
        space.shares, space.cuts, space.levels, queue_share, actions, costs, float(tables.idle[...,
        0].min()), *memory,
    )  # fmt: skip
    return costs
