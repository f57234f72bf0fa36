"""What a policy costs on training episodes: how baselines choose their own settings, never on held-out
seeds.
"""

from __future__ import annotations

import numpy as np

from dvfo_agents.policy import LearnsOnline, Policy
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.tables import CostTables

#: Training episodes that baselines are tuned on; apart from those of the search for the best fixed action.
FIRST_SEED = 1_100_000


def training_cost(policy: Policy, tables: CostTables, episodes: int = 24) -> float:
    """Mean cost per request, dropped ones included, over training episodes."""
    simulator = Simulator(tables, episodes, bank_seed=TRAINING_BANK_SEED, autoreset=False)
    observations = simulator.reset(FIRST_SEED + np.arange(episodes))
    policy.reset(episodes)
    running = np.ones(episodes, dtype=bool)
    total = 0.0
    while running.any():
        batch = simulator.step(policy.act(observations))
        if isinstance(policy, LearnsOnline):
            policy.learn(-batch.rewards.astype(np.float64))
        total -= float(batch.rewards[running].sum(dtype=np.float64))
        running &= batch.ends == 0
        observations = batch.observations
    return total / (episodes * tables.scenario.episode_requests)
