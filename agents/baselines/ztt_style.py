"""zTT-style: a deep Q-network picks the clocks; everything runs on the device.

Kim et al., "zTT: Learning-Based DVFS with Zero Thermal Throttling for Mobile Devices" (MobiSys 2021;
`ztt-21/zTT`, Jetson_tx2/agent.py). There a DQN of two layers of six units sees clocks, powers, temperatures
and the frame rate, chooses one of 3 CPU x 3 GPU levels about once a second, and is paid
u + v + beta / power: u = min(1, frame rate / target), v = 0.2 tanh(target temperature - temperature), or -2
above the target, beta = 2. Its code marks every transition as the last of an episode.

What differs: it decides for every request; the memory clock, where there is one, has three levels too; power
is not in our observation, so the network sees clocks, temperature, caps, waiting, the weight eta and the
class of difficulty; u is min(1, deadline / latency), and beta / power becomes 2 times the power out of the
box over that of the request. Whether it is paid like that or by minus the scenario's cost, and whether it
looks ahead (discount 0 as in the code, or 0.9), is chosen on training episodes. The mapping is that of
`all-local`, whose clocks are added to the levels. The network is `dvfo_agents.planning.tiny_dqn`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.baselines import all_local
from dvfo_agents.planning.tiny_dqn import DqnPolicy, DqnSettings, train_cached
from dvfo_agents.planning.tuning import training_cost
from dvfo_env.observation import index_of
from dvfo_env.state import ENERGY_MJ, LATENCY_MS, TEMPERATURE
from dvfo_env.tables import CPU, GPU, MEM, CostTables

_KIND = "ztt-style"
_POSITIONS = (4.0 / 12.0, 8.0 / 12.0, 1.0)  # the paper's levels: the 4th, 8th and 12th of 12 clocks
_SEEN = tuple(
    index_of(name)
    for name in (
        "waiting",
        "cpu_clock",
        "gpu_clock",
        "mem_clock",
        "temperature",
        "throttled",
        "battery",
        "eta",
        "difficulty",
    )
)
_BETA, _WARM, _OVER, _MARGIN_C = 2.0, 0.2, -2.0, 5.0
_GAMMAS = (0.0, 0.9)

_Reward = Callable[[NDArray[np.float32], NDArray[np.float64]], NDArray[np.float64]]


def joint_actions(tables: CostTables) -> NDArray[np.int64]:
    """The joint actions int64 [A, parts]: everything local, three levels of each clock."""
    local = all_local.make(tables).action
    grids = [
        sorted({int(np.ceil(tables.sizes[p] * share)) - 1 for share in _POSITIONS}) for p in (CPU, GPU, MEM)
    ]
    clocks = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, 3)
    actions = np.repeat(local[None], len(clocks) + 1, axis=0)
    actions[1:, [CPU, GPU, MEM]] = clocks
    unique: NDArray[np.int64] = np.unique(actions, axis=0)
    return unique


def paid(tables: CostTables) -> _Reward:
    """The paper's reward, in our terms; see the module's text."""
    p = tables.params[0]
    trips = int(p["n_trips"])
    target_c = float(p["trip_c"][:trips].min()) - _MARGIN_C if trips else np.inf
    usual_mw = 1e3 * tables.reference_energy_mj / tables.reference_latency_ms

    def reward(outcomes: NDArray[np.float32], costs: NDArray[np.float64]) -> NDArray[np.float64]:
        del costs
        latency_ms = np.maximum(outcomes[:, LATENCY_MS].astype(np.float64), 1e-3)
        power_mw = 1e3 * outcomes[:, ENERGY_MJ] / latency_ms
        cool = target_c - outcomes[:, TEMPERATURE].astype(np.float64)
        thrift = _BETA * usual_mw / np.maximum(power_mw, 1e-3) if usual_mw > 0.0 else 0.0
        served = np.minimum(1.0, float(p["deadline_ms"]) / latency_ms)
        return np.asarray(served + np.where(cool > 0.0, _WARM * np.tanh(cool), _OVER) + thrift)

    return reward


def make(tables: CostTables) -> DqnPolicy:
    """The policy for a compiled scenario, trained on its training episodes."""
    actions = joint_actions(tables)
    policies = [
        DqnPolicy(
            "ztt-style",
            train_cached(
                f"{_KIND}-{name}-{gamma:g}", tables, actions, _SEEN, DqnSettings(gamma=gamma), reward
            ),
            actions,
            _SEEN,
        )
        for name, reward in (("cost", None), ("paper", paid(tables)))
        for gamma in _GAMMAS
    ]
    return min(policies, key=lambda policy: training_cost(policy, tables))
