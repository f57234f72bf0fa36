"""The learners, one file for each algorithm: `build(config, env, seed)` in `<algorithm>.py` makes one.

`build_learner` puts a configuration and a batch of environments together. `Learner.advance` collects one
piece of experience and learns from it; between two calls nothing is half done, so that is where training
stops, saves and resumes. How far the run has come is told to the learner from outside
(`progress_remaining`), because a budget may be in minutes as well as in steps.

A further algorithm is a file here, a configuration class in `config.py` and a decision in `decisions.py`.
"""

from __future__ import annotations

import importlib

import torch
from stable_baselines3.common.utils import set_random_seed

from dvfo_agents.config import AgentConfig
from dvfo_agents.learners.base import Learner, training_env
from dvfo_agents.training_env import Memory, TrainingEnv
from dvfo_env.tables import CostTables

__all__ = ["Learner", "Memory", "build_learner", "training_env"]

#: First episode seed of training: beyond those of searches, tuning, validation and held-out episodes.
TRAINING_SEEDS = 1_000_000_000


def build_learner(config: AgentConfig, tables: CostTables, seed: int) -> Learner:
    """A fresh learner with its environments; seeds python, numpy and torch, and sets torch's threads.

    Args:
        config: the agent's configuration.
        tables: the compiled scenario.
        seed: environment i begins with episode seed `TRAINING_SEEDS + 1_000_000 * seed + i`.
    """
    torch.set_num_threads(config.torch_threads)
    set_random_seed(seed)
    first_episode = TRAINING_SEEDS + 1_000_000 * seed
    env = TrainingEnv(
        tables,
        config.n_envs,
        continuous=config.continuous,
        seed=first_episode,
        cost_knee=config.cost_knee,
        history=config.history,
        acts_on=config.acts_on,
        domain_randomisation=config.domain_randomisation,
        other_uplinks=config.other_uplinks,
    )
    module = importlib.import_module(f"dvfo_agents.learners.{config.algorithm.replace('-', '_')}")
    learner: Learner = module.build(config, env, seed)
    env.seed(first_episode)  # stable-baselines3 puts its own seed there
    return learner
