"""How long one decision takes, observation to joint action: stable-baselines3's own predict, numpy here, the
bundle's ONNX in the controller and the exported C; all of the same networks.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.config import load_agent_config
from dvfo_agents.decisions import decision
from dvfo_agents.learned import LearnedPolicy, load_policy
from dvfo_agents.view import agent_view
from dvfo_benchmarks.timing import machine
from dvfo_controller.policies import open_policy
from dvfo_env.errors import DvfoError
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.scenario import load_scenario
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_export.bundles import write_bundle
from dvfo_export.c_source import write_c
from dvfo_export.learned import export_policy

AGENTS = ("hindsight", "ppo", "sac")
COMPILE = ("cc", "-std=c99", "-O2")
_DRIVER = """
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "policy.h"
#define ROWS %d
#define CALLS %d
static float rows[ROWS][DVFO_FEATURES];
int main(int count, char **arguments)
{
    const clockid_t clock = count > 1 && arguments[1][0] == 'c' ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    dvfo_policy policy;
    int action[DVFO_PARTS], i, part;
    struct timespec begun, done;
    if (fread(rows, sizeof rows, 1, stdin) != 1)
        return 1;
    for (i = 0; i < CALLS; i++) {
        if (i %% ROWS == 0)
            dvfo_policy_reset(&policy);
        clock_gettime(clock, &begun);
        dvfo_policy_decide(&policy, rows[i %% ROWS], action);
        clock_gettime(clock, &done);
        printf("%%ld", (done.tv_sec - begun.tv_sec) * 1000000000L + done.tv_nsec - begun.tv_nsec);
        for (part = 0; part < DVFO_PARTS; part++)
            printf(" %%d", action[part]);
        puts("");
    }
    return 0;
}
"""

#: One decision: observation float32 [features] -> joint action int64 [6].
_Decide = Callable[[NDArray[np.float32]], NDArray[np.int64]]


def bench_decision(
    scenario: str = "default", run: str | None = None, calls: int = 20_000, rows: int = 500
) -> dict[str, Any]:
    """Median and 99th percentile of one decision in microseconds, and whether all decide the same.

    `p99_us` is what passes on the clock: where other programs share the cores it says how long those were
    let in. `p99_cpu_us` is processor time.

    Networks are the shipped ones of `AGENTS` with fresh weights, or the policy of the folder `run`; the
    observations `rows` of episodes with random actions. C is compiled with `cc -O2` and timed from inside,
    the others from Python; where there is no compiler its rows are missing.

    Raises:
        DvfoError: the scenario or the run cannot be loaded.
    """
    if run is not None:
        trained = load_policy(run)
        if trained.scenario is None:
            raise DvfoError(f"{run}: does not say its scenario")
        tables = compile_scenario(trained.scenario)
        contestants: list[tuple[LearnedPolicy, Any]] = [(trained, None)]
    else:
        tables = compile_scenario(load_scenario(scenario))
        contestants = [_fresh(name, tables) for name in AGENTS]
    observations = _observations(tables, rows)
    speeds = [
        row for policy, model in contestants for row in _ways(policy, model, tables, observations, calls)
    ]
    return {
        "scenario": tables.scenario.name,
        "decisions": calls,
        "compiler": " ".join(COMPILE) if shutil.which(COMPILE[0]) else None,
        **machine(),
        "speeds": speeds,
    }


def _fresh(name: str, tables: CostTables) -> tuple[LearnedPolicy, Any]:
    """A shipped agent before training, and its stable-baselines3 model where it has one."""
    from stable_baselines3.common.base_class import BaseAlgorithm

    from dvfo_agents.learners import build_learner

    config = load_agent_config(name)
    learner: Any = build_learner(config, tables, seed=0)
    view = agent_view(tables, config)
    weights = {key: value.detach().cpu().numpy() for key, value in learner.policy.state_dict().items()}
    decide = decision(config, weights, view.sizes.tolist(), config.history * OBSERVATION_SIZE)
    policy = LearnedPolicy(config.label, Path(name), tables.scenario, 0, view, decide, config.history)
    return policy, learner if isinstance(learner, BaseAlgorithm) else None


def _observations(tables: CostTables, rows: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    simulator = Simulator(tables, 1)
    seen = [simulator.reset(np.array([0]))[0].copy()]
    while len(seen) < rows:
        seen.append(simulator.step(rng.integers(0, tables.sizes)[None]).observations[0].copy())
    return np.array(seen)


def _ways(
    policy: LearnedPolicy, model: Any, tables: CostTables, observations: NDArray[np.float32], calls: int
) -> list[dict[str, Any]]:
    exported = export_policy(policy)
    policy.reset(1)
    expected = np.array([policy.act(row[None])[0] for row in observations])
    found = []
    with tempfile.TemporaryDirectory(prefix="dvfo-bench-") as folder:
        device = open_policy(write_bundle(Path(folder) / "bundle", tables, exported))
        ways: list[tuple[str, Callable[[], None], _Decide, int]] = [
            ("numpy", lambda: policy.reset(1), lambda row: policy.act(row[None])[0], calls),
            ("ONNX in the controller", device.reset, device.decide, calls),
        ]
        if model is not None and policy.history == 1:
            ways.insert(0, ("stable-baselines3 predict", lambda: None, _predicts(policy, model), calls // 10))
        for way, reset, decide, count in ways:
            found.append(
                {"agent": policy.name, "decided by": way, **_timed(reset, decide, observations, count)}
            )
        if shutil.which(COMPILE[0]):
            write_c(folder, exported, tables)
            found.append(
                {"agent": policy.name, "decided by": "C", **_timed_c(Path(folder), observations, calls)}
            )
    for row in found:
        row["same"] = bool(np.array_equal(row.pop("actions"), expected))
    return found


def _predicts(policy: LearnedPolicy, model: Any) -> _Decide:
    view = policy.view
    return lambda row: view.to_indices(model.predict(row[None], deterministic=True)[0])[0]


def _timed(
    reset: Callable[[], None], decide: _Decide, observations: NDArray[np.float32], calls: int
) -> dict[str, Any]:
    rows = len(observations)
    actions = np.empty((rows, 6), dtype=np.int64)
    for warm in observations[:100]:
        decide(warm)
    passed = []
    for clock in (time.perf_counter_ns, time.thread_time_ns):
        spent_ns = np.empty(max(calls, rows))
        for i in range(len(spent_ns)):
            if i % rows == 0:
                reset()
            row = observations[i % rows]
            begun = clock()
            action = decide(row)
            spent_ns[i] = clock() - begun
            actions[i % rows] = action
        passed.append(spent_ns)
    return _figures(passed[0], passed[1], actions)


def _timed_c(folder: Path, observations: NDArray[np.float32], calls: int) -> dict[str, Any]:
    rows = len(observations)
    (folder / "driver.c").write_text(_DRIVER % (rows, max(calls, rows)), encoding="utf-8")
    sources = [str(folder / name) for name in ("policy.c", "driver.c")]
    subprocess.run([*COMPILE, *sources, "-o", str(folder / "driver"), "-lm"], check=True, capture_output=True)
    data = np.ascontiguousarray(observations, dtype=np.float32).tobytes()
    passed = []
    for clock in ("wall", "cpu"):
        done = subprocess.run([str(folder / "driver"), clock], input=data, check=True, capture_output=True)
        passed.append(np.array([line.split() for line in done.stdout.splitlines()], dtype=np.int64))
    return _figures(passed[0][:, 0], passed[1][:, 0], passed[0][:rows, 1:])


def _figures(
    wall_ns: NDArray[np.number], cpu_ns: NDArray[np.number], actions: NDArray[np.int64]
) -> dict[str, Any]:
    median, p99 = np.percentile(wall_ns, [50, 99]) * 1e-3
    p99_cpu = float(np.percentile(cpu_ns, 99)) * 1e-3
    return {"median_us": float(median), "p99_us": float(p99), "p99_cpu_us": p99_cpu, "actions": actions}
