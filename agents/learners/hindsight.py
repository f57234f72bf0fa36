"""Hindsight actor-critic: learn from what every action would have cost, not only from the one that was taken.

The uplink, the server and the arrivals go on whatever the device does. So a simulated device can be asked,
for the request at hand, what each action would have led to: its exact cost and the observation after it
(`Simulator.imagine`). MDPs of this kind and learning from their hindsight: Sinclair et al., "Hindsight
Learning for MDPs with Exogenous Inputs" (ICML 2023, arXiv 2207.06272). The actor sees the observation alone,
as a device would, so it learns the action with the least *expected* cost given what a device can know;
nothing has to be explored and no action's gradient is sampled.

* The actor is a categorical over the joint actions that are worth choosing between
  (`planning.useful_actions`), a few dozen at most, so it can express what factored heads cannot.
* Its loss is the mean over the policy of Q(a) - min Q, exact over all actions (an all-action policy gradient:
  Allen et al., "Mean Actor-Critic", arXiv 1709.00503), minus an entropy bonus that falls geometrically.
* Q(a) is the imagined cost of action a, requests dropped meanwhile included, plus gamma V(what would be
  observed next): the value carries queues, clocks, heat, and what sending teaches about the uplink.
* Half of each batch is drawn by the policy's own regret when the request was served, the other half evenly,
  and weighted so that the mean is that of even draws: what a policy rarely gets wrong costs most.
* V learns the policy's mean Q (Huber loss). A slowly following copy of it is used in Q, computed once,
  when the request is served.

What a device needs to decide is the actor alone: one small network and the list of its joint actions.
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dvfo_agents.config import HindsightConfig
from dvfo_agents.history import History
from dvfo_agents.learners.base import ACTIVATIONS, geometric
from dvfo_agents.planning.useful_actions import useful_actions
from dvfo_agents.training_env import Memory, TrainingEnv, compress
from dvfo_env.errors import ConfigError
from dvfo_env.perturbation import Perturbation, draw_perturbations, draw_uplinks, perturbed
from dvfo_env.tables import CostTables

_BATCH_STEPS = 64  # batch steps in one advance
_WARM_UP = 8  # batch steps before the first update
_ACTOR_NORM, _VALUE_NORM = 1.0, 5.0  # longest gradients
_VALUE_WEIGHT, _HUBER = 0.3, 5.0
_TERMINATED = 2
_LEAST_REGRET = 0.01  # every request may be drawn
_RANDOMISED_DEVICES = 4


class HindsightLearner:
    """See the file's docstring."""

    def __init__(self, config: HindsightConfig, env: TrainingEnv, seed: int) -> None:
        self.config, self._env = config, env
        self.num_timesteps = 0
        self.progress_remaining = 1.0
        self._actions = _joint_actions(env.tables, config)
        self._rng = np.random.default_rng(seed)
        features = int(np.prod(env.observation_space.shape or ()))
        count = len(self._actions)
        self.actor = _network([features, *config.net_arch, count], config.activation)
        self.value = _network([features, *config.value_arch, 1], config.activation)
        self.target = copy.deepcopy(self.value)
        self.policy = nn.ModuleDict({"actor": self.actor, "value": self.value, "target": self.target})
        self.policy.register_buffer("actions", torch.from_numpy(env.view.from_indices(self._actions)))
        trained = [*self.actor.parameters(), *self.value.parameters()]
        self._optimiser = torch.optim.Adam(trained, betas=(0.9, 0.99), fused=True)
        steps = max(config.buffer_size // config.n_envs, 1)
        self._ring = _Ring(steps * config.n_envs, features, count)
        self._weight = np.where(env.elsewhere, config.elsewhere_weight, 1.0).astype(np.float32)
        self._seen: NDArray[np.float32] | None = None
        self._steps = 0
        self._curves: dict[str, float] = {}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser by name, for checkpoints."""
        return {"all": self._optimiser}

    def advance(self) -> None:
        """64 steps of the whole batch of environments, with an update after each."""
        if self._seen is None:
            self._seen = self._env.reset()
        share = self.config.final_learning_rate_share
        fall = 0.5 * (1.0 - math.cos(math.pi * self.progress_remaining))  # from 1 to 0
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.learning_rate * (share + (1.0 - share) * fall)
        for _ in range(_BATCH_STEPS):
            self._collect(self._seen)
            if self._steps >= _WARM_UP:
                self._update()

    def _collect(self, seen: NDArray[np.float32]) -> None:
        """What every action would lead to goes into the ring; then one step of every environment."""
        with torch.no_grad():
            q = self._q(seen)
            scores = self.actor(torch.from_numpy(seen))
            chosen, policy = _drawn(scores).numpy(), scores.softmax(dim=1).numpy()
        regret = (policy * (q - q.min(axis=1, keepdims=True))).sum(axis=1)
        self._ring.add(seen, q, (regret + _LEAST_REGRET) * self._weight, self._weight)
        anything = self._rng.random(len(seen)) < self.config.epsilon
        chosen[anything] = self._rng.integers(len(self._actions), size=int(anything.sum()))
        self._env.step_async(self._env.view.from_indices(self._actions[chosen]))
        self._seen, *_ = self._env.step_wait()
        self.num_timesteps += len(seen)
        self._steps += 1

    def _q(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """Q float32 [N, A] of every action at the requests at hand, whose stacked observations are `seen`."""
        imagined = self._env.imagine(self._actions)
        costs = -compress(imagined.rewards, self.config.cost_knee).reshape(len(seen), -1)
        after = imagined.observations
        if self._env.history.length > 1:
            after = History.seen_after(after, np.repeat(seen, costs.shape[1], axis=0))
        following = self.target(torch.from_numpy(after)).numpy().reshape(costs.shape)
        goes_on = (imagined.ends != _TERMINATED).reshape(costs.shape)
        q: NDArray[np.float32] = costs + np.float32(self.config.gamma) * following * goes_on
        return q

    def _update(self) -> None:
        """One step of actor and value on requests drawn from the ring."""
        seen, q, weight = self._ring.sample(self._rng, self.config.batch_size)
        log_policy = self.actor(seen).log_softmax(dim=1)
        policy = log_policy.exp()
        regret = (weight * (policy * (q - q.amin(dim=1, keepdim=True))).sum(dim=1)).mean()
        entropy = -(weight * (policy * log_policy).sum(dim=1)).mean()
        wanted = (policy * q).sum(dim=1).detach()
        error = nn.functional.smooth_l1_loss(self.value(seen)[:, 0], wanted, beta=_HUBER, reduction="none")
        value_loss = (weight * error).mean()
        loss = regret - self._ent_coef() * entropy + _VALUE_WEIGHT * value_loss
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.actor.parameters(), _ACTOR_NORM)
        nn.utils.clip_grad_norm_(self.value.parameters(), _VALUE_NORM)
        self._optimiser.step()
        with torch.no_grad():
            for ours, theirs in zip(self.target.parameters(), self.value.parameters(), strict=True):
                ours.lerp_(theirs, self.config.tau)
        self._curves = {
            "train/regret": regret.item(),
            "train/entropy": entropy.item(),
            "train/value_loss": value_loss.item(),
            "train/mean_value": wanted.mean().item(),
        }

    def _ent_coef(self) -> float:
        return geometric(self.config.ent_coef, self.config.final_ent_coef, self.progress_remaining)

    def curves(self) -> dict[str, float]:
        """What the last update gave to plot."""
        return self._curves

    def get_env(self) -> TrainingEnv:
        """The environments."""
        return self._env

    def predict(
        self, observation: NDArray[np.float32], *, deterministic: bool = False
    ) -> tuple[NDArray[np.int64], None]:
        """Actions int64 [N, free parts] for stacked observations float32 [N, features], and nothing."""
        with torch.no_grad():
            scores = self.actor(torch.from_numpy(observation))
        chosen = scores.argmax(dim=1) if deterministic else _drawn(scores)
        return self._env.view.from_indices(self._actions[chosen.numpy()]), None

    def memory(self) -> Memory:
        """Last observations, the filled part of the ring and the random state."""
        arrays = self._ring.arrays()
        if self._seen is not None:
            arrays["last_observations"] = self._seen
        random_state = self._rng.bit_generator.state
        return Memory(arrays, {"steps": self._steps, "ring": self._ring.counters(), "rng": random_state})

    def restore_memory(self, memory: Memory) -> None:
        """Take back what `memory` gave."""
        self._ring.restore(memory.arrays, memory.counters["ring"])
        self._steps = memory.counters["steps"]
        self._rng.bit_generator.state = memory.counters["rng"]
        if "last_observations" in memory.arrays:
            self._seen = memory.arrays["last_observations"].copy()


class _Ring:
    """What was seen at the last n requests, and what each of A actions was worth.

    seen float32 [n, history * features]; q float32 [n, A]; weight float32 [n], what a request counts;
    regret float32 [n], above 0, times that weight.
    """

    def __init__(self, capacity: int, stacked: int, actions: int) -> None:
        self.seen = np.zeros((capacity, stacked), dtype=np.float32)
        self.q = np.zeros((capacity, actions), dtype=np.float32)
        self.regret = np.zeros(capacity, dtype=np.float32)
        self.weight = np.zeros(capacity, dtype=np.float32)
        self.next, self.filled = 0, 0

    def add(
        self,
        seen: NDArray[np.float32],
        q: NDArray[np.float32],
        regret: NDArray[np.float32],
        weight: NDArray[np.float32],
    ) -> None:
        """Store rows in the place of the oldest; as many each time."""
        places = slice(self.next, self.next + len(seen))
        self.seen[places], self.q[places], self.weight[places] = seen, q, weight
        self.regret[places] = regret
        self.next = places.stop % len(self.seen)
        self.filled = max(self.filled, places.stop)

    def sample(self, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """`size` requests, half of them drawn by weighted regret: seen [B, F], q [B, A], and weights [B].

        Under these weights means are those of even draws of requests that count what they count.
        """
        regret = self.regret[: self.filled]
        sums = np.cumsum(regret, dtype=np.float64)
        picked = rng.integers(self.filled, size=size)
        drawn = np.searchsorted(sums, rng.random(size // 2) * sums[-1])
        picked[: size // 2] = np.minimum(drawn, self.filled - 1)
        weight = self.weight[picked] * 2.0 / (1.0 + regret[picked] * (self.filled / sums[-1]))
        columns = (self.seen[picked], self.q[picked], weight.astype(np.float32))
        seen, q, weights = (torch.from_numpy(column) for column in columns)
        return seen, q, weights

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The filled part."""
        return {
            f"ring.{name}": getattr(self, name)[: self.filled] for name in ("seen", "q", "regret", "weight")
        }

    def counters(self) -> dict[str, int]:
        """Where the next row goes and how many there are."""
        return {"next": self.next, "filled": self.filled}

    def restore(self, arrays: dict[str, NDArray[Any]], counters: dict[str, int]) -> None:
        """Take back `arrays` and `counters`."""
        self.next, self.filled = counters["next"], counters["filled"]
        for name, array in self.arrays().items():
            array[:] = arrays[name]


def _network(widths: list[int], activation: str) -> nn.Sequential:
    """Linear layers of these widths, an activation between each two."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def _drawn(scores: Tensor) -> Tensor:
    """One choice per row, drawn from the softmax of `scores` [N, A] by the Gumbel-max rule."""
    return (scores - torch.empty_like(scores).exponential_().log_()).argmax(dim=1)


def _joint_actions(tables: CostTables, config: HindsightConfig) -> NDArray[np.int64]:
    """The joint actions it chooses between; those of differing devices where these are trained on."""
    actions = useful_actions(tables, config.candidates)
    devices: list[Perturbation] = []
    if config.domain_randomisation > 0.0:
        devices += draw_perturbations(config.domain_randomisation, _RANDOMISED_DEVICES, seed=0)
    if config.other_uplinks > 0.0:
        devices += draw_uplinks(_RANDOMISED_DEVICES, seed=0)
    if not devices:
        return actions
    others = [useful_actions(perturbed(tables, device), config.candidates) for device in devices]
    every = np.concatenate([actions, *others])
    _, first = np.unique(every, axis=0, return_index=True)
    return every[np.sort(first)][: 2 * config.candidates]  # those of the scenario itself come first


def build(config: HindsightConfig, env: TrainingEnv, seed: int) -> HindsightLearner:
    """A fresh learner on `env`; torch has been seeded.

    Raises:
        ConfigError: `acts_on` is given: it always chooses whole joint actions.
    """
    if config.acts_on is not None:
        raise ConfigError("hindsight: acts_on: it chooses whole joint actions; leave it out")
    return HindsightLearner(config, env, seed)
