"""The environments as learners see them: rewards made learnable, outcomes counted, time measured."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.sb3 import SB3VecEnv
from dvfo_env.state import OUTCOME, WAITING
from dvfo_env.tables import ACTION_PARTS, CostTables


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
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(tables, n_envs, continuous=continuous, seed=seed)
        self.cost_knee = cost_knee
        self._latency_weight_per_ms = float(tables.params[0]["latency_weight_per_ms"])
        self.recent_costs: deque[float] = deque(maxlen=256)
        self.totals = Totals(tables.sizes)
        self.steps = 0
        self.env_seconds = 0.0
        self._clock = clock

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Do the step; as `SB3VecEnv.step_wait`, with rewards float32 [N] for learning."""
        began = self._clock()
        cost_per_ms = (1.0 - self.simulator.states["eta"]) * self._latency_weight_per_ms
        observations, rewards, dones, infos = super().step_wait()
        self._count(rewards)
        for i in np.flatnonzero(dones):
            episode_cost = -infos[i]["episode"]["r"]
            self.recent_costs.append(episode_cost / self.tables.scenario.episode_requests)
        charged = (rewards - cost_per_ms * self._waiting_caused_ms()).astype(np.float32)
        spent = self._clock() - began
        self.totals.env_seconds += spent
        self.env_seconds += spent
        return observations, compress(charged, self.cost_knee), dones, infos

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
