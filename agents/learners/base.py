"""What every learner is, and the small pieces that several of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from dvfo_agents.config import LearnerConfig
from dvfo_agents.training_env import Memory, TrainingEnv

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class Learner(Protocol):
    """Something that trains on a `TrainingEnv`, one update at a time.

    `num_timesteps` counts environment steps. `progress_remaining` is set from outside, 1 at the start of the
    budget and 0 at its end, and drives every schedule. Between two calls of `advance` nothing is half done:
    that is where training stops, saves and resumes.
    """

    num_timesteps: int
    progress_remaining: float

    @property
    def policy(self) -> nn.Module:
        """Every network; its state dict is what `decisions` rebuilds the policy from."""

    def advance(self) -> None:
        """Collect one piece of experience and learn from it."""

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser by name."""

    def memory(self) -> Memory:
        """What else a checkpoint must hold (random state and environments are saved for every learner)."""

    def restore_memory(self, memory: Memory) -> None:
        """Take back what `memory` gave."""

    def curves(self) -> dict[str, float]:
        """Losses and the like of the last update, by TensorBoard tag."""

    def get_env(self) -> VecEnv | None:
        """The environments, see `training_env`."""

    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[Any, Any]:
        """Actions in the learner's view for stacked observations float32 [N, features], and nothing."""


def training_env(learner: Learner) -> TrainingEnv:
    """The environments a learner trains on."""
    env = learner.get_env()
    assert isinstance(env, TrainingEnv)
    return env


def learning_rate(config: LearnerConfig) -> Callable[[float], float]:
    """Learning rate as a function of the share of the budget that is left: falls linearly."""
    first, last = config.learning_rate, config.learning_rate * config.final_learning_rate_share
    return lambda progress_remaining: last + (first - last) * progress_remaining


def geometric(first: float, last: float, progress_remaining: float) -> float:
    """From `first` (progress_remaining 1) to `last` (0), by equal factors."""
    return float(last * (first / last) ** progress_remaining)
