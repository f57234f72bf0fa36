"""Adapter to stable-baselines3's VecEnv, natively batched. The only file here that imports
stable-baselines3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from dvfo_env.scenario import Scenario
from dvfo_env.simulator import TRAINING_BANK_SEED, Batch, Simulator
from dvfo_env.spaces import ActionView, observation_space
from dvfo_env.tables import CostTables, compile_scenario


class SB3VecEnv(VecEnv):
    """A batch of environments as stable-baselines3 wants it.

    Args:
        scenario: a Scenario or its compiled CostTables.
        n_envs: batch size.
        continuous: Box[-1, 1] actions (SAC) instead of MultiDiscrete (PPO).
        seed: first seed; environment i begins with seed + i.
        bank_seed: which bank of the outside world to live in.

    Episode statistics are kept here (`info["episode"]` as SB3's Monitor writes it), and `last_batch` gives
    callbacks
    the outcome rows of the last step without a dictionary for every environment.

    Where decisions take time, a learner that discounts by gamma ** (t_AS / H) reads the exponent off the next
    observation's `decision_share`: t_AS is the time that computing a decision takes (`decision.latency_ms`),
    H the time between the beginnings of the last two decisions. It is 0 where decisions are free.
    """

    render_mode: str | None = None

    def __init__(
        self,
        scenario: Scenario | CostTables,
        n_envs: int,
        *,
        continuous: bool = False,
        seed: int = 0,
        bank_seed: int = TRAINING_BANK_SEED,
    ) -> None:
        tables = scenario if isinstance(scenario, CostTables) else compile_scenario(scenario)
        self.tables = tables
        self.view = ActionView(tables, continuous)
        self.simulator = Simulator(tables, n_envs, bank_seed=bank_seed, autoreset=True)
        super().__init__(n_envs, observation_space(), self.view.space)
        self._first_seed = seed
        self._actions: NDArray[np.int64] = np.zeros((n_envs, len(tables.sizes)), dtype=np.int64)
        self._returns = np.zeros(n_envs)
        self._lengths = np.zeros(n_envs, dtype=np.int64)
        self._no_info: list[dict[str, Any]] = [{} for _ in range(n_envs)]
        self.last_batch: Batch | None = None
        self.last_actions = self._actions

    def reset(self) -> NDArray[np.float32]:
        """Begin the episodes of seeds `seed`, `seed + 1`, ...; observations float32 [N, features]."""
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return self.simulator.reset(self._first_seed + np.arange(self.num_envs)).copy()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions [N, free parts] of the next step.

        Raises:
            ActionError: an action is not finite, out of range or of the wrong shape.
        """
        self._actions = self.view.to_indices(actions)
        self.last_actions = self._actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Do the step; (observations, rewards, dones, infos) with SB3's conventions for ended episodes."""
        batch = self.simulator.step(self._actions)
        self.last_batch = batch
        self._returns += batch.rewards
        self._lengths += 1
        dones = batch.ends > 0
        infos = self._no_info
        if dones.any():
            infos = list(infos)
            for i in np.flatnonzero(dones):
                infos[i] = {
                    "terminal_observation": batch.final_observations[i].copy(),
                    "TimeLimit.truncated": bool(batch.ends[i] == 1),
                    "episode": {"r": float(self._returns[i]), "l": int(self._lengths[i])},
                }
            self._returns[dones] = 0.0
            self._lengths[dones] = 0
        return batch.observations.copy(), batch.rewards.copy(), dones, infos

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Set the first seed for the next reset; returns the seed of every environment."""
        if seed is not None:
            self._first_seed = seed
        return [self._first_seed + i for i in range(self.num_envs)]

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """The attribute of the batch, once per asked environment."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Set the attribute of the batch."""
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: int | Iterable[int] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Call the batch's method; one result per asked environment."""
        return [getattr(self, method_name)(*args, **kwargs)] * len(list(self._get_indices(indices)))

    def env_is_wrapped(
        self, wrapper_class: type[Any], indices: int | Iterable[int] | None = None
    ) -> list[bool]:
        """Never wrapped: the batch keeps its own episode statistics."""
        return [False] * len(list(self._get_indices(indices)))
