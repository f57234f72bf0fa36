"""Truncated quantile critics (Kuznetsov et al. 2020, arXiv 2005.04269): sb3-contrib's TQC on the Box view."""

from __future__ import annotations

from sb3_contrib import TQC

from dvfo_agents.config import TQCConfig
from dvfo_agents.learners.stable import StableSoftLearner, soft_arguments
from dvfo_agents.training_env import TrainingEnv


class TQCLearner(StableSoftLearner, TQC):
    """sb3-contrib's TQC with schedules over the run's own budget."""


def build(config: TQCConfig, env: TrainingEnv, seed: int) -> TQCLearner:
    """A fresh learner on `env`."""
    arguments = soft_arguments(config, seed)
    arguments["policy_kwargs"] |= {"n_quantiles": config.n_quantiles, "n_critics": config.n_critics}
    learner = TQCLearner(
        "MlpPolicy",
        env,
        tau=config.tau,
        top_quantiles_to_drop_per_net=config.top_quantiles_to_drop_per_net,
        **arguments,
    )
    learner.ent_coef_schedule = (config.ent_coef, config.final_ent_coef)
    learner.silence()
    return learner
