"""The compiled step: the only place where time passes.

`serving.outcome` computes what serving a request with a joint action does; `advance` applies it to a
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

from dvfo_env.arrivals import ETA_DRAW, NEXT_EPISODE, OFFSET_DRAW, class_of, mix, next_request, uniform
from dvfo_env.compiled import inline_kernel, kernel, prefetch
from dvfo_env.observation import DIFFICULTY, index_shares, observe, observe_asked, observe_nothing_asked
from dvfo_env.parameters import BLOCKING, CONCURRENT
from dvfo_env.serving import capped, decided_ms, drop_cost, outcome, wrapped
from dvfo_env.state import (
    BOARD_MJ,
    CPU_INDEX,
    DROP_COST,
    DROPPED,
    FALLBACK,
    GPU_INDEX,
    IDLE_MJ,
    LATENCY_MS,
    MEM_INDEX,
    SEEN_MBPS,
    TEMPERATURE,
    TIMED_OUT,
)
from dvfo_env.tables import CPU, CUT, FLOOR_LOG2, GPU, LEVEL, LOAD, MAPPING, MEM, RATE, RATE_LOG2, RTT

_SMOOTHING = 0.3
_AHEAD = 6  # environments


@kernel()  # type: ignore[untyped-decorator]
def begin_episode(s: Any, stream: np.uint64, p: Any, bank: Any, top: NDArray[np.int64]) -> None:
    """Put state record `s` at the start of the episode with random stream `stream`; clocks at their
    highest.
    """
    s.stream = stream
    s.offset = np.int64(uniform(stream, OFFSET_DRAW) * bank.shape[0])
    s.eta = p.eta_low + (p.eta_high - p.eta_low) * uniform(stream, ETA_DRAW)
    s.now_ms = 0.0
    s.started_ms = 0.0
    s.interval_ms = p.period_ms  # what it is on average
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
    s.answered_ms = -np.inf
    s.unanswered = 0
    s.cpu = top[CPU]
    s.gpu = top[GPU]
    s.mem = top[MEM]
    s.trips = 0
    watch_link(s, p, bank, s.now_ms)


@inline_kernel()  # type: ignore[untyped-decorator]
def start_deciding(s: Any, now_ms: float) -> None:
    """Computing the decision on the coming request begins at `now_ms`."""
    s.interval_ms = now_ms - s.started_ms
    s.started_ms = now_ms


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
def watch_link(s: Any, p: Any, bank: Any, now_ms: float) -> None:
    """What the link monitor has reported by `now_ms`, if that is news: the rate of the sample just past."""
    if np.isinf(p.monitor_ms):
        return
    report_ms = np.floor(now_ms / p.monitor_ms) * p.monitor_ms
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
        s.unanswered += 1
    else:
        arrived = wrapped(s.offset + int(s.arrival_ms / p.bank_step_ms), bank.shape[0])
        s.timeouts = 0
        s.answered_ms = s.arrival_ms + out[LATENCY_MS]
        s.unanswered = 0
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
    if p.decision_mode == CONCURRENT:
        start_deciding(s, decided_ms(s, p))
    while True:
        next_request(s, p)
        if s.request >= p.episode_requests or done_ms - s.arrival_ms <= p.queue_limit_ms:
            break
        dropped += 1
    s.now_ms = max(done_ms, s.arrival_ms)
    if p.decision_mode == BLOCKING:
        start_deciding(s, s.now_ms)
    watch_link(s, p, bank, s.now_ms)
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
    shares = index_shares(top, p)
    for i in range(states.shape[0]):
        s = states[i]
        begin_episode(s, streams[i], p, bank, top)
        observe(s, p, shares, s.now_ms, s.interval_ms, s.cpu, s.gpu, s.mem, observations[i])
        observe_nothing_asked(observations[i])


@inline_kernel()  # type: ignore[untyped-decorator]
def ask_ahead(head: Any, p: Any, bank: Any, top: Any, states: Any, actions: Any, i: int) -> None:
    """Ask the memory for what environment `i` is going to look up."""
    s = states[i]
    a = actions[i]
    prefetch(bank, (wrapped(s.offset + int(s.now_ms / p.bank_step_ms), bank.shape[0]), RATE))
    prefetch(head, (a[MAPPING], a[CUT], a[CPU], a[GPU], a[MEM], 0))
    prefetch(head, (a[MAPPING], a[CUT], int(s.cpu), int(s.gpu), int(s.mem), 0))


@inline_kernel()  # type: ignore[untyped-decorator]
def look_ahead(s: Any, p: Any, bank: Any, shares: Any, action: Any, row: NDArray[np.float32]) -> None:
    """What a concurrent decision on the coming request is computed from: seen while the current one begins.

    The current decision is in hand, its clocks are set and nothing of its outcome is known yet; how long the
    current request has waited is known, of the coming one neither that nor its difficulty.
    """
    now_ms = decided_ms(s, p)
    watch_link(s, p, bank, now_ms)
    cpu, gpu = capped(s, p, action[CPU], action[GPU])
    observe(s, p, shares, now_ms, now_ms - s.started_ms, cpu, gpu, action[MEM], row)
    if p.n_classes > 1:
        row[DIFFICULTY] = -1.0


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
    shares = index_shares(top, p)
    seen_early = p.decision_mode == CONCURRENT
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
        if seen_early:
            look_ahead(s, p, bank, shares, a, observations[i])
        end = advance(idle, p, bank, s, a[CUT], last, out)
        rewards[i] = -(cost + out[DROP_COST])
        ends[i] = end
        if not seen_early:
            observe(s, p, shares, s.now_ms, s.interval_ms, s.cpu, s.gpu, s.mem, observations[i])
        observe_asked(shares, a, observations[i])
        if end > 0 and autoreset:
            for column in range(observations.shape[1]):
                final_observations[i, column] = observations[i, column]
            begin_episode(s, mix(s.stream, NEXT_EPISODE), p, bank, top)
            observe(s, p, shares, s.now_ms, s.interval_ms, s.cpu, s.gpu, s.mem, observations[i])
            observe_nothing_asked(observations[i])
    return -1
