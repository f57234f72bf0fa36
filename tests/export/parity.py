"""Replaying what a training-side policy decided on whole episodes through what was exported of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.policy import LearnsOnline, Policy
from dvfo_controller.policies import LearningDevicePolicy, open_policy
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CostTables
from dvfo_export.bundles import write_bundle
from dvfo_export.planners import export_policy

#: Bank and episodes that nothing was learned or tuned on.
BANK_SEED, FIRST_SEED = 23, 8_100_000


class Compared(NamedTuple):
    """Decisions compared, those that differ, and processor time of one on a device [ms]: median, 99 %."""

    decisions: int
    differ: list[str]
    median_ms: float
    p99_ms: float


def compare(policy: Policy, tables: CostTables, folder: Path, decisions: int, devices: int = 10) -> Compared:
    """Run `devices` side by side under `policy` and replay each of them, for so many decisions in all."""
    exported = open_policy(write_bundle(folder / "bundle", tables, export_policy(policy, tables)))
    episode = tables.scenario.episode_requests
    differ: list[str] = []
    taken_ms: list[float] = []
    for begin in range(0, decisions, devices * episode):
        requests = min(episode, -(-(decisions - begin) // devices))
        seeds = FIRST_SEED + begin + np.arange(devices)
        observations, actions, costs = run(policy, tables, seeds, requests)
        for device in range(devices):
            exported.reset()
            for at in range(requests):
                began = time.thread_time()
                decided = exported.decide(observations[at, device])
                taken_ms.append(1e3 * (time.thread_time() - began))
                if not np.array_equal(decided, actions[at, device]):
                    differ.append(f"{device}.{at}: {decided} for {actions[at, device]}")
                if isinstance(exported, LearningDevicePolicy):
                    exported.learn(float(costs[at, device]))
    median_ms, p99_ms = np.quantile(taken_ms, [0.5, 0.99])
    return Compared(len(taken_ms), differ, float(median_ms), float(p99_ms))


def run(
    policy: Policy, tables: CostTables, seeds: NDArray[np.int64], requests: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """What devices saw [T, N, features], were told [T, N, 6] and paid [T, N] as one batch."""
    simulator = Simulator(tables, len(seeds), bank_seed=BANK_SEED, autoreset=False)
    seen = simulator.reset(seeds)
    policy.reset(len(seeds))
    observations, actions, costs = [], [], []
    for _ in range(requests):
        observations.append(seen.copy())
        actions.append(policy.act(seen).copy())
        batch = simulator.step(actions[-1])
        costs.append(-batch.rewards.astype(np.float64))
        if isinstance(policy, LearnsOnline):
            policy.learn(costs[-1].copy())
        seen = batch.observations
    return np.stack(observations), np.stack(actions), np.stack(costs)
