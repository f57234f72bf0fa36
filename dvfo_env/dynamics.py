"""The compiled step: the only place where time passes.

One function, `outcome`, computes what serving a request with a joint action does; `advance` applies it to a
state and moves on to the next request. A batch is a loop over both; the scalar environment is a batch of one;
the oracle calls `outcome` without applying it. There is no second copy of the physics.

Conventions: indices in an action are in the order of `tables.ACTION_PARTS`; the last cut is "everything
local". The exogenous world (uplink rate, RTT, server load, arrivals) is a function of the bank, the episode's
offset in it and the episode's random stream, never of the actions: policies compared on equal seeds meet the
same world.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.compiled import inline_kernel, kernel, prefetch
from dvfo_env.observation import observe
from dvfo_env.state import (
    ACCURACY_LOST,
    BOARD_MJ,
    COST,
    CPU_INDEX,
    DEADLINE_MISSED,
    DROP_COST,
    DROPPED,
    ENCODE,
    ENERGY,
    ENERGY_MJ,
    FALLBACK,
    GPU_INDEX,
    HEAD,
    IDLE_MJ,
    LATENCY_MS,
    MEM_INDEX,
    NETWORK,
    RECEIVE,
    SEEN_MBPS,
    SEND,
    SENT_KILOBIT,
    SERVER,
    TEMPERATURE,
    TIMED_OUT,
    TRANSITION,
    WAITING,
)
from dvfo_env.tables import (
    CPU,
    CUT,
    FLOOR_LOG2,
    GPU,
    LEVEL,
    LOAD,
    LOST,
    MAPPING,
    MEM,
    RATE,
    RATE_LOG2,
    RTT,
)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_OFFSET_DRAW, _ETA_DRAW, _NEXT_EPISODE, _FIRST_GAP = 1, 2, 3, 16
_FIRST_DIFFICULTY = 1 << 40  # beyond the gaps of any episode
_SMOOTHING = 0.3
_TINY_MS = 1e-30
_AHEAD = 6  # environments


@inline_kernel()  # type: ignore[untyped-decorator]
def mix(stream: np.uint64, draw: int) -> np.uint64:
    """Number `draw` of a counter-based random stream (splitmix64, Steele et al. 2014)."""
    z = stream + np.uint64(draw + 1) * _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@inline_kernel()  # type: ignore[untyped-decorator]
def uniform(stream: np.uint64, draw: int) -> float:
    """Number `draw` of the stream as a float in [0, 1)."""
    return np.float64(mix(stream, draw) >> _S11) * (1.0 / 9007199254740992.0)


@inline_kernel()  # type: ignore[untyped-decorator]
def gap_ms(stream: np.uint64, request: int, p: Any) -> float:
    """Time between the arrivals of `request` and the next one."""
    if p.poisson == 0:
        return p.period_ms
    return -p.period_ms * np.log(1.0 - uniform(stream, _FIRST_GAP + request))


@inline_kernel()  # type: ignore[untyped-decorator]
def class_of(stream: np.uint64, request: int, p: Any) -> int:
    """Class of difficulty of `request`, drawn independently for each; 0 is the hardest."""
    difficulty = 0
    if p.n_classes > 1:
        drawn = uniform(stream, _FIRST_DIFFICULTY + request)
        while difficulty < p.n_classes - 1 and drawn >= p.class_edge[difficulty]:
            difficulty += 1
    return difficulty


@inline_kernel()  # type: ignore[untyped-decorator]
def next_request(s: Any, p: Any) -> None:
    """The next request of the episode becomes the current one."""
    s.arrival_ms += gap_ms(s.stream, s.request, p)
    s.request += 1
    s.difficulty = class_of(s.stream, s.request, p)


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
    latency_ms = waited_ms + early_ms + head_ms
    energy_mj = early_mj + head_mj
    board_mj = early_board_mj + head_board_mj
    for i in range(ENCODE, FALLBACK + 1):
        out[i] = 0.0
        out[ENERGY + i] = 0.0
    out[WAITING] = waited_ms
    out[ENERGY + WAITING] = 0.0
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


@kernel()  # type: ignore[untyped-decorator]
def begin_episode(s: Any, stream: np.uint64, p: Any, bank: Any, top: NDArray[np.int64]) -> None:
    """Put state record `s` at the start of the episode with random stream `stream`; clocks at their
    highest.
    """
    s.stream = stream
    s.offset = np.int64(uniform(stream, _OFFSET_DRAW) * bank.shape[0])
    s.eta = p.eta_low + (p.eta_high - p.eta_low) * uniform(stream, _ETA_DRAW)
    s.now_ms = 0.0
    s.arrival_ms = 0.0
    s.request = 0
    s.difficulty = class_of(stream, 0, p)
    s.temperature_c = p.start_c
    s.battery_mj = p.battery_mj
    s.heard_ms = -np.inf
    s.rate_log2 = 0.0
    s.rate_before_log2 = 0.0
    s.rate_smooth_log2 = 0.0
    s.rtt_log2 = 0.0
    s.server_log2 = 0.0
    s.timeouts = 0
    s.cpu = top[CPU]
    s.gpu = top[GPU]
    s.mem = top[MEM]
    s.trips = 0
    watch_link(s, p, bank)


@inline_kernel()  # type: ignore[untyped-decorator]
def remember_rate(s: Any, rate_log2: float, heard_ms: float) -> None:
    """The device has seen its uplink carry 2**`rate_log2` Mbit/s at wall time `heard_ms`."""
    if np.isinf(s.heard_ms):
        s.rate_before_log2 = rate_log2
        s.rate_smooth_log2 = rate_log2
    else:
        s.rate_before_log2 = s.rate_log2
        s.rate_smooth_log2 += _SMOOTHING * (rate_log2 - s.rate_smooth_log2)
    s.rate_log2 = rate_log2
    s.heard_ms = heard_ms


@inline_kernel()  # type: ignore[untyped-decorator]
def watch_link(s: Any, p: Any, bank: Any) -> None:
    """What the link monitor has reported by now, if that is news: the rate of the sample just past."""
    if np.isinf(p.monitor_ms):
        return
    report_ms = np.floor(s.now_ms / p.monitor_ms) * p.monitor_ms
    if report_ms <= s.heard_ms:
        return
    sample = max(int(np.ceil(report_ms / p.bank_step_ms)) - 1, 0)
    rate_log2 = bank[wrapped(s.offset + sample, bank.shape[0]), RATE_LOG2]
    remember_rate(s, rate_log2, report_ms)
    if rate_log2 > FLOOR_LOG2:
        s.timeouts = 0


@inline_kernel()  # type: ignore[untyped-decorator]
def remember_transfer(s: Any, p: Any, bank: Any, out: Any) -> None:
    """What the device learns about the uplink and the server from the request it has just sent."""
    seen_log2 = np.log2(max(out[SEEN_MBPS], np.float32(2.0**FLOOR_LOG2)))
    remember_rate(s, seen_log2, s.arrival_ms + out[LATENCY_MS] - out[FALLBACK])
    if out[TIMED_OUT] > 0.0:
        s.timeouts += 1
    else:
        arrived = wrapped(s.offset + int(s.arrival_ms / p.bank_step_ms), bank.shape[0])
        s.timeouts = 0
        s.rtt_log2 = np.log2(bank[arrived, RTT])
        s.server_log2 = np.log2(bank[arrived, LOAD])


@inline_kernel()  # type: ignore[untyped-decorator]
def advance(idle: Any, p: Any, bank: Any, s: Any, cut: int, last: int, out: NDArray[np.float32]) -> int:
    """Apply the outcome `out` to state `s` and go on to the next request that is still wanted.

    Returns 0 to go on, 1 when the episode's requests are used up (truncated), 2 when the battery is
    (terminated).
    """
    done_ms = s.arrival_ms + out[LATENCY_MS]
    if cut < last:
        remember_transfer(s, p, bank, out)
    began_ms = s.now_ms
    s.cpu = np.int32(out[CPU_INDEX])
    s.gpu = np.int32(out[GPU_INDEX])
    s.mem = np.int32(out[MEM_INDEX])
    dropped = 0
    while True:
        next_request(s, p)
        if s.request >= p.episode_requests or done_ms - s.arrival_ms <= p.queue_limit_ms:
            break
        dropped += 1
    s.now_ms = max(done_ms, s.arrival_ms)
    watch_link(s, p, bank)
    idle_mj = (s.now_ms - done_ms) * idle[s.cpu, s.gpu, s.mem, 1] * 1e-3
    drawn_mj = out[BOARD_MJ] + idle_mj
    if p.thermal:
        span_ms = max(s.now_ms - began_ms, 1e-6)
        target_c = p.ambient_c + p.resistance_c_per_w * drawn_mj / span_ms  # mJ / ms = W
        pull = span_ms / p.time_constant_ms
        s.temperature_c += pull / (1.0 + pull) * (target_c - s.temperature_c)
        for i in range(p.n_trips):
            if s.temperature_c >= p.trip_c[i]:
                s.trips |= 1 << i
            elif s.temperature_c < p.release_c[i]:
                s.trips &= ~(1 << i)
    s.battery_mj -= drawn_mj
    if s.battery_mj <= 0.0:
        dropped += max(p.episode_requests - s.request, 0)  # nobody is left to answer them
    out[DROPPED] = dropped
    out[DROP_COST] = dropped * drop_cost(s.eta, p)
    out[IDLE_MJ] = idle_mj
    out[TEMPERATURE] = s.temperature_c
    if s.battery_mj <= 0.0:
        return 2
    return 1 if s.request >= p.episode_requests else 0


@kernel()  # type: ignore[untyped-decorator]
def reset_batch(
    p_array: Any, bank: Any, top: Any, states: Any, streams: NDArray[np.uint64], observations: Any
) -> None:
    """Begin an episode in every environment of the batch; `streams` uint64 [N]."""
    p = p_array[0]
    for i in range(states.shape[0]):
        begin_episode(states[i], streams[i], p, bank, top)
        observe(states[i], p, top[CPU], top[GPU], top[MEM], observations[i])


@inline_kernel()  # type: ignore[untyped-decorator]
def ask_ahead(head: Any, p: Any, bank: Any, top: Any, states: Any, actions: Any, i: int) -> None:
    """Ask the memory for what environment `i` is going to look up."""
    s = states[i]
    a = actions[i]
    prefetch(bank, (wrapped(s.offset + int(s.now_ms / p.bank_step_ms), bank.shape[0]), RATE))
    prefetch(head, (a[MAPPING], a[CUT], a[CPU], a[GPU], a[MEM], 0))
    prefetch(head, (a[MAPPING], a[CUT], int(s.cpu), int(s.gpu), int(s.mem), 0))


@kernel()  # type: ignore[untyped-decorator]
def step_batch(
    head: Any,
    idle: Any,
    codec: Any,
    send: Any,
    tail_ms: Any,
    cpu_ghz: Any,
    p_array: Any,
    bank: Any,
    top: Any,
    states: Any,
    actions: NDArray[np.int64],
    outcomes: NDArray[np.float32],
    rewards: NDArray[np.float32],
    ends: NDArray[np.uint8],
    observations: NDArray[np.float32],
    final_observations: NDArray[np.float32],
    autoreset: bool,
) -> int:
    """One decision in every environment of a batch of N.

    `actions` int64 [N, 6] are joint actions as indices; `outcomes` [N, len(OUTCOME)], `rewards` [N], `ends`
    [N]
    (0 running, 1 truncated, 2 terminated) and `observations` [N, OBSERVATION_SIZE] are written. Where an
    episode
    ends and `autoreset` is set, its last observation goes to `final_observations` and the next one begins.
    Returns -1, or the first environment whose action is out of range (then nothing has been stepped).
    """
    p = p_array[0]
    last = head.shape[1] - 1
    for i in range(states.shape[0]):
        for part in range(actions.shape[1]):
            if actions[i, part] < 0 or actions[i, part] > top[part]:
                return i
    for i in range(states.shape[0]):
        s = states[i]
        a = actions[i]
        out = outcomes[i]
        ask_ahead(head, p, bank, top, states, actions, min(i + _AHEAD, states.shape[0] - 1))
        cost = outcome(
            head, idle, codec, send, tail_ms, cpu_ghz, p, bank, s,
            a[CUT], a[MAPPING], a[CPU], a[GPU], a[MEM], a[LEVEL], out,
        )  # fmt: skip
        end = advance(idle, p, bank, s, a[CUT], last, out)
        rewards[i] = -(cost + out[DROP_COST])
        ends[i] = end
        observe(s, p, top[CPU], top[GPU], top[MEM], observations[i])
        if end > 0 and autoreset:
            for column in range(observations.shape[1]):
                final_observations[i, column] = observations[i, column]
            begin_episode(s, mix(s.stream, _NEXT_EPISODE), p, bank, top)
            observe(s, p, top[CPU], top[GPU], top[MEM], observations[i])
    return -1
