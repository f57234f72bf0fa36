"""The feasible clairvoyant: the joint action that is best for the present request, given the true state.

It knows the true uplink, round-trip time and server load, obeys clocks, caps and queue like everybody else,
and is greedy: it does not look beyond the present request. Where decisions take time, its own take as long
and cost as much as anybody's, but it knows the truth at the moment of service. The search covers the whole
joint action and is exact. Two cuts keep it fast without losing that:

* a group of actions that share mapping and cut is left out when the cheapest conceivable head of the group
  plus the cheapest conceivable remainder already costs as much as the best action found;
* an action is left out when its exact head cost plus the cheapest conceivable remainder does.

"Cheapest conceivable" takes the highest rate that the uplink reaches within the time-out, the lowest waiting
power and the highest CPU clock for the encoder, each of which no action can improve on.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.compiled import inline_kernel, kernel
from dvfo_env.serving import capped, decide, outcome, run_head, wrapped
from dvfo_env.simulator import Simulator
from dvfo_env.state import OUTCOME
from dvfo_env.tables import CPU, CUT, GPU, LEVEL, LOAD, LOST, MAPPING, MEM, RATE, RTT

_SLACK = 1e-9  # costs are float64; a tie broken either way costs the same


@inline_kernel()  # type: ignore[untyped-decorator]
def best_rate(bank: Any, offset: int, step_ms: float, start_ms: float, end_ms: float) -> float:
    """Highest rate of the bank, Mbit/s, between two wall times."""
    best = 0.0
    for step in range(int(start_ms / step_ms), int(end_ms / step_ms) + 1):
        best = max(best, bank[wrapped(offset + step, bank.shape[0]), RATE])
    return best


@kernel()  # type: ignore[untyped-decorator]
def remainder_floor(
    send: Any,
    tail_ms: Any,
    p: Any,
    bank: Any,
    s: Any,
    cpu_ghz_max: float,
    wait_mw: float,
    rate: float,
    out: Any,
) -> None:
    """For every (cut, level) a floor of what follows the head, float64 [K, Z]; the last cut is not
    written.
    """
    energy_weight = s.eta * p.energy_weight_per_mj * 1e-3  # per mW * ms
    latency_weight = (1.0 - s.eta) * p.latency_weight_per_ms
    arrived = wrapped(s.offset + int(s.arrival_ms / p.bank_step_ms), bank.shape[0])
    given_up = latency_weight * p.offload_timeout_ms
    for cut in range(send.shape[0] - 1):
        for level in range(send.shape[1]):
            encode_ms = send[cut, level, 1] / cpu_ghz_max
            server_ms = tail_ms[cut] * bank[arrived, LOAD] + send[cut, level, 2]
            away_ms = bank[arrived, RTT] + server_ms + p.answer_ms
            floor = given_up
            if rate > 0.0:
                send_ms = send[cut, level, 0] / rate
                floor = min(
                    given_up,
                    latency_weight * (encode_ms + send_ms + away_ms)
                    + energy_weight * (wait_mw * (encode_ms + send_ms + away_ms))
                    + energy_weight * (p.radio_base_mw * send_ms + p.radio_mw_per_mbps * send[cut, level, 0])
                    + energy_weight * p.radio_wait_mw * away_ms
                    + p.accuracy_weight_per_point * send[cut, level, LOST + s.difficulty],
                )
            out[cut, level] = floor


@kernel()  # type: ignore[untyped-decorator]
def best_action(
    head: Any,
    idle: Any,
    codec: Any,
    send: Any,
    tail_ms: Any,
    cpu_ghz: Any,
    p: Any,
    bank: Any,
    top: Any,
    s: Any,
    group_ms: Any,
    group_mj: Any,
    floors: Any,
    scratch: Any,
    action: NDArray[np.int64],
) -> float:
    """Write the cheapest joint action for state `s` into `action` int64 [6] and return its cost.

    `group_ms`, `group_mj` float [U, K]: smallest head latency and energy of a (mapping, cut) over all clocks;
    `floors` float64 [K, Z] and `scratch` float32 [len(OUTCOME)] are working memory.
    """
    last = head.shape[1] - 1
    cpu_top, gpu_top = capped(s, p, top[CPU], top[GPU])
    energy_weight = s.eta * p.energy_weight_per_mj
    latency_weight = (1.0 - s.eta) * p.latency_weight_per_ms
    decision_ms, decision_mj, _ = decide(idle, codec, s, p)
    end_ms = s.now_ms + decision_ms + p.slowest_ms + p.offload_timeout_ms
    rate = best_rate(bank, s.offset, p.bank_step_ms, s.now_ms, end_ms)
    remainder_floor(send, tail_ms, p, bank, s, cpu_ghz[-1], p.wait_floor_mw, rate, floors)
    waited = latency_weight * (s.now_ms - s.arrival_ms + decision_ms) + energy_weight * decision_mj
    best = np.inf
    # a good start: the clocks in force
    for u in range(head.shape[0]):
        for k in range(last + 1):
            for z in range(send.shape[1] if k < last else 1):
                if k < last and floors[k, z] + waited >= best:
                    continue
                cost = outcome(head, idle, codec, send, tail_ms, cpu_ghz, p, bank, s, k, u, min(s.cpu, cpu_top), min(s.gpu, gpu_top), s.mem, z, scratch)  # fmt: skip  # noqa: E501
                if cost < best:
                    best = cost
                    action[CUT], action[MAPPING], action[LEVEL] = k, u, z
                    action[CPU], action[GPU], action[MEM] = min(s.cpu, cpu_top), min(s.gpu, gpu_top), s.mem
    for u in range(head.shape[0]):
        for k in range(last + 1):
            floor = 0.0
            if k < last:
                floor = np.inf
                for z in range(send.shape[1]):
                    floor = min(floor, floors[k, z])
            group = waited + floor + energy_weight * group_mj[u, k] + latency_weight * group_ms[u, k]
            if group >= best - _SLACK:
                continue
            for c in range(cpu_top + 1):
                for g in range(gpu_top + 1):
                    for m in range(top[MEM] + 1):
                        early_ms, early_mj, _, head_ms, head_mj, _ = run_head(head, s, p, u, k, c, g, m)
                        begun = (
                            waited
                            + latency_weight * (early_ms + head_ms)
                            + energy_weight * (early_mj + head_mj)
                        )
                        if begun + floor >= best - _SLACK:
                            continue
                        for z in range(send.shape[1] if k < last else 1):
                            if k < last and begun + floors[k, z] >= best - _SLACK:
                                continue
                            cost = outcome(head, idle, codec, send, tail_ms, cpu_ghz, p, bank, s, k, u, c, g, m, z, scratch)  # fmt: skip  # noqa: E501
                            if cost < best:
                                best = cost
                                action[CUT], action[MAPPING], action[LEVEL] = k, u, z
                                action[CPU], action[GPU], action[MEM] = c, g, m
    return best


@kernel()  # type: ignore[untyped-decorator]
def _search_batch(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p_array: Any,
    bank: Any, top: Any, states: Any, actions: NDArray[np.int64], costs: NDArray[np.float64],
    group_ms: Any, group_mj: Any, floors: Any, scratch: Any,
) -> None:  # fmt: skip
    for i in range(states.shape[0]):
        costs[i] = best_action(
            head, idle, codec, send, tail_ms, cpu_ghz, p_array[0], bank, top, states[i],
            group_ms, group_mj, floors, scratch, actions[i],
        )  # fmt: skip


def clairvoyant_actions(simulator: Simulator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best joint action for the present request of every environment, and its cost.

    Returns actions int64 [N, 6] and costs float64 [N].
    """
    actions = np.zeros((simulator.n, len(simulator.top)), dtype=np.int64)
    costs = np.zeros(simulator.n)
    tables = simulator.tables
    _search_batch(
        *tables.arrays,
        simulator.bank,
        simulator.top,
        simulator.states,
        actions,
        costs,
        tables.head[..., 0].min(axis=(2, 3, 4)),
        tables.head[..., 1].min(axis=(2, 3, 4)),
        np.empty(tables.send.shape[:2]),
        np.zeros(len(OUTCOME), dtype=np.float32),
    )
    return actions, costs
