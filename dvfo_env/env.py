"""The scalar Gymnasium environments: `DVFO-v0` (MultiDiscrete) and `DVFOContinuous-v0` (Box[-1, 1])."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dvfo_env.observation import FEATURES
from dvfo_env.scenario import Scenario, load_scenario
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.spaces import ActionView, observation_space, reward_space
from dvfo_env.state import ACCURACY_LOST, CPU_INDEX, ENERGY_MJ, GPU_INDEX, LATENCY_MS, MEM_INDEX, OUTCOME
from dvfo_env.tables import ACTION_PARTS, CPU, GPU, MEM, RATE, CostTables, compile_scenario


def _feature_table() -> str:
    rows = [
        f"| {i} | {f.name} | {f.unit} | {f.low} | {f.high} | {f.meaning} |" for i, f in enumerate(FEATURES)
    ]
    return "\n    ".join(
        ["| Num | Name | Unit | at the low end | at 1 | Meaning |", "|---|---|---|---|---|---|", *rows]
    )


class DVFOEnv(gym.Env[NDArray[np.float32], NDArray[Any]]):
    """One device that decides, for every inference request, how and where to run it.

    ## Description
    A device on the edge runs a neural network on every request. For each request it chooses jointly the split
    point
    (which layers run here, which on a server), the core mapping, the CPU, GPU and memory clocks, and how the
    feature it sends is compressed. Latency and power come from a device profile fitted to measurements,
    bandwidth
    from an uplink model fitted to traces (or a trace file), bytes and accuracy from an accuracy table.

    ## Action Space
    `DVFO-v0`: MultiDiscrete with one entry per free part; `DVFOContinuous-v0`: Box[-1, 1], float32, one entry
    per free part, cut into cells, one a choice (`dvfo_env.spaces.box_edges`). Parts, in order: {parts}. A
    part with one legal value is pinned and does not appear; sizes come from the scenario. Clocks that exceed
    a thermal cap are lowered to it.

    ## Observation Space
    Box[-1, 1] of shape ({n},), float32: only what a real device knows when the request's turn comes. Where
    decisions are concurrent (`Scenario.decision`): what it knew when it took up the request before, whose
    clocks are then in force and whose waiting is shown.

    {table}

    ## Rewards
    Minus the cost of the request (see `scenario.Objective`), minus the cost of requests dropped while it ran.
    Latency counts from arrival to answer and energy from start to answer; the energy of the idle gap until
    the next
    request is reported (`info["idle_mj"]`), heats the device and drains the battery, but is not part of the
    cost.
    `info["reward_vector"]` holds (latency, energy, accuracy) unweighted, `reward_space` its space.

    ## Starting State
    Highest clocks, ambient temperature, nothing known about the uplink, at a random place of the bank.

    ## Episode End
    Truncated after `episode_requests` arrivals; terminated when the battery, if there is one, is empty.

    ## Arguments
    `scenario`: name of a shipped scenario, a YAML file, or a Scenario. `continuous`: Box instead of
    MultiDiscrete.
    `bank_seed`: which bank of the outside world to live in; training takes 0, evaluation others.
    `render_mode`: `ansi` (one line per request) or `rgb_array` (a timeline).

    ## Version History
    v0: first version.
    """

    __doc__ = (
        __doc__.replace("{parts}", ", ".join(ACTION_PARTS))
        .replace("{n}", str(len(FEATURES)))
        .replace("{table}", _feature_table())
    )

    metadata = {  # noqa: RUF012
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
    }

    def __init__(
        self,
        scenario: str | Path | Scenario = "default",
        *,
        continuous: bool = False,
        bank_seed: int = TRAINING_BANK_SEED,
        render_mode: str | None = None,
        tables: CostTables | None = None,
    ) -> None:
        self.tables = compile_scenario(load_scenario(scenario)) if tables is None else tables
        self.view = ActionView(self.tables, continuous)
        self.action_space = self.view.space
        self.observation_space: gym.spaces.Box = observation_space()  # type: ignore[assignment]
        self.reward_space = reward_space()
        self.reward_dim = 3
        self.render_mode = render_mode
        self.simulator = Simulator(self.tables, 1, bank_seed=bank_seed, autoreset=False)
        self._per_ms = float(self.tables.params[0]["latency_weight_per_ms"])
        self._per_mj = float(self.tables.params[0]["energy_weight_per_mj"])
        self._history: list[dict[str, Any]] = []
        self._seeded = False
        self._over = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; with `seed` a chosen one, else the next of the current chain."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            first = int(self.np_random.integers(1 << 62)) if seed is None else seed
            observations = self.simulator.reset(np.array([first]))
            self._seeded = True
        else:
            observations = self.simulator.next_episode()
        self._history.clear()
        self._over = False
        return observations[0].copy(), {}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Serve one request.

        Raises:
            ActionError: the action is not finite, out of range or of the wrong shape; the state is unchanged.
            gymnasium.error.ResetNeeded: the episode is over.
        """
        if self._over:
            raise gym.error.ResetNeeded("the episode is over: call reset() first")
        indices = self.view.to_indices(np.asarray(action)[None])
        batch = self.simulator.step(indices)
        row = batch.outcomes[0].tolist()
        info = self._info(row)
        end = int(batch.ends[0])
        self._over = end > 0
        if self.render_mode is not None:
            self._history.append({**info, **self._chosen(indices[0], row)})
        return batch.observations[0].copy(), float(batch.rewards[0]), end == 2, end == 1, info

    def _info(self, row: list[float]) -> dict[str, Any]:
        info: dict[str, Any] = dict(zip(OUTCOME, row, strict=True))
        info["reward_vector"] = np.array(
            [-row[LATENCY_MS] * self._per_ms, -row[ENERGY_MJ] * self._per_mj, -row[ACCURACY_LOST]],
            dtype=np.float32,
        )
        return info

    def _chosen(self, indices: NDArray[np.int64], row: list[float]) -> dict[str, Any]:
        in_force = indices.copy()
        in_force[CPU], in_force[GPU], in_force[MEM] = (int(row[i]) for i in (CPU_INDEX, GPU_INDEX, MEM_INDEX))
        state = self.simulator.states[0]
        rate = self.simulator.bank[
            (int(state["offset"]) + int(state["now_ms"] / self.tables.uplink.step_ms))
            % len(self.simulator.bank),
            RATE,
        ]
        action = self.tables.describe_action(in_force)
        return {
            "action": action,
            "cut_index": int(indices[0]),
            "now_ms": float(state["now_ms"]),
            "rate_mbps": float(rate),
        }

    def render(self) -> Any:
        """`ansi`: the last request as one line; `rgb_array`: uint8 [H, W, 3] timeline of the episode so
        far.
        """
        if self.render_mode is None:
            return None
        from dvfo_env import render

        if self.render_mode == "ansi":
            return render.line(self._history, self.tables)
        return render.frame(self._history, self.tables)
