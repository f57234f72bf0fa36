"""stable-baselines3's algorithms made to advance one update at a time, and to say what they remember."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from dvfo_agents.config import SoftConfig
from dvfo_agents.learners.base import ACTIVATIONS, geometric, learning_rate
from dvfo_agents.training_env import Memory

_BATCH_STEPS = 64  # batch steps in one advance of an off-policy learner
_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class StableLearner(BaseAlgorithm):
    """Schedules over the run's own budget instead of stable-baselines3's, and what a checkpoint needs."""

    progress_remaining = 1.0

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        self._current_progress_remaining = self.progress_remaining

    def learn_for(self, steps: int) -> None:
        """Go through stable-baselines3's own `learn` for this many environment steps."""
        self.learn(steps, log_interval=cast(int, None), reset_num_timesteps=False)

    def silence(self) -> None:
        """Keep stable-baselines3's logger from writing anywhere."""
        self.set_logger(Logger(folder=None, output_formats=[]))

    def curves(self) -> dict[str, float]:
        """What stable-baselines3 logged last."""
        return {tag: float(value) for tag, value in self.logger.name_to_value.items()}

    def memory(self) -> Memory:
        """Last observations, counts and the random state of the action space."""
        arrays = {}
        if self._last_obs is not None:  # None before the first step
            arrays["last_observations"] = np.asarray(self._last_obs)
            arrays["last_episode_starts"] = np.asarray(self._last_episode_starts)
        counters = {
            "updates": self._n_updates,
            "episodes": self._episode_num,
            "action_space_rng": self.action_space.np_random.bit_generator.state,
        }
        return Memory(arrays, counters)

    def restore_memory(self, memory: Memory) -> None:
        """Take back what `memory` gave."""
        if "last_observations" in memory.arrays:
            self._last_obs = memory.arrays["last_observations"].copy()
            self._last_episode_starts = memory.arrays["last_episode_starts"].copy()
        self._n_updates = memory.counters["updates"]
        self._episode_num = memory.counters["episodes"]
        self.action_space.np_random.bit_generator.state = memory.counters["action_space_rng"]


class StableSoftLearner(StableLearner, OffPolicyAlgorithm):
    """What SAC, TQC and CrossQ share: a replay buffer, an actor and a critic, a scheduled entropy weight."""

    ent_coef_schedule: tuple[float, float] = (1.0, 1.0)
    ent_coef_tensor: torch.Tensor
    critic: Any

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """`gradient_steps` updates."""
        self.ent_coef_tensor = torch.tensor(geometric(*self.ent_coef_schedule, self.progress_remaining))
        super().train(gradient_steps, batch_size)

    def advance(self) -> None:
        """64 steps of the whole batch of environments, with the updates that belong to them."""
        self.learn_for(_BATCH_STEPS * self.n_envs)

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser by name, for checkpoints."""
        return {"actor": self.actor.optimizer, "critic": self.critic.optimizer}

    def memory(self) -> Memory:
        """As `StableLearner`, and the filled part of the replay buffer."""
        memory, buffer = super().memory(), self.replay_buffer
        assert buffer is not None
        filled = buffer.buffer_size if buffer.full else buffer.pos
        replay = {f"replay.{name}": np.ascontiguousarray(getattr(buffer, name)[:filled]) for name in _REPLAY}
        place = {"replay": {"pos": buffer.pos, "full": buffer.full}}
        return Memory(memory.arrays | replay, memory.counters | place)

    def restore_memory(self, memory: Memory) -> None:
        """Take back what `memory` gave."""
        super().restore_memory(memory)
        buffer = self.replay_buffer
        assert buffer is not None
        for name in _REPLAY:
            saved = memory.arrays[f"replay.{name}"]
            getattr(buffer, name)[: len(saved)] = saved
        buffer.pos, buffer.full = memory.counters["replay"]["pos"], memory.counters["replay"]["full"]


def soft_arguments(config: SoftConfig, seed: int) -> dict[str, Any]:
    """The constructor's arguments that SAC, TQC and CrossQ have in common."""
    return {
        "learning_rate": learning_rate(config),
        "buffer_size": config.buffer_size,
        "learning_starts": config.learning_starts,
        "batch_size": config.batch_size,
        "gamma": config.gamma,
        "train_freq": config.train_freq,
        "gradient_steps": config.gradient_steps,
        "ent_coef": config.ent_coef,
        "policy_kwargs": {
            "net_arch": list(config.net_arch),
            "activation_fn": ACTIVATIONS[config.activation],
            "optimizer_kwargs": {"fused": True},
        },
        "seed": seed,
        "device": "cpu",
    }
