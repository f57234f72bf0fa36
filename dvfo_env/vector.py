"""The native batch: a gymnasium VectorEnv whose step is one call of the compiled step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dvfo_env.scenario import Scenario, load_scenario
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator, reward_vectors
from dvfo_env.spaces import ActionView, observation_space, reward_space
from dvfo_env.state import OUTCOME
from dvfo_env.tables import CostTables, compile_scenario


class DVFOVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """N copies of `DVFOEnv` in one compiled step; same arguments, plus `num_envs`.

    Environment i reset with seed s behaves step for step as a scalar environment reset with seed s + i.
    Episodes
    restart in the step in which they end (`AutoresetMode.SAME_STEP`): `info["final_obs"]` holds the last
    observations [N, features] and `info["_final_obs"]` says where they are valid. `info` holds every outcome
    column
    as float32 [N] and `reward_vector` float32 [N, 3].
    """

    metadata = {  # noqa: RUF012
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": [],
    }

    def __init__(
        self,
        scenario: str | Path | Scenario = "default",
        *,
        num_envs: int = 1,
        continuous: bool = False,
        bank_seed: int = TRAINING_BANK_SEED,
        render_mode: str | None = None,
        tables: CostTables | None = None,
    ) -> None:
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.tables = compile_scenario(load_scenario(scenario)) if tables is None else tables
        self.view = ActionView(self.tables, continuous)
        self.single_action_space = self.view.space
        self.single_observation_space = observation_space()
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.reward_space = reward_space()
        self.simulator = Simulator(self.tables, num_envs, bank_seed=bank_seed, autoreset=True)
        self._seeded = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode everywhere. An integer seed s gives environment i the seed s + i.

        Raises:
            gymnasium.error.Error: a list of seeds of the wrong length.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        if seed is None and self._seeded:
            return self.simulator.next_episode().copy(), {}
        if isinstance(seed, list):
            if len(seed) != self.num_envs:
                raise gym.error.Error(f"{len(seed)} seeds for {self.num_envs} environments")
            fresh = self.np_random.integers(1 << 62, size=self.num_envs)
            seeds = np.array(
                [f if s is None else s for s, f in zip(seed, fresh, strict=True)], dtype=np.int64
            )
        elif seed is None:
            seeds = self.np_random.integers(1 << 62, size=self.num_envs)
        else:
            seeds = seed + np.arange(self.num_envs)
        self._seeded = True
        return self.simulator.reset(seeds).copy(), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """One request in every environment; rewards float64 [N], terminations and truncations bool [N].

        Raises:
            ActionError: an action is not finite, out of range or of the wrong shape; nothing is stepped then.
        """
        batch = self.simulator.step(self.view.to_indices(actions))
        columns = batch.outcomes.T.copy()
        info: dict[str, Any] = dict(zip(OUTCOME, columns, strict=True))
        info["reward_vector"] = reward_vectors(self.tables, batch.outcomes)
        over = batch.ends > 0
        if over.any():
            info["final_obs"] = batch.final_observations.copy()
            info["_final_obs"] = over
        return (
            batch.observations.copy(),
            batch.rewards.astype(np.float64),
            batch.ends == 2,
            batch.ends == 1,
            info,
        )
