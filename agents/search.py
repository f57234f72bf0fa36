"""Search for hyper-parameters: random configurations, in rounds. What tuned `configs/agents/*.yaml`.

    python -m dvfo_agents.search ppo --trials 16 --seconds 25,60 --keep 4 --workers 2

Every round trains all configurations that are still in from scratch, each for that round's seconds of
processor time (so that a busy machine does not decide who wins), evaluates the deterministic policy on a
validation bank that is neither the training bank nor one that evaluation uses, and keeps the best quarter.
The shipped configuration is always among the first. One JSON line per trial is printed.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from dvfo_agents.config import AgentConfig, load_agent_config, parse_agent_config

VALIDATION_BANK_SEED = 7_777
_EPISODES = 256

#: What is drawn, uniformly from each list; everything else stays as shipped.
SPACE: dict[str, dict[str, list[Any]]] = {
    "ppo": {
        "n_envs": [256, 512, 1024],
        "n_steps": [16, 32, 64],
        "batch_size": [2048, 4096, 8192],
        "n_epochs": [3, 4, 6],
        "learning_rate": [1e-3, 2e-3, 3e-3, 5e-3],
        "final_learning_rate_share": [0.03, 0.1],
        "gamma": [0.0, 0.3, 0.5],
        "gae_lambda": [0.5, 0.8, 0.95],
        "clip_range": [0.2, 0.3],
        "ent_coef": [0.02, 0.05, 0.1],
        "final_ent_coef_share": [0.02, 0.1],
        "cost_knee": [5.0, 20.0],
        "net_arch": [[64, 64], [128, 128]],
        "activation": ["tanh", "relu"],
    },
    "sac": {
        "n_envs": [128, 256],
        "gradient_steps": [1, 2],
        "batch_size": [256, 512, 1024],
        "buffer_size": [200_000, 400_000],
        "learning_rate": [1e-3, 2e-3],
        "final_learning_rate_share": [0.1, 0.3],
        "gamma": [0.0, 0.3],
        "tau": [0.01, 0.03],
        "ent_coef": [0.1, 0.2, 0.5],
        "final_ent_coef": [0.001, 0.003, 0.01],
        "cost_knee": [1.0, 2.0, 5.0],
        "net_arch": [[64, 64], [128, 128]],
    },
}


class Trial(NamedTuple):
    """One configuration to try: which agent, what differs from the shipped one, for how long."""

    agent: str
    scenario: str
    changes: dict[str, Any]
    seconds: float
    seed: int


def main(argv: list[str] | None = None) -> int:
    """Run the search; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dvfo_agents.search", description="Search for hyper-parameters."
    )
    parser.add_argument("agent", choices=sorted(SPACE))
    parser.add_argument("--scenario", default="default", metavar="NAME|FILE")
    parser.add_argument("--trials", type=int, default=16, help="configurations in round one (default: 16)")
    parser.add_argument("--seconds", default="25,60", help="processor seconds, per round (default: 25,60)")
    parser.add_argument("--keep", type=int, default=4, help="one in KEEP stays for the next (default: 4)")
    parser.add_argument("--workers", type=int, default=2, help="trials at a time (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    arguments = parser.parse_args(argv)
    rng = np.random.default_rng(arguments.seed)
    candidates = [{}, *(draw(arguments.agent, rng) for _ in range(arguments.trials - 1))]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=spawn) as pool:
        for number, seconds in enumerate(float(word) for word in arguments.seconds.split(",")):
            trials = [Trial(arguments.agent, arguments.scenario, c, seconds, seed=number) for c in candidates]
            costs = []
            for trial, result in zip(trials, pool.map(run, trials), strict=True):
                print(json.dumps({"round": number, **result, "changes": trial.changes}), flush=True)
                costs.append(result["cost"])
            best = np.argsort(costs)[: math.ceil(len(candidates) / arguments.keep)]
            candidates = [candidates[i] for i in best]
    return 0


def draw(agent: str, rng: np.random.Generator) -> dict[str, Any]:
    """A random point of the agent's space."""
    return {key: choices[rng.integers(len(choices))] for key, choices in SPACE[agent].items()}


def run(trial: Trial) -> dict[str, Any]:
    """Train and evaluate one trial: cost per request on the validation bank, steps trained, seconds."""
    from dvfo_agents.learners import build_learner
    from dvfo_env.scenario import load_scenario
    from dvfo_env.tables import compile_scenario

    tables = compile_scenario(load_scenario(trial.scenario))
    learner = build_learner(configure(trial), tables, trial.seed)
    began_s = time.process_time()
    while (spent_s := time.process_time() - began_s) < trial.seconds:
        learner.progress_remaining = 1.0 - spent_s / trial.seconds
        learner.advance()
    return {
        "cost": round(validation_cost(learner), 5),
        "steps": learner.num_timesteps,
        "seconds": trial.seconds,
    }


def configure(trial: Trial) -> AgentConfig:
    """The shipped configuration with the trial's changes.

    Raises:
        ConfigError: a change does not fit.
    """
    shipped = load_agent_config(trial.agent).model_dump()
    return parse_agent_config({**shipped, **trial.changes}, where="trial")


def validation_cost(learner: Any) -> float:
    """Mean cost per request of a learner's deterministic policy over 256 episodes of the validation bank."""
    from dvfo_agents.learners import training_env
    from dvfo_env.simulator import Simulator

    env = training_env(learner)
    simulator = Simulator(env.tables, _EPISODES, bank_seed=VALIDATION_BANK_SEED, autoreset=False)
    observations = simulator.reset(10_000_000 + np.arange(_EPISODES))
    running, total = np.ones(_EPISODES, dtype=bool), 0.0
    while running.any():
        actions, _ = learner.predict(observations, deterministic=True)
        batch = simulator.step(env.view.to_indices(actions))
        total -= float(batch.rewards[running].sum(dtype=np.float64))
        running &= batch.ends == 0
        observations = batch.observations
    return total / (_EPISODES * env.tables.scenario.episode_requests)


if __name__ == "__main__":
    sys.exit(main())
