"""Runs a policy on held-out episodes and keeps what each episode came to. Knows policies by their interface
only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.policy import LearnsOnline, Policy, SeesTrueState
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_env.oracle import bound_costs
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.state import (
    ACCURACY_LOST,
    CPU_INDEX,
    DEADLINE_MISSED,
    DROPPED,
    ENERGY_MJ,
    GPU_INDEX,
    LATENCY_MS,
    MEM_INDEX,
    TIMED_OUT,
)
from dvfo_env.tables import ACTION_PARTS, CUT, LEVEL, RATE, CostTables

#: Held-out episodes per evaluation unless asked otherwise.
DEFAULT_SEEDS = 128
#: Held-out banks (uplink, round-trip times, server load) the episodes are spread over; 0 is the training
#: bank.
BANKS = 4
#: First episode seed of evaluations; training, the search for the best fixed action and tuning lie below.
FIRST_SEED = 2_000_000
_TRACED = 8
_SUMS = (
    "answered", "dropped", "missed", "timed_out", "offloaded", "cost", "latency_ms", "energy_mj",
    "accuracy_lost",
)  # fmt: skip
_DECISIONS = 220
_WARM_UP = 20


class SeedBlock(NamedTuple):
    """Episodes `episode_seeds` int64 [n] that live in one bank and run as one batch."""

    bank_seed: int
    episode_seeds: NDArray[np.int64]


class Moments(NamedTuple):
    """What happened request by request in the first episodes of a block; rows are requests in order of
    service.

    episode int64 [V] which episode; arrival_ms, rate_mbps (true, when service began), latency_ms float64 [V];
    action int64 [V, parts] as asked for; clocks int64 [V, 3] as in force (CPU, GPU, memory indices).
    """

    episode: NDArray[np.int64]
    arrival_ms: NDArray[np.float64]
    rate_mbps: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    action: NDArray[np.int64]
    clocks: NDArray[np.int64]


@dataclass(frozen=True)
class Episodes:
    """Sums per episode of one policy; arrays are [E] over all blocks in order.

    requests, answered, dropped, missed (late or dropped), timed_out, offloaded: counts; cost: total,
    dropped requests included; latency_ms, energy_mj, accuracy_lost: sums over answered requests.
    `latencies_ms` float64 [V] holds every answered request's latency, of episode `latency_episode` int64
    [V]. `usage` counts choices of each part.
    """

    bank_seed: NDArray[np.int64]
    episode_seed: NDArray[np.int64]
    requests: NDArray[np.float64]
    answered: NDArray[np.float64]
    dropped: NDArray[np.float64]
    missed: NDArray[np.float64]
    timed_out: NDArray[np.float64]
    offloaded: NDArray[np.float64]
    cost: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    energy_mj: NDArray[np.float64]
    accuracy_lost: NDArray[np.float64]
    latencies_ms: NDArray[np.float64]
    latency_episode: NDArray[np.int64]
    usage: dict[str, NDArray[np.int64]] = field(repr=False)
    moments: Moments = field(repr=False)

    @property
    def cost_per_request(self) -> NDArray[np.float64]:
        """Mean cost per request of each episode, float64 [E]."""
        return self.cost / self.requests


def held_out(seeds: int = DEFAULT_SEEDS) -> tuple[SeedBlock, ...]:
    """`seeds` held-out episodes, spread evenly over up to `BANKS` banks that training never uses.

    The first n of `held_out(m)` are not those of `held_out(n)`: the spread changes. Seeds are disjoint
    between banks.
    """
    banks = min(BANKS, max(seeds, 1))
    parts = np.array_split(FIRST_SEED + np.arange(max(seeds, 1), dtype=np.int64), banks)
    return tuple(SeedBlock(TRAINING_BANK_SEED + 1 + bank, part) for bank, part in enumerate(parts))


def run_policy(policy: Policy, tables: CostTables, blocks: tuple[SeedBlock, ...]) -> Episodes:
    """Run every episode of `blocks`; equal blocks meet exactly the same world whatever the policy does.

    Raises:
        ActionError: the policy gave an action that is out of range.
    """
    return join_episodes([_run_block(policy, tables, block) for block in blocks if len(block.episode_seeds)])


def join_episodes(runs: list[Episodes]) -> Episodes:
    """Several batches of episodes of one policy as one, in order; moments are those of the first."""
    offsets = np.cumsum([0, *(len(run.requests) for run in runs[:-1])])
    joined = {
        name: np.concatenate([getattr(run, name) for run in runs])
        for name in Episodes.__dataclass_fields__
        if name not in ("usage", "moments", "latency_episode")
    }
    return Episodes(
        **joined,
        latency_episode=np.concatenate(
            [run.latency_episode + offset for run, offset in zip(runs, offsets, strict=True)]
        ),
        usage={
            part: sum((run.usage[part] for run in runs[1:]), runs[0].usage[part]) for part in ACTION_PARTS
        },
        moments=runs[0].moments,
    )


def bound_per_episode(tables: CostTables, blocks: tuple[SeedBlock, ...]) -> NDArray[np.float64]:
    """The bound's cost per request of every episode, float64 [E]; kept on disk, since it takes seconds."""
    digest = tables_digest(tables)
    values = []
    for block in blocks:
        seeds = f"{block.bank_seed}-{block.episode_seeds[0]}-{len(block.episode_seeds)}"
        key = f"{digest[:24]}-{seeds}"
        stored = (recall("bound", key) or {}).get("costs")
        if isinstance(stored, list) and len(stored) == len(block.episode_seeds):
            values.append(np.array(stored, dtype=np.float64))
            continue
        found = bound_costs(tables, block.episode_seeds, bank_seed=block.bank_seed).mean(axis=1)
        remember("bound", key, {"costs": found.tolist()})
        values.append(found)
    return np.concatenate(values)


