"""CrossQ (Bhatt et al. 2024, arXiv 1902.05605): sb3-contrib's CrossQ on the Box view; no target network."""

from __future__ import annotations

from sb3_contrib import CrossQ

from dvfo_agents.config import CrossQConfig
from dvfo_agents.learners.stable import StableSoftLearner, soft_arguments
from dvfo_agents.training_env import TrainingEnv


class CrossQLearner(StableSoftLearner, CrossQ):
    """sb3-contrib's CrossQ with schedules over the run's own budget."""


def build(config: CrossQConfig, env: TrainingEnv, seed: int) -> CrossQLearner:
    """A fresh learner on `env`."""
    arguments = soft_arguments(config, seed)
    arguments["policy_kwargs"]["optimizer_kwargs"]["betas"] = (0.5, 0.999)  # theirs
    arguments["policy_kwargs"]["renorm_warmup_steps"] = config.renorm_warmup_steps
    learner = CrossQLearner("MlpPolicy", env, policy_delay=config.policy_delay, **arguments)
    learner.ent_coef_schedule = (config.ent_coef, config.final_ent_coef)
    learner.silence()
    return learner
