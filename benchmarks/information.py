"""What bounds a policy: what it cannot know, or what it has not learned?

The same learner (`hindsight`) is trained on the same scenario several times, each time told more about the
uplink, the round-trip time and the server than a device could know:

    device    the observation as it is
    past      and every sample of the outside world that is over, the last five of them
    present   and the sample in which the request is taken up
    future    and the one after it

Where `device` stands close to `past`, remembering more would not help; where `future` is close to the bound,
the learner finds what there is to find, and the rest of the gap is what nobody can know. A measurement of
one training each, not a proof: a learner told more may also learn a little worse.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.baselines.best_fixed import make as best_fixed
from dvfo_agents.config import LearnerConfig, load_agent_config
from dvfo_agents.learners.hindsight import HindsightLearner, build
from dvfo_agents.training_env import TrainingEnv
from dvfo_benchmarks.timing import machine
from dvfo_env.observation import RATE_CENTRE_LOG2, RATE_SPAN_LOG2, RTT_SPAN_LOG2, SERVER_SPAN_LOG2
from dvfo_env.oracle import bound_costs
from dvfo_env.simulator import Batch, Simulator
from dvfo_env.tables import LOAD, RATE_LOG2, RTT, CostTables

#: Samples told, by how many lie between them and the one in which the request is taken up.
KNOWLEDGE: dict[str, tuple[int, ...]] = {
    "device": (),
    "past": (1, 2, 3, 4, 5),
    "present": (0, 1, 2),
    "future": (-1, 0, 1),
}
_BANK_SEED, _FIRST_SEED, _EPISODES = 1, 2_000_000, 64


class Informed:
    """Appends what is told to observations.

    Args:
        tables: the compiled scenario.
        lags: samples told, see `KNOWLEDGE`.
    """

    def __init__(self, tables: CostTables, lags: tuple[int, ...]) -> None:
        self._step_ms = float(tables.params[0]["bank_step_ms"])
        self._lags = lags

    @property
    def features(self) -> int:
        """Numbers appended: three for each sample, and how far the present one is over."""
        return 3 * len(self._lags) + 1 if self._lags else 0

    def tell(
        self, observations: NDArray[np.float32], states: NDArray[np.void], bank: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Observations [N, ...] of devices in `states` [N], with what is told [N, ... + features]."""
        if not self._lags:
            return observations.copy()
        steps = states["now_ms"] / self._step_ms
        sample = states["offset"] + steps.astype(np.int64)
        told = [steps % 1.0]
        for lag in self._lags:
            rows = bank[(sample - lag) % len(bank)].astype(np.float64)
            told += [
                (rows[:, RATE_LOG2] - RATE_CENTRE_LOG2) / RATE_SPAN_LOG2,
                np.log2(np.maximum(rows[:, RTT], 1.0)) / RTT_SPAN_LOG2,
                np.log2(rows[:, LOAD]) / SERVER_SPAN_LOG2,
            ]
        return np.concatenate([observations, np.stack(told, axis=1).astype(np.float32)], axis=1)


class _InformedEnv(TrainingEnv):
    """A `TrainingEnv` whose observations tell more; for `hindsight` without history only."""

    def __init__(self, tables: CostTables, config: LearnerConfig, informed: Informed) -> None:
        import gymnasium as gym

        super().__init__(
            tables, config.n_envs, continuous=False, seed=1_000_000_000, cost_knee=config.cost_knee
        )
        width = (self.observation_space.shape or (0,))[0] + informed.features
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self._informed = informed

    def reset(self) -> NDArray[np.float32]:
        """As `TrainingEnv.reset`, with what is told."""
        return self._told(super().reset(), self.simulator.states)

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """As `TrainingEnv.step_wait`, with what is told."""
        observations, rewards, dones, infos = super().step_wait()
        return self._told(observations, self.simulator.states), rewards, dones, infos

    def imagine(self, actions: NDArray[np.int64]) -> Batch:
        """As `TrainingEnv.imagine`, with what would be told."""
        batch = super().imagine(actions)
        return batch._replace(observations=self._told(batch.observations, self.simulator.imagined_states))

    def _told(self, observations: NDArray[np.float32], states: NDArray[np.void]) -> NDArray[np.float32]:
        return self._informed.tell(observations, states, self.simulator.bank)


def bench_information(scenario: str = "default", steps: int = 1_000_000) -> dict[str, Any]:
    """Scores on 64 held-out episodes of a learner told nothing more, the past, the present, the future."""
    from dvfo_env.scenario import load_scenario
    from dvfo_env.tables import compile_scenario

    tables = compile_scenario(load_scenario(scenario))
    seeds = _FIRST_SEED + np.arange(_EPISODES)
    bound = float(bound_costs(tables, seeds, bank_seed=_BANK_SEED).mean())
    fixed_action = best_fixed(tables).act(np.zeros((1, 1), dtype=np.float32))
    fixed = _cost(tables, lambda simulator, seen: np.repeat(fixed_action, simulator.n, axis=0))
    rows = []
    for name, lags in KNOWLEDGE.items():
        cost = _trained_cost(tables, Informed(tables, lags), steps)
        room = fixed - bound
        rows.append({"told": name, "cost": cost, "score": (fixed - cost) / room if room > 1e-9 else None})
    return {
        "scenario": tables.scenario.name,
        "steps": steps,
        "episodes": _EPISODES,
        "best_fixed_cost": fixed,
        "bound_cost": bound,
        **machine(),
        "speeds": rows,
    }


def _trained_cost(tables: CostTables, informed: Informed, steps: int) -> float:
    import torch

    config = load_agent_config("hindsight")
    assert config.algorithm == "hindsight"
    torch.set_num_threads(config.torch_threads)
    torch.manual_seed(0)
    learner: HindsightLearner = build(config, _InformedEnv(tables, config, informed), seed=0)
    while learner.num_timesteps < steps:
        learner.progress_remaining = 1.0 - learner.num_timesteps / steps
        learner.advance()
    view = learner.get_env().view

    def decide(simulator: Simulator, seen: NDArray[np.float32]) -> NDArray[np.int64]:
        chosen, _ = learner.predict(informed.tell(seen, simulator.states, simulator.bank), deterministic=True)
        return view.to_indices(chosen)

    return _cost(tables, decide)


def _cost(tables: CostTables, decide: Any) -> float:
    """Mean cost per request over held-out episodes of `decide(simulator, observations) -> actions`."""
    simulator = Simulator(tables, _EPISODES, bank_seed=_BANK_SEED, autoreset=False)
    seen = simulator.reset(_FIRST_SEED + np.arange(_EPISODES))
    running, total = np.ones(_EPISODES, dtype=bool), 0.0
    while running.any():
        batch = simulator.step(decide(simulator, seen))
        total -= float(batch.rewards[running].sum(dtype=np.float64))
        running &= batch.ends == 0
        seen = batch.observations
    return total / (_EPISODES * tables.scenario.episode_requests)
