"""The best fixed action: one joint action for every request, found by exhaustive search on the training bank.

Clocks that are slower and draw more, in every phase, than others with the same cut, mapping and level are
left out. Then two stages. The screening runs every joint action that is left over many short windows spread
over the whole bank, so that rare outages are represented; an action is given up as soon as what it has cost
so far plus the bound of everything still to come exceeds the best total of its cut and mapping. The best few
of every cut and mapping are then ranked on whole episodes, where queues and heat have time to build up.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.compiled import kernel
from dvfo_env.dynamics import advance, begin_episode
from dvfo_env.oracle.bound import bound_costs
from dvfo_env.serving import outcome
from dvfo_env.simulator import TRAINING_BANK_SEED, stream_of_seed
from dvfo_env.state import DROP_COST, DROPPED, OUTCOME, STATE
from dvfo_env.tables import CPU, CUT, GPU, LEVEL, MAPPING, MEM, CostTables

#: Screening windows, their length in requests, finalists of each (cut, mapping).
WINDOWS, WINDOW_REQUESTS, FINALISTS = 128, 16, 8
#: First episode seed of the search; training and evaluation episodes have others.
FIRST_SEED = 1_000_000


class FixedSearch(NamedTuple):
    """Result of the exhaustive search: the action, its mean cost per request on whole training episodes, and
    how
    much work it was.
    """

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
        begin_episode(s, streams[episode], p, bank, top)
        while True:
            total += outcome(
                head, idle, codec, send, tail_ms, cpu_ghz, p, bank, s, action[CUT], action[MAPPING],
                action[CPU], action[GPU], action[MEM], action[LEVEL], out,
            )  # fmt: skip
            simulated += 1
            end = advance(idle, p, bank, s, action[CUT], last, out)
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
def _run_all(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p_array: Any, bank: Any,
    top: Any, states: Any, streams: NDArray[np.uint64], to_come: NDArray[np.float64],
    codes: NDArray[np.int64], best: NDArray[np.float64], totals: NDArray[np.float64],
    action: NDArray[np.int64], out: Any,
) -> int:  # fmt: skip
    """Total cost of every coded action, infinity where it was given up; returns the requests simulated.

    `best` float64 [U, K] holds the best total of each group, `[1, 1]` that of all actions together.
    """
    simulated = 0
    last = head.shape[1] - 1
    for at in range(codes.shape[0]):
        decode(codes[at], top, action)
        totals[at] = np.inf
        if action[CUT] == last and action[LEVEL] > 0:
            continue  # nothing is sent: the level makes no difference
        group_u = action[MAPPING] if best.shape[0] > 1 else 0
        group_k = action[CUT] if best.shape[1] > 1 else 0
        totals[at], steps = _run_fixed(
            head, idle, codec, send, tail_ms, cpu_ghz, p_array[0], bank, top, states[0], streams, to_come,
            best[group_u, group_k], action, out,
        )  # fmt: skip
        simulated += steps
        best[group_u, group_k] = min(best[group_u, group_k], totals[at])
    return simulated


@kernel()  # type: ignore[untyped-decorator]
def decode(code: int, top: NDArray[np.int64], action: NDArray[np.int64]) -> None:
    """Write the joint action with row-major code `code` into `action`."""
    for part in range(top.shape[0] - 1, -1, -1):
        action[part] = code % (top[part] + 1)
        code //= top[part] + 1


def best_fixed_action(
    tables: CostTables,
    episodes: int = 32,
    first_seed: int = FIRST_SEED,
    *,
    bank_seed: int = TRAINING_BANK_SEED,
) -> FixedSearch:
    """The joint action with the least mean cost when used for every request of `episodes` training
    episodes.
    """
    window = min(WINDOW_REQUESTS, tables.scenario.episode_requests)
    codes = np.concatenate([_promising(tables), np.random.default_rng(0).permutation(_undominated(tables))])
    groups = (tables.sizes[MAPPING], tables.sizes[CUT])
    screened, work = _totals(tables, codes, WINDOWS, window, first_seed, bank_seed, groups)
    finalists = _finalists(tables, codes, screened)
    requests = tables.scenario.episode_requests
    totals, more = _totals(tables, finalists, episodes, requests, first_seed + WINDOWS, bank_seed, (1, 1))
    winner = int(np.argmin(totals))
    action = np.array(np.unravel_index(int(finalists[winner]), tables.sizes), dtype=np.int64)
    return FixedSearch(
        action, float(totals[winner]) / (episodes * requests), tables.joint_actions, work + more
    )


def _totals(
    tables: CostTables, codes: NDArray[np.int64], episodes: int, requests: int, first_seed: int,
    bank_seed: int, groups: tuple[int, int],
) -> tuple[NDArray[np.float64], int]:  # fmt: skip
    """Total cost of every coded action over episodes of `requests` requests, and the requests simulated."""
    params = tables.params.copy()
    params["episode_requests"] = requests
    short = dataclasses.replace(tables, params=params)
    seeds = first_seed + np.arange(episodes)
    floor = bound_costs(short, seeds, bank_seed=bank_seed)
    # to_come[e, r]: bound of requests r.. of episode e and of all later episodes; one more column for "none
    # left"
    flat = np.concatenate([np.cumsum(floor.ravel()[::-1])[::-1], [0.0]])
    to_come = np.stack([flat[e * requests : (e + 1) * requests + 1] for e in range(episodes)])
    totals = np.empty(len(codes))
    work = _run_all(
        *short.arrays,
        tables.bank(bank_seed),
        np.array(tables.sizes, dtype=np.int64) - 1,
        np.zeros(1, dtype=STATE),
        np.array([stream_of_seed(int(seed)) for seed in seeds], dtype=np.uint64),
        to_come,
        codes,
        np.full(groups, np.inf),
        totals,
        np.zeros(len(tables.sizes), dtype=np.int64),
        np.zeros(len(OUTCOME), dtype=np.float32),
    )
    return totals, work


def _undominated(tables: CostTables) -> NDArray[np.int64]:
    """Codes of all joint actions but those whose clocks are no better than others' in any phase and worse
    in one.
    """
    sizes = tables.sizes
    points = sizes[CPU] * sizes[GPU] * sizes[MEM]
    ghz = np.repeat(tables.cpu_ghz, sizes[GPU] * sizes[MEM])
    idle, codec = tables.idle.reshape(points, 2), tables.codec.reshape(points, 2)
    waiting = np.column_stack([idle, 1.0 / ghz, codec / ghz[:, None]])
    codes = np.arange(tables.joint_actions).reshape(sizes[CUT], sizes[MAPPING], points, sizes[LEVEL])
    kept = []
    for u in range(sizes[MAPPING]):
        for k in range(sizes[CUT]):
            head = tables.head[u, k].reshape(points, 3)
            last = k == sizes[CUT] - 1
            phases = np.column_stack([head, idle[:, 1:]] if last else [head, waiting])
            no_worse = (phases[:, None] <= phases[None]).all(axis=-1)
            better = (phases[:, None] < phases[None]).any(axis=-1)
            dominated = (no_worse & better).any(axis=0)
            kept.append(codes[k, u, ~dominated, : 1 if last else None].ravel())
    return np.concatenate(kept)


def _finalists(
    tables: CostTables, codes: NDArray[np.int64], screened: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Codes of the best few of every (cut, mapping), best first."""
    ranked = np.argsort(screened, kind="stable")
    ranked = ranked[np.isfinite(screened[ranked])]
    parts = np.unravel_index(codes[ranked], tables.sizes)
    taken: dict[tuple[int, int], int] = {}
    chosen = []
    for code, cut, mapping in zip(codes[ranked], parts[CUT], parts[MAPPING], strict=True):
        if taken.get((cut, mapping), 0) < FINALISTS:
            taken[cut, mapping] = taken.get((cut, mapping), 0) + 1
            chosen.append(code)
    return np.array(chosen, dtype=np.int64)


def _promising(tables: CostTables) -> NDArray[np.int64]:
    """Codes of actions to try first: for every (cut, mapping, level), the clocks that are best for the
    whole network.
    """
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
