"""Serving one request: what a joint action does to latency, energy and accuracy. The one copy of the physics.

`outcome` changes no state: the step applies it, the oracle and the planner only ask.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.compiled import inline_kernel
from dvfo_env.state import (
    ACCURACY_LOST,
    BOARD_MJ,
    COST,
    CPU_INDEX,
    DEADLINE_MISSED,
    DECISION,
    ENCODE,
    ENERGY,
    ENERGY_MJ,
    FALLBACK,
    GPU_INDEX,
    HEAD,
    LATENCY_MS,
    MEM_INDEX,
    NETWORK,
    RECEIVE,
    SEEN_MBPS,
    SEND,
    SENT_KILOBIT,
    SERVER,
    TIMED_OUT,
    TRANSITION,
    WAITING,
)
from dvfo_env.tables import LOAD, LOST, RATE, RTT

_TINY_MS = 1e-30


@inline_kernel()  # type: ignore[untyped-decorator]
def wrapped(sample: int, length: int) -> int:
    """Place of a sample in a bank that repeats; cheaper than a division, since samples rarely wrap."""
    while sample >= length:
        sample -= length
    return sample


@inline_kernel()  # type: ignore[untyped-decorator]
def drop_cost(eta: float, p: Any) -> float:
    """Cost of a request that is never answered."""
    return eta * p.drop_energy_cost + (1.0 - eta) * p.drop_latency_cost + p.deadline_weight


@inline_kernel()  # type: ignore[untyped-decorator]
def transfer(
    bank: NDArray[np.float32], offset: int, step_ms: float, start_ms: float, kilobit: float, limit_ms: float
) -> tuple[float, float]:
    """Send `kilobit` from wall time `start_ms` on; (duration in ms, kilobit sent), cut off at `limit_ms`."""
    if kilobit <= 0.0:
        return 0.0, 0.0
    length = bank.shape[0]
    step = int(start_ms / step_ms)
    left = kilobit
    spent = 0.0
    room = (step + 1) * step_ms - start_ms
    while True:
        rate = bank[wrapped(offset + step, length), RATE]  # Mbit/s = kilobit per ms
        if rate * room >= left:
            spent += left / rate
            if spent > limit_ms:
                return limit_ms, kilobit - (spent - limit_ms) * rate
            return spent, kilobit
        if spent + room >= limit_ms:
            return limit_ms, kilobit - left + rate * (limit_ms - spent)
        left -= rate * room
        spent += room
        room = step_ms
        step += 1


@inline_kernel()  # type: ignore[untyped-decorator]
def capped(s: Any, p: Any, cpu: int, gpu: int) -> tuple[int, int]:
    """CPU and GPU clock indices after the caps of the trip points that hold."""
    for i in range(p.n_trips):
        if (s.trips >> i) & 1:
            if p.trip_is_gpu[i]:
                gpu = min(gpu, p.trip_cap_index[i])
            else:
                cpu = min(cpu, p.trip_cap_index[i])
    return cpu, gpu


@inline_kernel()  # type: ignore[untyped-decorator]
def decided_ms(s: Any, p: Any) -> float:
    """When the device is free for the current request and the decision on it is there."""
    return max(s.now_ms, s.started_ms + p.decision_ms)


@inline_kernel()  # type: ignore[untyped-decorator]
def decide(idle: Any, codec: Any, s: Any, p: Any) -> tuple[float, float, float]:
    """What the decision on the current request costs, whatever it is: ms of waiting, mJ counted, mJ board.

    While the request waits for it the device idles with the clocks in force. One core computes for
    `decision_ms`, then or beside the previous request, and draws what it draws while encoding.
    """
    wait_ms, counted_mj, board_mj = 0.0, 0.0, 0.0
    if p.decision_ms > 0.0:
        wait_ms = decided_ms(s, p) - s.now_ms
        idle_mw, idle_board_mw = idle[s.cpu, s.gpu, s.mem, 0], idle[s.cpu, s.gpu, s.mem, 1]
        core_mw = codec[s.cpu, s.gpu, s.mem, 0] - idle_mw
        core_board_mw = codec[s.cpu, s.gpu, s.mem, 1] - idle_board_mw
        counted_mj = (wait_ms * idle_mw + p.decision_ms * core_mw) * 1e-3
        board_mj = (wait_ms * idle_board_mw + p.decision_ms * core_board_mw) * 1e-3
    return wait_ms, counted_mj, board_mj


@inline_kernel()  # type: ignore[untyped-decorator]
def settle_ms(p: Any, cpu_changes: bool, gpu_changes: bool, mem_changes: bool) -> float:
    """Time until clock changes that begin together are all in effect."""
    longest_ms = 0.0
    if cpu_changes:
        longest_ms = p.cpu_delay_ms
    if gpu_changes:
        longest_ms = max(longest_ms, p.gpu_delay_ms)
    if mem_changes:
        longest_ms = max(longest_ms, p.mem_delay_ms)
    return longest_ms


@inline_kernel()  # type: ignore[untyped-decorator]
def run_head(
    head: Any, s: Any, p: Any, mapping: int, cut: int, cpu: int, gpu: int, mem: int
) -> tuple[float, float, float, float, float, float]:
    """Run the head while the clocks change from the state's to the wanted ones.

    Each changed clock takes effect after its delay; until then the head progresses at the old clock. Returns
    (ms, mJ counted, mJ board) until all changes are in effect, then the same for the rest of the head.
    """
    rows = head[mapping, cut]
    left, at_ms, counted_mj, board_mj = 1.0, 0.0, 0.0, 0.0
    c, g, m = s.cpu, s.gpu, s.mem
    if c != cpu or g != gpu or m != mem:
        for rank in range(3):  # the domains by delay; one that does not change adds a stage of no length
            changes = (
                ((p.cpu_rank == rank) & (c != cpu))
                | ((p.gpu_rank == rank) & (g != gpu))
                | ((p.mem_rank == rank) & (m != mem))
            )
            until_ms = p.delay_of_rank_ms[rank] if changes else at_ms
            whole_ms = rows[c, g, m, 0]
            share = min(left, (until_ms - at_ms) / max(whole_ms, _TINY_MS))
            at_ms += share * whole_ms
            counted_mj += share * rows[c, g, m, 1]
            board_mj += share * rows[c, g, m, 2]
            left -= share
            c = cpu if p.cpu_rank <= rank else c
            g = gpu if p.gpu_rank <= rank else g
            m = mem if p.mem_rank <= rank else m
    return (
        at_ms,
        counted_mj,
        board_mj,
        left * rows[cpu, gpu, mem, 0],
        left * rows[cpu, gpu, mem, 1],
        left * rows[cpu, gpu, mem, 2],
    )


@inline_kernel()  # type: ignore[untyped-decorator]
def outcome(
    head: Any,
    idle: Any,
    codec: Any,
    send: Any,
    tail_ms: Any,
    cpu_ghz: Any,
    p: Any,
    bank: Any,
    s: Any,
    cut: int,
    mapping: int,
    cpu: int,
    gpu: int,
    mem: int,
    level: int,
    out: NDArray[np.float32],
) -> float:
    """Serve the current request of state `s` with one joint action; the state is not changed.

    Writes every part into `out` (columns of `state.OUTCOME`) and returns the cost of the request.
    """
    cpu, gpu = capped(s, p, cpu, gpu)
    last = head.shape[1] - 1
    waited_ms = s.now_ms - s.arrival_ms
    early_ms, early_mj, early_board_mj, head_ms, head_mj, head_board_mj = run_head(
        head, s, p, mapping, cut, cpu, gpu, mem
    )
    decision_ms, decision_mj, decision_board_mj = decide(idle, codec, s, p)
    latency_ms = waited_ms + decision_ms + early_ms + head_ms
    energy_mj = decision_mj + early_mj + head_mj
    board_mj = decision_board_mj + early_board_mj + head_board_mj
    for i in range(ENCODE, FALLBACK + 1):
        out[i] = 0.0
        out[ENERGY + i] = 0.0
    out[WAITING] = waited_ms
    out[ENERGY + WAITING] = 0.0
    out[DECISION] = decision_ms
    out[ENERGY + DECISION] = decision_mj
    out[TRANSITION] = early_ms
    out[ENERGY + TRANSITION] = early_mj
    out[HEAD] = head_ms
    out[ENERGY + HEAD] = head_mj
    lost, timed_out, sent, seen = 0.0, 0.0, 0.0, 0.0
    if cut < last:
        cpu_sent, gpu_sent = cpu, gpu
        wait_mw, wait_board_mw = idle[cpu, gpu, mem, 0], idle[cpu, gpu, mem, 1]
        encode_ms = send[cut, level, 1] / cpu_ghz[cpu]
        encode_mj = encode_ms * codec[cpu, gpu, mem, 0] * 1e-3
        board_mj += encode_ms * codec[cpu, gpu, mem, 1] * 1e-3
        out[ENCODE] = encode_ms
        out[ENERGY + ENCODE] = encode_mj
        latency_ms += encode_ms
        energy_mj += encode_mj
        start_ms = s.arrival_ms + latency_ms
        send_ms, sent = transfer(
            bank, s.offset, p.bank_step_ms, start_ms, send[cut, level, 0], p.offload_timeout_ms
        )
        radio_mj = (p.radio_base_mw * send_ms + p.radio_mw_per_mbps * sent) * 1e-3
        arrived = wrapped(s.offset + int(s.arrival_ms / p.bank_step_ms), bank.shape[0])
        network_ms = float(bank[arrived, RTT])
        server_ms = tail_ms[cut] * bank[arrived, LOAD] + send[cut, level, 2]
        receive_ms = p.answer_ms
        if send_ms + network_ms + server_ms + receive_ms > p.offload_timeout_ms or sent < send[cut, level, 0]:
            # what is not back by the time-out never counts: the rest runs here, with the out-of-the-box
            # mapping and clocks, as soon as these are in force
            timed_out = 1.0
            network_ms = min(network_ms, p.offload_timeout_ms - send_ms)
            server_ms = p.offload_timeout_ms - send_ms - network_ms
            receive_ms = 0.0
            cpu, gpu = capped(s, p, head.shape[2] - 1, head.shape[3] - 1)
            change_ms = settle_ms(p, cpu != cpu_sent, gpu != gpu_sent, mem != head.shape[4] - 1)
            mem = head.shape[4] - 1
            rest_ms = change_ms + head[0, last, cpu, gpu, mem, 0] - head[0, cut, cpu, gpu, mem, 0]
            rest_mj = (
                head[0, last, cpu, gpu, mem, 1] - head[0, cut, cpu, gpu, mem, 1] + change_ms * wait_mw * 1e-3
            )
            board_mj += head[0, last, cpu, gpu, mem, 2] - head[0, cut, cpu, gpu, mem, 2]
            board_mj += change_ms * wait_board_mw * 1e-3
            out[FALLBACK] = rest_ms
            out[ENERGY + FALLBACK] = rest_mj
            latency_ms += rest_ms
            energy_mj += rest_mj
        else:
            lost = send[cut, level, LOST + s.difficulty]
        away_ms = network_ms + server_ms + receive_ms
        away_mw = wait_mw + p.radio_wait_mw
        out[SEND] = send_ms
        out[NETWORK] = network_ms
        out[SERVER] = server_ms
        out[RECEIVE] = receive_ms
        out[ENERGY + SEND] = send_ms * wait_mw * 1e-3 + radio_mj
        out[ENERGY + NETWORK] = network_ms * away_mw * 1e-3
        out[ENERGY + SERVER] = server_ms * away_mw * 1e-3
        out[ENERGY + RECEIVE] = receive_ms * away_mw * 1e-3
        latency_ms += send_ms + away_ms
        energy_mj += send_ms * wait_mw * 1e-3 + radio_mj + away_ms * away_mw * 1e-3
        board_mj += (send_ms + away_ms) * wait_board_mw * 1e-3
        board_mj += radio_mj + away_ms * p.radio_wait_mw * 1e-3
        seen = sent / send_ms if send_ms > 0.0 else 0.0
    late = 1.0 if latency_ms > p.deadline_ms else 0.0
    cost = (
        s.eta * p.energy_weight_per_mj * energy_mj
        + (1.0 - s.eta) * p.latency_weight_per_ms * latency_ms
        + p.accuracy_weight_per_point * lost
        + p.deadline_weight * late
    )
    out[LATENCY_MS] = latency_ms
    out[ENERGY_MJ] = energy_mj
    out[BOARD_MJ] = board_mj
    out[ACCURACY_LOST] = lost
    out[DEADLINE_MISSED] = late
    out[TIMED_OUT] = timed_out
    out[SENT_KILOBIT] = sent
    out[SEEN_MBPS] = seen
    out[COST] = cost
    out[CPU_INDEX] = cpu
    out[GPU_INDEX] = gpu
    out[MEM_INDEX] = mem
    return cost
