"""Proximal policy optimisation (Schulman et al. 2017): stable-baselines3's PPO on the MultiDiscrete view."""

from __future__ import annotations

import torch
from stable_baselines3 import PPO

from dvfo_agents.config import PPOConfig
from dvfo_agents.fused import FusedPolicy
from dvfo_agents.learners.base import ACTIVATIONS, learning_rate
from dvfo_agents.learners.stable import StableLearner
from dvfo_agents.training_env import TrainingEnv


class PPOLearner(StableLearner, PPO):
    """stable-baselines3's PPO with schedules over the run's own budget."""

    ent_coef_schedule: tuple[float, float] = (0.0, 0.0)

    def train(self) -> None:
        """One PPO update on the collected rollout."""
        first, last = self.ent_coef_schedule
        self.ent_coef = last + (first - last) * self.progress_remaining
        super().train()

    def advance(self) -> None:
        """Collect one rollout of n_steps x n_envs steps and learn from it."""
        self.learn_for(self.n_steps * self.n_envs)

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser by name, for checkpoints."""
        return {"policy": self.policy.optimizer}


def build(config: PPOConfig, env: TrainingEnv, seed: int) -> PPOLearner:
    """A fresh learner on `env`."""
    learner = PPOLearner(
        FusedPolicy,
        env,
        learning_rate=learning_rate(config),
        n_steps=config.n_steps,
        batch_size=min(config.batch_size, config.n_steps * config.n_envs),
        n_epochs=config.n_epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.ent_coef,
        vf_coef=config.vf_coef,
        max_grad_norm=config.max_grad_norm,
        target_kl=config.target_kl,
        policy_kwargs={
            "net_arch": list(config.net_arch),
            "activation_fn": ACTIVATIONS[config.activation],
            "optimizer_kwargs": {"eps": 1e-5, "fused": True},
        },
        seed=seed,
        device="cpu",
    )
    learner.ent_coef_schedule = (config.ent_coef, config.ent_coef * config.final_ent_coef_share)
    learner.silence()
    return learner
