"""The environments as learners see them: rewards made learnable, observations stacked, outcomes counted, time
measured.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dvfo_agents.fleet import Fleet
from dvfo_agents.history import History
from dvfo_agents.view import AgentView
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.sb3 import SB3VecEnv
from dvfo_env.simulator import Batch
from dvfo_env.state import OUTCOME, WAITING
from dvfo_env.tables import ACTION_PARTS, CostTables


class Memory(NamedTuple):
    """What a checkpoint must hold of a learner or of its environments: arrays and plain JSON values."""

    arrays: dict[str, NDArray[Any]]
    counters: dict[str, Any]


class Totals:
    """Sums over a stretch of training, in the environment's own units.

    Attributes:
        steps: environment steps counted.
        outcomes: sum of every outcome column, float64 [len(OUTCOME)], in the order of `state.OUTCOME`.
        reward: sum of the unclipped rewards.
        choices: how often each choice of each action part was taken, one int64 [size] per part of
            ACTION_PARTS.
        env_seconds: time spent in environment steps.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.steps = 0
        self.outcomes: NDArray[np.float64] = np.zeros(len(OUTCOME))
        self.reward = 0.0
        self.choices: list[NDArray[np.int64]] = [np.zeros(size, dtype=np.int64) for size in sizes]
        self.env_seconds = 0.0


def compress(rewards: NDArray[np.float32], cost_knee: float) -> NDArray[np.float32]:
    """Rewards [N] as a learner sees them: unchanged down to -knee, below it -knee (1 + ln(cost / knee)).

    A queue that overflows costs a hundred times a sensible decision. The logarithm keeps such steps from
    drowning everything else and, unlike clipping, still says which of two bad decisions is worse.
    """
    costs = np.maximum(-rewards, cost_knee)
    return np.where(-rewards > cost_knee, -cost_knee * (1.0 + np.log(costs / cost_knee)), rewards).astype(
        np.float32
    )


