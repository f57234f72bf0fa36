"""Speed of the environment: batched, scalar, from a cold start; CartPole in the same run as the yardstick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dvfo_benchmarks.timing import machine, per_second
from dvfo_env.errors import DvfoError
from dvfo_env.scenario import load_scenario
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CostTables, compile_scenario

#: Batches of pre-drawn actions that a run goes through, so that drawing them is not timed.
DRAWS = 32

_FIRST_CALL = """
import json, sys, time
import numpy as np
from dvfo_env.scenario import load_scenario
from dvfo_env.simulator import Simulator
from dvfo_env.tables import compile_scenario
begun = time.perf_counter()
tables = compile_scenario(load_scenario(sys.argv[1]))
simulator = Simulator(tables, 1)
simulator.step(tables.out_of_the_box[None])
print(json.dumps(time.perf_counter() - begun))
"""


def bench_env(
    scenario: str = "default",
    batch_size: int = 4096,
    repeats: int = 7,
    seconds: float = 0.3,
    run: str | None = None,
) -> dict[str, Any]:
    """Environment steps a second on one core, and the seconds until the first step.

    `batched_*` time `Simulator.step` on pre-drawn joint actions, uniformly random or all out of the box, and
    `batched_policy_steps_per_s` on those that the policy trained in the folder `run` takes in those episodes;
    `vector_env_*` and `scalar_*` go through `gym.make_vec` and `gym.make` with their default wrappers, as
    the CartPole figures do. `compile_s` is the time from a loaded package to the first step with an empty
    compile cache, `cached_start_s` the same with the cache on disk.

    Raises:
        DvfoError: the scenario or the run cannot be loaded, or a fresh interpreter fails to step it.
    """
    tables = compile_scenario(load_scenario(scenario))
    compile_s, cached_start_s = first_call_seconds(scenario)
    speed = partial(per_second, repeats=repeats, seconds=seconds)
    random = random_actions(tables, batch_size)
    usual = np.repeat(tables.out_of_the_box[None, None], batch_size, axis=1)
    policy = {} if run is None else {"batched_policy_steps_per_s": speed(_policy(tables, batch_size, run))}
    return {
        "scenario": tables.scenario.name,
        "joint_actions": tables.joint_actions,
        "batch_size": batch_size,
        "actions": "uniformly random joint actions, drawn beforehand",
        "batched_steps_per_s": speed(_batched(tables, batch_size, random)),
        "batched_out_of_the_box_steps_per_s": speed(_batched(tables, batch_size, usual)),
        **policy,
        "vector_env_steps_per_s": speed(_vector_env(scenario, batch_size)),
        "scalar_steps_per_s": speed(_scalar("dvfo_env:DVFO-v0", scenario=scenario)),
        "cartpole_batched_steps_per_s": speed(_vector_env(None, batch_size)),
        "cartpole_scalar_steps_per_s": speed(_scalar("CartPole-v1")),
        "compile_s": compile_s,
        "cached_start_s": cached_start_s,
        **machine(),
    }


def random_actions(tables: CostTables, batch_size: int, draws: int = DRAWS) -> NDArray[np.int64]:
    """Uniformly random joint-action indices int64 [draws, batch_size, parts]."""
    generator = np.random.default_rng(0)
    return generator.integers(0, tables.sizes, size=(draws, batch_size, len(tables.sizes)))


def first_call_seconds(scenario: str) -> tuple[float, float]:
    """Seconds until the first step in a fresh interpreter: with an empty compile cache, then a filled one.

    Raises:
        DvfoError: the interpreter fails; the message is the last line it wrote.
    """
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = (_first_call(scenario, cache) for _ in range(2))
    return cold, warm


def _first_call(scenario: str, cache: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_CALL, scenario],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise DvfoError(f"a fresh interpreter cannot step {scenario}: {last}")
    return float(json.loads(done.stdout))


def _batched(tables: CostTables, batch_size: int, actions: NDArray[np.int64]) -> Callable[[], int]:
    simulator = Simulator(tables, batch_size)

    def run() -> int:
        for batch in actions:
            simulator.step(batch)
        return len(actions) * batch_size

    return run


def _policy(tables: CostTables, batch_size: int, run: str) -> Callable[[], int]:
    from dvfo_agents.learned import load_policy

    policy = load_policy(run, tables)
    policy.reset(batch_size)
    simulator = Simulator(tables, batch_size)
    start = simulator.states.copy()
    observations = simulator.reset(np.arange(batch_size))
    actions = []
    for _ in range(DRAWS):
        actions.append(policy.act(observations).copy())
        observations = simulator.step(actions[-1]).observations

    def run_again() -> int:
        simulator.states[:] = start
        for batch in actions:
            simulator.step(batch)
        return DRAWS * batch_size

    return run_again


def _vector_env(scenario: str | None, batch_size: int) -> Callable[[], int]:
    """The native batch of DVFO-v0, or of CartPole where `scenario` is None."""
    env_id = "CartPole-v1" if scenario is None else "dvfo_env:DVFO-v0"
    arguments: dict[str, Any] = {} if scenario is None else {"scenario": scenario}
    arguments |= {"num_envs": batch_size, "vectorization_mode": "vector_entry_point"}
    env: Any = gym.make_vec(env_id, **arguments)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(DRAWS)]

    def run() -> int:
        for batch in actions:
            env.step(batch)
        return DRAWS * batch_size

    return run


def _scalar(env_id: str, **arguments: Any) -> Callable[[], int]:
    env: Any = gym.make(env_id, **arguments)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(1000)]

    def run() -> int:
        for action in actions:
            *_, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return len(actions)

    return run
