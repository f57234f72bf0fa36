"""What a policy does: a record of some episodes, and a map of its choices over bandwidth and temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.policy import LearnsOnline, Policy, SeesTrueState
from dvfo_env.observation import (
    RATE_CENTRE_LOG2,
    RATE_SPAN_LOG2,
    TEMPERATURE_LOW_C,
    TEMPERATURE_SPAN_C,
    index_of,
    rate_mbps,
    temperature_c,
)
from dvfo_env.simulator import Simulator
from dvfo_env.state import CPU_INDEX, DROPPED, GPU_INDEX, LATENCY_MS, MEM_INDEX, TEMPERATURE, TIMED_OUT
from dvfo_env.tables import RATE, CostTables
from dvfo_evaluation.runner import SeedBlock

#: Values of bandwidth and of temperature on a map.
RATES, TEMPERATURES = 32, 12
#: How often a policy is shown the same observation, so that one with memory has seen nothing else.
_SHOWN = 4
_SHARE_SHOWN = (0.01, 0.99)  # of the values met, so that a map ends where the held-out episodes end
_LEAST_SPAN_C = 2.0
_RATE_COLUMNS = [index_of(name) for name in ("rate_last", "rate_before", "rate_smooth")]
_SILENCE, _TEMPERATURE, _THROTTLED = (index_of(n) for n in ("silence", "temperature", "throttled"))


@dataclass(frozen=True)
class Record:
    """Episodes of one policy request by request: T requests at most, N episodes.

    `ran` bool [T, N] says where an episode was still running; the rest means something only there.
    observations float32 [T, N, OBSERVATION_SIZE]; actions int64 [T, N, parts] as asked for; clocks int64
    [T, N, 3] indices in force (CPU, GPU, memory); arrival_ms, true rate_mbps when service began, latency_ms,
    temperature_c after the request float64 [T, N]; timed_out, dropped (requests given up right after) [T, N].
    """

    ran: NDArray[np.bool_]
    observations: NDArray[np.float32]
    actions: NDArray[np.int64]
    clocks: NDArray[np.int64]
    arrival_ms: NDArray[np.float64]
    rate_mbps: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    temperature_c: NDArray[np.float64]
    timed_out: NDArray[np.bool_]
    dropped: NDArray[np.float64]

    def most_varied(self) -> int:
        """The episode in which bandwidth changes most: where there is most to react to."""
        spread = [
            float(np.std(np.log2(np.maximum(self.rate_mbps[ran, n], 2.0**-6)))) if ran.any() else 0.0
            for n, ran in enumerate(self.ran.T)
        ]
        return int(np.argmax(spread))


@dataclass(frozen=True)
class DecisionMap:
    """Joint actions int64 [H, B, parts] at temperatures [H] (deg C) and bandwidths seen [B] (Mbit/s)."""

    rate_mbps: NDArray[np.float64]
    temperature_c: NDArray[np.float64]
    actions: NDArray[np.int64]


def record(policy: Policy, tables: CostTables, block: SeedBlock) -> Record:
    """Run the episodes of `block` and keep what happened."""
    n = len(block.episode_seeds)
    simulator = Simulator(tables, n, bank_seed=block.bank_seed, autoreset=False)
    observations = simulator.reset(block.episode_seeds)
    policy.reset(n)
    if isinstance(policy, SeesTrueState):
        policy.bind(simulator)
    step_ms = float(tables.params[0]["bank_step_ms"])
    running = np.ones(n, dtype=bool)
    kept: list[tuple[NDArray[np.generic], ...]] = []
    while running.any():
        actions = policy.act(observations)
        states = simulator.states
        sample = (states["offset"] + (states["now_ms"] / step_ms).astype(np.int64)) % len(simulator.bank)
        before = (running.copy(), observations.copy(), actions.copy(), states["arrival_ms"].copy())
        rate = simulator.bank[sample, RATE].astype(np.float64)
        batch = simulator.step(actions)
        if isinstance(policy, LearnsOnline):
            policy.learn(-batch.rewards.astype(np.float64))
        rows = batch.outcomes
        clocks = rows[:, [CPU_INDEX, GPU_INDEX, MEM_INDEX]].astype(np.int64)
        after = rows[:, [LATENCY_MS, TEMPERATURE, TIMED_OUT, DROPPED]].astype(np.float64)
        kept.append((*before, rate, clocks, after))
        running &= batch.ends == 0
        observations = batch.observations
    ran, seen, actions, arrival, rate, clocks, after = (np.stack(part) for part in zip(*kept, strict=True))
    latency, temperature, timed_out, dropped = np.moveaxis(after, -1, 0)
    return Record(
        ran, seen, actions, clocks, arrival, rate, latency, temperature, timed_out > 0.0, dropped
    )  # fmt: skip


def decision_map(policy: Policy, tables: CostTables, met: Record) -> DecisionMap:
    """Ask a policy for its decision at every bandwidth and temperature that the episodes of `met` met.

    All three rate features are set to the bandwidth, `throttled` follows the temperature, every other feature
    is at its median over those episodes. A policy with memory is shown the same observation several times.
    """
    rates, temperatures = _axes(tables, met)
    # the lower of two middle values: a clock between two points does not exist
    usual = np.quantile(met.observations[met.ran], 0.5, axis=0, method="lower")
    grid = np.tile(usual.astype(np.float64), (len(rates) * len(temperatures), 1))
    heat, rate = (axis.ravel() for axis in np.meshgrid(temperatures, rates, indexing="ij"))
    grid[:, _RATE_COLUMNS] = ((np.log2(rate) - RATE_CENTRE_LOG2) / RATE_SPAN_LOG2)[:, None]
    grid[:, _TEMPERATURE] = (heat - TEMPERATURE_LOW_C) / TEMPERATURE_SPAN_C
    p = tables.params[0]
    trips = p["trip_c"][: int(p["n_trips"])]
    grid[:, _THROTTLED] = (heat[:, None] >= trips).sum(axis=1) / max(len(trips), 1)
    observations = np.clip(grid, -1.0, 1.0).astype(np.float32)
    policy.reset(len(observations))
    for _ in range(_SHOWN):
        actions = policy.act(observations)
    return DecisionMap(rates, temperatures, actions.reshape(len(temperatures), len(rates), -1))


def _axes(tables: CostTables, met: Record) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bandwidths, evenly spread on a log scale, and temperatures, between what the episodes met."""
    seen = met.observations[met.ran]
    heard = seen[seen[:, _SILENCE] < 1.0]
    met_rates = rate_mbps(heard[:, _RATE_COLUMNS[0]]) if len(heard) else met.rate_mbps[met.ran]
    low, high = np.quantile(np.log2(np.maximum(met_rates, 2.0**-4)), _SHARE_SHOWN)
    if high - low < 0.5:  # a steady link: some room around it
        low, high = low - 1.0, high + 1.0
    coolest, hottest = np.quantile(temperature_c(seen[:, _TEMPERATURE]), _SHARE_SHOWN)
    if hottest - coolest < _LEAST_SPAN_C:
        middle = 0.5 * (coolest + hottest)
        coolest, hottest = middle - 0.5 * _LEAST_SPAN_C, middle + 0.5 * _LEAST_SPAN_C
    count = TEMPERATURES if tables.params[0]["thermal"] else 1
    return np.exp2(np.linspace(low, high, RATES)), np.linspace(coolest, hottest, count)
