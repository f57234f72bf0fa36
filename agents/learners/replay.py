"""What our own off-policy learners share: a ring of transitions, and the loop around one update.

stable-baselines3's off-policy algorithms know no action of several discrete parts; `sac_discrete` and `dqn`
do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dvfo_agents.config import ReplayConfig
from dvfo_agents.learners.base import ACTIVATIONS, learning_rate
from dvfo_agents.training_env import Memory, TrainingEnv

_BATCH_STEPS = 64  # batch steps in one advance
_MAX_GRADIENT_NORM = 10.0


class Transitions(NamedTuple):
    """B transitions: observations and next_observations float32 [B, features], actions int64 [B, parts],
    rewards float32 [B], discounts float32 [B]: what the value of the next observation counts, 0 where the
    episode ended for good.
    """

    observations: Tensor
    next_observations: Tensor
    actions: Tensor
    rewards: Tensor
    discounts: Tensor


class Ring:
    """The last `capacity` transitions."""

    def __init__(self, capacity: int, features: int, parts: int) -> None:
        self.stored = Transitions(
            torch.zeros(capacity, features),
            torch.zeros(capacity, features),
            torch.zeros(capacity, parts, dtype=torch.int16),
            torch.zeros(capacity),
            torch.zeros(capacity),
        )
        self.capacity, self.next, self.filled = capacity, 0, 0

    def add(self, new: Transitions) -> None:
        """Store transitions, in place of the oldest."""
        places = torch.arange(self.next, self.next + len(new.rewards)) % self.capacity
        for column, values in zip(self.stored, new, strict=True):
            column[places] = values.to(column.dtype)
        self.next = (self.next + len(places)) % self.capacity
        self.filled = min(self.filled + len(places), self.capacity)

    def sample(self, size: int) -> Transitions:
        """`size` transitions, uniformly with replacement."""
        picked = torch.randint(self.filled, (size,))
        batch = Transitions(*(column[picked] for column in self.stored))
        return batch._replace(actions=batch.actions.long())


class ReplayLearner(ABC):
    """A learner that keeps transitions and goes over them again.

    Subclasses build `policy` and name its optimisers, choose actions and do one update.
    """

    policy: nn.Module

    def __init__(self, config: ReplayConfig, env: TrainingEnv) -> None:
        assert isinstance(env.view.space, gym.spaces.MultiDiscrete)
        self.config, self._env = config, env
        self.sizes = [int(size) for size in env.view.sizes]
        self.features = int(np.prod(env.observation_space.shape or ()))
        self.num_timesteps = 0
        self.progress_remaining = 1.0
        self.updates = 0
        self._ring = Ring(config.buffer_size, self.features, len(self.sizes))
        self._learning_rate = learning_rate(config)
        self._seen: NDArray[np.float32] | None = None
        self._curves: dict[str, float] = {}

    @abstractmethod
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser by name, for checkpoints."""

    @abstractmethod
    def explore(self, observations: Tensor) -> Tensor:
        """Actions int64 [N, parts] to learn from."""

    @abstractmethod
    def exploit(self, observations: Tensor) -> Tensor:
        """The best actions known, int64 [N, parts]."""

    @abstractmethod
    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """One step of every optimiser; what to plot, by TensorBoard tag."""

    def discounts(self, next_observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the value of the next observation counts [N]: gamma."""
        return np.full(len(next_observations), self.config.gamma, dtype=np.float32)

    def advance(self) -> None:
        """64 steps of the whole batch of environments, with the updates that belong to them."""
        if self._seen is None:
            self._seen = self._env.reset()
        plotted: dict[str, Tensor] = {}
        for group in (group for optimiser in self.optimisers().values() for group in optimiser.param_groups):
            group["lr"] = self._learning_rate(self.progress_remaining)
        for _ in range(_BATCH_STEPS):
            self._collect(self._seen)
            if self.num_timesteps >= self.config.learning_starts:
                for _ in range(self.config.gradient_steps):
                    plotted = self.update(self._ring.sample(self.config.batch_size))
                    self.updates += 1
        self._curves = {tag: float(value) for tag, value in plotted.items()}

    def _collect(self, seen: NDArray[np.float32]) -> None:
        """One step of every environment into the ring."""
        with torch.no_grad():
            actions = self.explore(torch.from_numpy(seen))
        self._env.step_async(actions.numpy())
        after, rewards, dones, infos = self._env.step_wait()
        following, discounts = after, self.discounts(after)
        if dones.any():
            following = after.copy()
            for i in np.flatnonzero(dones):
                following[i] = infos[i]["terminal_observation"]
            discounts = self.discounts(following)
            discounts[[i for i in np.flatnonzero(dones) if not infos[i]["TimeLimit.truncated"]]] = 0.0
        columns = (torch.from_numpy(column) for column in (rewards, discounts))
        self._ring.add(Transitions(torch.from_numpy(seen), torch.from_numpy(following), actions, *columns))
        self.num_timesteps += len(seen)
        self._seen = after

    def curves(self) -> dict[str, float]:
        """What the last update of the last `advance` gave to plot."""
        return self._curves

    def get_env(self) -> TrainingEnv:
        """The environments."""
        return self._env

    def predict(
        self, observation: NDArray[np.float32], *, deterministic: bool = False
    ) -> tuple[NDArray[np.int64], None]:
        """Actions int64 [N, parts] for stacked observations float32 [N, features], and nothing."""
        with torch.no_grad():
            choose = self.exploit if deterministic else self.explore
            actions: NDArray[np.int64] = choose(torch.from_numpy(observation)).numpy()
        return actions, None

    def memory(self) -> Memory:
        """Last observations and the filled part of the ring."""
        ring = self._ring
        arrays: dict[str, NDArray[Any]] = {
            f"replay.{name}": column[: ring.filled].numpy() for name, column in ring.stored._asdict().items()
        }
        if self._seen is not None:
            arrays["last_observations"] = self._seen
        return Memory(arrays, {"updates": self.updates, "next": ring.next, "filled": ring.filled})

    def restore_memory(self, memory: Memory) -> None:
        """Take back what `memory` gave."""
        ring = self._ring
        for name, column in ring.stored._asdict().items():
            column[: memory.counters["filled"]] = torch.from_numpy(memory.arrays[f"replay.{name}"].copy())
        ring.next, ring.filled = memory.counters["next"], memory.counters["filled"]
        self.updates = memory.counters["updates"]
        if "last_observations" in memory.arrays:
            self._seen = memory.arrays["last_observations"].copy()


def trunk(features: int, config: ReplayConfig) -> nn.Sequential:
    """Hidden layers of `net_arch`, each with its activation."""
    widths = [features, *config.net_arch]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), ACTIVATIONS[config.activation]()]
    return nn.Sequential(*layers)


def heads(scores: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """Scores [B, sum(sizes)] part by part, each [B, size]."""
    return torch.split(scores, sizes, dim=1)


def largest_of_each(scores: Tensor, sizes: list[int]) -> Tensor:
    """The choice of the largest score in every part, int64 [B, parts]."""
    return torch.stack([head.argmax(1) for head in heads(scores, sizes)], dim=1)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down `loss`, its gradient no longer than 10."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in optimiser.param_groups:
        nn.utils.clip_grad_norm_(group["params"], _MAX_GRADIENT_NORM)
    optimiser.step()


def follow(target: nn.Module, source: nn.Module, tau: float) -> None:
    """Move the parameters of `target` by the share `tau` towards those of `source`."""
    with torch.no_grad():
        ours = [parameter.detach() for parameter in target.parameters()]
        torch._foreach_lerp_(ours, [parameter.detach() for parameter in source.parameters()], tau)
