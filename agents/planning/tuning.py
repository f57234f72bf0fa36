"""What a policy costs on training episodes: how baselines choose their own settings, never on held-out
seeds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.policy import LearnsOnline, Policy
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.tables import CostTables

#: Training episodes that baselines are tuned on; apart from those of the search for the best fixed action.
FIRST_SEED = 1_100_000


#: Episodes that settings are chosen on, unless asked otherwise.
EPISODES = 24


def tuned_on(tables: CostTables, offsets: NDArray[np.int64], requests: int) -> NDArray[np.bool_]:
    """Whether episodes of `requests` requests that begin at bank samples `offsets` [N] meet the stretches of
    the training bank that `training_cost` runs on.
    """
    p = tables.params[0]
    length = len(tables.bank(TRAINING_BANK_SEED))
    step_ms, slack_ms = float(p["bank_step_ms"]), float(p["queue_limit_ms"])
    own = (requests * float(p["period_ms"]) + slack_ms) / step_ms
    theirs = (1.2 * int(p["episode_requests"]) * float(p["period_ms"]) + slack_ms) / step_ms
    simulator = Simulator(tables, EPISODES)
    simulator.reset(FIRST_SEED + np.arange(EPISODES))
    ahead = (simulator.states["offset"][None] - offsets[:, None]) % length
    return np.asarray(((ahead <= own) | (length - ahead <= theirs)).any(axis=1), dtype=np.bool_)


def training_cost(policy: Policy, tables: CostTables, episodes: int = EPISODES) -> float:
    """Mean cost per request, dropped ones included, over training episodes."""
    return mean_cost(policy, tables, TRAINING_BANK_SEED, FIRST_SEED + np.arange(episodes))


def mean_cost(policy: Policy, tables: CostTables, bank_seed: int, seeds: NDArray[np.int64]) -> float:
    """Mean cost per request, dropped ones included, over the episodes `seeds` of a bank."""
    simulator = Simulator(tables, len(seeds), bank_seed=bank_seed, autoreset=False)
    observations = simulator.reset(seeds)
    policy.reset(len(seeds))
    running, total = np.ones(len(seeds), dtype=bool), 0.0
    while running.any():
        batch = simulator.step(policy.act(observations))
        if isinstance(policy, LearnsOnline):
            policy.learn(-batch.rewards.astype(np.float64))
        total -= float(batch.rewards[running].sum(dtype=np.float64))
        running &= batch.ends == 0
        observations = batch.observations
    return total / (len(seeds) * tables.scenario.episode_requests)
