"""Soft actor-critic (Haarnoja et al. 2018): stable-baselines3's SAC on the Box view."""

from __future__ import annotations

from stable_baselines3 import SAC

from dvfo_agents.config import SACConfig
from dvfo_agents.learners.stable import StableSoftLearner, soft_arguments
from dvfo_agents.training_env import TrainingEnv


class SACLearner(StableSoftLearner, SAC):
    """stable-baselines3's SAC with schedules over the run's own budget."""


def build(config: SACConfig, env: TrainingEnv, seed: int) -> SACLearner:
    """A fresh learner on `env`."""
    learner = SACLearner("MlpPolicy", env, tau=config.tau, **soft_arguments(config, seed))
    learner.ent_coef_schedule = (config.ent_coef, config.final_ent_coef)
    learner.silence()
    return learner
