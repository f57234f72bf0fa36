"""The best fixed action: one joint action for every request, found by exhaustive search on the training bank.

The search is exact on the episodes it is given. An action is given up as soon as what it has cost so far plus the
bound of everything still to come is no better than the best fixed action known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.compiled import kernel
from dvfo_env.dynamics import advance, begin_episode, outcome
from dvfo_env.oracle.bound import bound_costs
from dvfo_env.simulator import TRAINING_BANK_SEED, stream_of_seed
from dvfo_env.state import DROP_COST, DROPPED, OUTCOME, STATE
from dvfo_env.tables import CPU, CUT, GPU, LEVEL, MAPPING, MEM, CostTables


class FixedSearch(NamedTuple):
    """Result of the exhaustive search: the action, its mean cost per request, and how much work it was."""

    action: NDArray[np.int64]
    cost: float
    joint_actions: int
    requests_simulated: int


@kernel()  # type: ignore[untyped-decorator]
def _run_fixed(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p: Any, bank: Any, top: Any,
    s: Any, streams: NDArray[np.uint64], to_come: NDArray[np.float64], limit: float,
    action: NDArray[np.int64], out: Any,
) -> tuple[float, int]:  # fmt: skip
    """Total cost of one fixed action over all episodes, or infinity once it cannot stay below `limit`."""
    last = head.shape[1] - 1
    total, simulated = 0.0, 0
    for episode in range(streams.shape[0]):
        begin_episode(s, streams[episode], p, bank.shape[0], top)
        while True:
            total += outcome(
                head, idle, codec, send, tail_ms, cpu_ghz, p, bank, s, action[CUT], action[MAPPING],
                action[CPU], action[GPU], action[MEM], action[LEVEL], out,
            )  # fmt: skip
            simulated += 1
            end = advance(idle, tail_ms, p, bank, s, action[CUT], last, out)
            if out[DROPPED] > 0:
                total += out[DROP_COST]
            if end > 0:
                break
            if total + to_come[episode, s.request] >= limit:
                return np.inf, simulated
        if total + to_come[episode, to_come.shape[1] - 1] >= limit:
            return np.inf, simulated
    return total, simulated


@kernel()  # type: ignore[untyped-decorator]
def _search_fixed(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p_array: Any, bank: Any, top: Any,
    states: Any, streams: NDArray[np.uint64], to_come: NDArray[np.float64], order: NDArray[np.int64],
    best_action: NDArray[np.int64], action: NDArray[np.int64], out: Any,
) -> tuple[float, int]:  # fmt: skip
    p = p_array[0]
    best, simulated = np.inf, 0
    last = head.shape[1] - 1
    for at in range(order.shape[0]):
        code = order[at]
        for part in range(top.shape[0] - 1, -1, -1):
            action[part] = code % (top[part] + 1)
            code //= top[part] + 1
        if action[CUT] == last and action[LEVEL] > 0:
            continue  # nothing is sent: the level makes no difference
        total, steps = _run_fixed(
            head, idle, codec, send, tail_ms, cpu_ghz, p, bank, top, states[0], streams, to_come, best, action, out
        )  # fmt: skip
        simulated += steps
        if total < best:
            best = total
            for part in range(top.shape[0]):
                best_action[part] = action[part]
    return best, simulated


def best_fixed_action(
    tables: CostTables, episodes: int = 8, first_seed: int = 1_000_000, *, bank_seed: int = TRAINING_BANK_SEED
) -> FixedSearch:
    """The joint action with the least mean cost when used for every request of `episodes` training episodes."""
    seeds = first_seed + np.arange(episodes)
    floor = bound_costs(tables, seeds, bank_seed=bank_seed)
    requests = floor.shape[1]
    # to_come[e, r]: bound of requests r.. of episode e and of all later episodes; one more column for "none left"
    flat = np.concatenate([np.cumsum(floor.ravel()[::-1])[::-1], [0.0]])
    to_come = np.stack([flat[e * requests : (e + 1) * requests + 1] for e in range(episodes)])
    sizes = tables.sizes
    order = np.random.default_rng(0).permutation(tables.joint_actions)
    head_start = _promising(tables)
    order = np.concatenate([head_start, order])
    action = np.zeros(len(sizes), dtype=np.int64)
    total, simulated = _search_fixed(
        *tables.arrays,
        tables.bank(bank_seed),
        np.array(sizes, dtype=np.int64) - 1,
        np.zeros(1, dtype=STATE),
        np.array([stream_of_seed(int(seed)) for seed in seeds], dtype=np.uint64),
        to_come,
        order,
        action,
        np.zeros_like(action),
        np.zeros(len(OUTCOME), dtype=np.float32),
    )
    return FixedSearch(action, total / floor.size, tables.joint_actions, simulated)


def _promising(tables: CostTables) -> NDArray[np.int64]:
    """Codes of actions to try first: for every (cut, mapping, level), the clocks that are best for the whole network."""
    weights = tables.params[0]
    eta = 0.5 * (weights["eta_low"] + weights["eta_high"])
    whole = tables.head[:, -1]
    cost = eta * weights["energy_weight_per_mj"] * whole[..., 1]
    cost = cost + (1.0 - eta) * weights["latency_weight_per_ms"] * whole[..., 0]
    sizes = tables.sizes
    codes = []
    for u in range(sizes[MAPPING]):
        c, g, m = np.unravel_index(int(np.argmin(cost[u])), cost[u].shape)
        for k in range(sizes[CUT]):
            for z in range(sizes[LEVEL]):
                index = np.zeros(len(sizes), dtype=np.int64)
                index[CUT], index[MAPPING], index[LEVEL] = k, u, z
                index[CPU], index[GPU], index[MEM] = c, g, m
                codes.append(np.ravel_multi_index(tuple(index), sizes))
    return np.array(codes, dtype=np.int64)