def _run_block(policy: Policy, tables: CostTables, block: SeedBlock) -> Episodes:
    n, requests = len(block.episode_seeds), tables.scenario.episode_requests
    simulator = Simulator(tables, n, bank_seed=block.bank_seed, autoreset=False)
    observations = simulator.reset(block.episode_seeds)
    policy.reset(n)
    if isinstance(policy, SeesTrueState):
        policy.bind(simulator)
    sums = {name: np.zeros(n) for name in _SUMS}
    latencies = np.full((requests, n), np.nan)
    usage = {
        part: np.zeros(size, dtype=np.int64) for part, size in zip(ACTION_PARTS, tables.sizes, strict=True)
    }
    running = np.ones(n, dtype=bool)
    traced: list[tuple[NDArray[np.generic], ...]] = []
    local = tables.sizes[CUT] - 1
    for at in range(requests):
        actions = policy.act(observations)
        before = simulator.states[:_TRACED].copy()
        batch = simulator.step(actions)
        if isinstance(policy, LearnsOnline):
            policy.learn(-batch.rewards.astype(np.float64))
        rows = batch.outcomes
        sent = actions[:, CUT] < local
        sums["answered"] += running
        sums["dropped"] += running * rows[:, DROPPED]
        sums["missed"] += running * (rows[:, DEADLINE_MISSED] + rows[:, DROPPED])
        sums["timed_out"] += running * rows[:, TIMED_OUT]
        sums["offloaded"] += running * sent
        sums["cost"] -= np.where(running, batch.rewards, 0.0)
        sums["latency_ms"] += np.where(running, rows[:, LATENCY_MS], 0.0)
        sums["energy_mj"] += np.where(running, rows[:, ENERGY_MJ], 0.0)
        sums["accuracy_lost"] += np.where(running, rows[:, ACCURACY_LOST], 0.0)
        latencies[at, running] = rows[running, LATENCY_MS]
        for column, part in enumerate(ACTION_PARTS):
            counted = running & sent if column == LEVEL else running
            usage[part] += np.bincount(actions[counted, column], minlength=len(usage[part]))
        keep = np.flatnonzero(running[:_TRACED])
        clocks = rows[keep][:, [CPU_INDEX, GPU_INDEX, MEM_INDEX]].astype(np.int64)
        traced.append((keep, before[keep], rows[keep, LATENCY_MS].astype(np.float64), actions[keep], clocks))
        running &= batch.ends == 0
        if not running.any():
            break
        observations = batch.observations
    answered = ~np.isnan(latencies)
    return Episodes(
        bank_seed=np.full(n, block.bank_seed, dtype=np.int64),
        episode_seed=block.episode_seeds,
        requests=np.full(n, float(requests)),
        latencies_ms=latencies[answered],
        latency_episode=np.nonzero(answered)[1],
        usage=usage,
        moments=_moments(simulator, traced),
        **sums,
    )


def _moments(simulator: Simulator, traced: list[tuple[NDArray[np.generic], ...]]) -> Moments:
    episode, states, latency_ms, action, clocks = (
        np.concatenate(column) for column in zip(*traced, strict=True)
    )
    step_ms = float(simulator.tables.params[0]["bank_step_ms"])
    sample = (states["offset"] + (states["now_ms"] / step_ms).astype(np.int64)) % len(simulator.bank)
    rate_mbps = simulator.bank[sample, RATE].astype(np.float64)
    return Moments(episode, states["arrival_ms"], rate_mbps, latency_ms, action, clocks)


def decision_us(policy: Policy, tables: CostTables) -> float:
    """Median processor time of one decision for one device, in microseconds, over some 200 decisions in an
    episode; what an online learner does between decisions is not in it.
    """
    simulator = Simulator(tables, 1, bank_seed=TRAINING_BANK_SEED + 1)
    observations = simulator.reset(np.array([FIRST_SEED]))
    policy.reset(1)
    if isinstance(policy, SeesTrueState):
        policy.bind(simulator)
    spent = []
    for _ in range(_DECISIONS):
        begun = time.process_time_ns()
        actions = policy.act(observations)
        spent.append(time.process_time_ns() - begun)
        batch = simulator.step(actions)
        if isinstance(policy, LearnsOnline):
            policy.learn(-batch.rewards.astype(np.float64))
        observations = batch.observations
    return float(np.median(spent[_WARM_UP:])) / 1000.0