class TrainingEnv(SB3VecEnv):
    """`SB3VecEnv` for a learner.

    Args:
        tables: the compiled scenario.
        n_envs: batch size.
        continuous: Box actions instead of MultiDiscrete.
        seed: environment i begins with seed + i.
        cost_knee: the learner sees costs above it on a logarithmic scale, see `compress`.
        history: observations are those of the last `history` requests, newest first
            (float32 [N, history * OBSERVATION_SIZE]).
        acts_on: the parts of the action that the learner decides on; None for all.
        domain_randomisation: devices differ from their model by up to this share, see `Fleet`; 0 for the
            model itself.
        other_uplinks: share of the environments whose uplink is another, see `Fleet`.
        clock: seconds, for the share of the time spent here.

    `recent_costs` holds the cost per request of the last 256 episodes that ended (dropped requests included),
    `steps` and `env_seconds` the environment steps done here and the time they took.
    """

    render_mode: str | None = None  # stable-baselines3 asks for it

    def __init__(
        self,
        tables: CostTables,
        n_envs: int,
        *,
        continuous: bool,
        seed: int,
        cost_knee: float,
        history: int = 1,
        acts_on: tuple[str, ...] | None = None,
        domain_randomisation: float = 0.0,
        other_uplinks: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(tables, n_envs, continuous=continuous, seed=seed)
        self.view = AgentView(tables, continuous, acts_on)
        self.action_space = self.view.space
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (history * OBSERVATION_SIZE,), np.float32)
        self.history = History(history)
        self.simulator: Fleet = Fleet(tables, n_envs, domain_randomisation, seed, other_uplinks=other_uplinks)
        self.cost_knee = cost_knee
        self._latency_weight_per_ms = float(tables.params[0]["latency_weight_per_ms"])
        self.recent_costs: deque[float] = deque(maxlen=256)
        self.totals = Totals(tables.sizes)
        self.steps = 0
        self.env_seconds = 0.0
        self._clock = clock

    def reset(self) -> NDArray[np.float32]:
        """Begin episodes everywhere; stacked observations float32 [N, features]."""
        return self.history.begin(super().reset())

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Do the step; as `SB3VecEnv.step_wait`, with rewards float32 [N] for learning."""
        began = self._clock()
        cost_per_ms = (1.0 - self.simulator.states["eta"]) * self._latency_weight_per_ms
        seen = self.history.stacked
        assert seen is not None
        observations, rewards, dones, infos = super().step_wait()
        self._count(rewards)
        for i in np.flatnonzero(dones):
            last = infos[i]["terminal_observation"]
            infos[i]["terminal_observation"] = History.seen_after(last[None], seen[i : i + 1])[0]
            episode_cost = -infos[i]["episode"]["r"]
            self.recent_costs.append(episode_cost / self.tables.scenario.episode_requests)
        charged = (rewards - cost_per_ms * self._waiting_caused_ms()).astype(np.float32)
        spent = self._clock() - began
        self.totals.env_seconds += spent
        self.env_seconds += spent
        return self.history.push(observations, dones), compress(charged, self.cost_knee), dones, infos

    def imagine(self, actions: NDArray[np.int64]) -> Batch:
        """What joint actions [A, parts] would lead to in every environment, see `Simulator.imagine`."""
        began = self._clock()
        batch = self.simulator.imagine(actions)
        spent = self._clock() - began
        self.totals.env_seconds += spent
        self.env_seconds += spent
        return batch

    @property
    def elsewhere(self) -> NDArray[np.bool_]:
        """Which environments are on another uplink than the scenario's, bool [N]."""
        return self.simulator.elsewhere

    def memory(self) -> Memory:
        """What a checkpoint must hold beside the state of every device."""
        arrays: dict[str, NDArray[Any]] = {"returns": self._returns, "lengths": self._lengths}
        if self.history.stacked is not None:
            arrays["history"] = self.history.stacked
        counters = {"recent_costs": list(self.recent_costs), "fleet_age": self.simulator.age}
        return Memory(arrays, counters)

    def restore_memory(self, memory: Memory) -> None:
        """Take back what `memory` gave."""
        self._returns[:] = memory.arrays["returns"]
        self._lengths[:] = memory.arrays["lengths"]
        if "history" in memory.arrays:
            self.history.stacked = memory.arrays["history"].copy()
        self.recent_costs.extend(memory.counters["recent_costs"])
        self.simulator.restore_age(memory.counters["fleet_age"])

    def _waiting_caused_ms(self) -> NDArray[np.float64]:
        """How much longer the next request waits than the one just served did [N].

        The wait of a request is the doing of the decisions before it. Charging it to them leaves the sum over
        an episode as it is, and lets a learner with a low gamma see what a slow answer brings about.
        """
        assert self.last_batch is not None
        states = self.simulator.states
        waiting_ms: NDArray[np.float64] = states["now_ms"] - states["arrival_ms"]
        return waiting_ms - self.last_batch.outcomes[:, WAITING]

    def _count(self, rewards: NDArray[np.float32]) -> None:
        totals, batch = self.totals, self.last_batch
        assert batch is not None
        self.steps += self.num_envs
        totals.steps += self.num_envs
        totals.outcomes += batch.outcomes.sum(axis=0, dtype=np.float64)
        totals.reward += float(rewards.sum(dtype=np.float64))
        for part in range(len(ACTION_PARTS)):
            counts = totals.choices[part]
            counts += np.bincount(self.last_actions[:, part], minlength=len(counts))

    def take_totals(self) -> Totals:
        """What has been counted since the last call; counting starts again from zero."""
        taken, self.totals = self.totals, Totals(self.tables.sizes)
        return taken

    def mean_recent_cost(self) -> float | None:
        """Mean cost per request of the recent episodes, exploration included; None before one ends."""
        return float(np.mean(self.recent_costs)) if self.recent_costs else None
