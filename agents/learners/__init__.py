"""The learners: stable-baselines3's PPO and SAC, made to advance one update at a time.

`build_learner` puts a configuration and a batch of environments together. `Learner.advance` collects one
piece of experience and learns from it, through stable-baselines3's own `learn`; between two calls nothing is
half done, so that is where training stops, saves and resumes. How far the run has come is told to the
learner from outside (`progress_remaining`), because a budget may be in minutes as well as in steps.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.logger import Logger
from torch import nn

from dvfo_agents.config import AgentConfig, PPOConfig, SACConfig
from dvfo_agents.fused import FusedPolicy
from dvfo_agents.training_env import TrainingEnv
from dvfo_env.tables import CostTables

_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}
_SAC_BATCH_STEPS = 64  # batch steps in one advance of SAC


class PPOLearner(PPO):
    """stable-baselines3's PPO with schedules over the run's own budget.

    `progress_remaining` (1 at the start, 0 at the end) drives learning rate and entropy weight.
    """

    progress_remaining = 1.0
    ent_coef_schedule: tuple[float, float] = (0.0, 0.0)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        self._current_progress_remaining = self.progress_remaining

    def train(self) -> None:
        """One PPO update on the collected rollout."""
        first, last = self.ent_coef_schedule
        self.ent_coef = last + (first - last) * self._current_progress_remaining
        super().train()

    def advance(self) -> None:
        """Collect one rollout of n_steps x n_envs steps and learn from it."""
        self.learn(self.n_steps * self.n_envs, log_interval=cast(int, None), reset_num_timesteps=False)

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser by name, for checkpoints."""
        return {"policy": self.policy.optimizer}


class SACLearner(SAC):
    """stable-baselines3's SAC with schedules over the run's own budget.

    `progress_remaining` (1 at the start, 0 at the end) drives learning rate and entropy weight.
    """

    progress_remaining = 1.0
    ent_coef_schedule: tuple[float, float] = (1.0, 1.0)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        self._current_progress_remaining = self.progress_remaining

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """`gradient_steps` updates."""
        first, last = self.ent_coef_schedule
        self.ent_coef_tensor = torch.tensor(last * (first / last) ** self._current_progress_remaining)
        super().train(gradient_steps, batch_size)

    def advance(self) -> None:
        """64 steps of the whole batch of environments, with the updates that belong to them."""
        self.learn(_SAC_BATCH_STEPS * self.n_envs, log_interval=cast(int, None), reset_num_timesteps=False)

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser by name, for checkpoints."""
        return {"actor": self.actor.optimizer, "critic": self.critic.optimizer}


Learner = PPOLearner | SACLearner


def build_learner(config: AgentConfig, tables: CostTables, seed: int) -> Learner:
    """A fresh learner with its environments; seeds python, numpy and torch, and sets torch's threads.

    Args:
        config: the agent's configuration.
        tables: the compiled scenario.
        seed: environment i begins with episode seed `1_000_000 * seed + i`.
    """
    torch.set_num_threads(config.torch_threads)
    first_episode = 1_000_000 * seed
    env = TrainingEnv(
        tables,
        config.n_envs,
        continuous=isinstance(config, SACConfig),
        seed=first_episode,
        cost_knee=config.cost_knee,
    )
    build = _build_ppo if isinstance(config, PPOConfig) else _build_sac
    learner = build(config, env, seed)  # type: ignore[arg-type]
    env.seed(first_episode)  # stable-baselines3 has put its own seed there
    learner.set_logger(Logger(folder=None, output_formats=[]))
    return learner


def training_env(learner: Learner) -> TrainingEnv:
    """The environments a learner trains on."""
    env = learner.get_env()
    assert isinstance(env, TrainingEnv)
    return env


def _schedule(config: AgentConfig) -> Any:
    first, last = config.learning_rate, config.learning_rate * config.final_learning_rate_share
    return lambda progress_remaining: last + (first - last) * progress_remaining


def _build_ppo(config: PPOConfig, env: TrainingEnv, seed: int) -> PPOLearner:
    learner = PPOLearner(
        FusedPolicy,
        env,
        learning_rate=_schedule(config),
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
            "activation_fn": _ACTIVATIONS[config.activation],
            "optimizer_kwargs": {"eps": 1e-5, "fused": True},
        },
        seed=seed,
        device="cpu",
    )
    learner.ent_coef_schedule = (config.ent_coef, config.ent_coef * config.final_ent_coef_share)
    return learner


def _build_sac(config: SACConfig, env: TrainingEnv, seed: int) -> SACLearner:
    learner = SACLearner(
        "MlpPolicy",
        env,
        learning_rate=_schedule(config),
        buffer_size=config.buffer_size,
        learning_starts=config.learning_starts,
        batch_size=config.batch_size,
        tau=config.tau,
        gamma=config.gamma,
        train_freq=config.train_freq,
        gradient_steps=config.gradient_steps,
        ent_coef=config.ent_coef,
        policy_kwargs={
            "net_arch": list(config.net_arch),
            "activation_fn": _ACTIVATIONS[config.activation],
            "optimizer_kwargs": {"fused": True},
        },
        seed=seed,
        device="cpu",
    )
    learner.ent_coef_schedule = (config.ent_coef, config.final_ent_coef)
    return learner
