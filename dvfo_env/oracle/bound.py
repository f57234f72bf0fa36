"""The bound: for every request a cost that no policy can go below, whatever it knows and whatever it does.

For request i the bound minimises over the joint action, over how long the request waits before it is served,
and over what clocks happened to be in force before. It knows the future of the uplink, meets no queue but
what nobody can avoid, no thermal cap, and pays for no clock change. So it bounds every feasible policy, and
the sum over an episode's arrivals bounds the return. Why each relaxation is one:

* The queue. A request begins no sooner than the one before it can possibly be over: on the fastest path there
  is, begun as soon as possible (`soonest_done_ms`). So waits that no policy can avoid are charged.
* Waiting. A policy may only reach a start later than the arrival. The search therefore lets the transmission
  begin at any time x after the earliest possible one; the cost of sending from x is piecewise linear in x
  between the points where x, or the end of the transfer, crosses a sample of the uplink, and all of these are
  tried.
* Clock changes. While a change takes effect the head runs at the old clocks, which may be better ones. At
  most `share` = longest delay / fastest head of the head can run so. With l(q) = energy and latency cost of
  the head at clocks q and l* its minimum over all q, the head costs at least (1 - share) l(q) + share l*, and
  ends no earlier than T(q) - share (T(q) - T_fastest).
* Decisions. Where they block, and for the first request in any case, nobody gets around waiting for the
  decision; elsewhere it is taken to be ready in time. Computing costs at least what it costs at the clocks
  that make it cheapest.
* Time-outs. A request that falls back on the device pays the head, the time-out and the rest of the network.
* Dropped requests cost what the scenario says; the bound takes that where it is cheaper.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.arrivals import next_request
from dvfo_env.compiled import inline_kernel, kernel
from dvfo_env.dynamics import begin_episode
from dvfo_env.oracle.clairvoyant import best_rate, remainder_floor
from dvfo_env.parameters import BLOCKING
from dvfo_env.serving import drop_cost, transfer, wrapped
from dvfo_env.simulator import TRAINING_BANK_SEED, stream_of_seed
from dvfo_env.state import STATE
from dvfo_env.tables import LOAD, LOST, RATE, RTT, CostTables

_LATENCY_SLACK_MS = 1e-2  # outcome rows are float32


@inline_kernel()  # type: ignore[untyped-decorator]
def send_floor(
    bank: Any, offset: int, step_ms: float, earliest_ms: float, free_ms: float, kilobit: float,
    latency_weight: float, power_weight: float, limit_ms: float, wait_ms: float,
) -> tuple[float, float]:  # fmt: skip
    """Least cost of sending when it may begin at any x >= `earliest_ms`.

    cost(x) = latency_weight * (max(0, x - free_ms) + D(x)) + power_weight * D(x), D(x) the duration of the
    transfer.
    Returns (least cost, earliest end of any transfer); infinity where nothing gets through within
    `limit_ms`. No policy can put off the beginning by more than `wait_ms`.
    """
    duration, sent = transfer(bank, offset, step_ms, earliest_ms, kilobit, limit_ms)
    end_ms = earliest_ms + duration
    best = np.inf
    horizon = wait_ms
    if sent >= kilobit:
        best = (latency_weight * (max(0.0, earliest_ms - free_ms) + duration)) + power_weight * duration
        if latency_weight > 0.0:
            horizon = min(wait_ms, best / latency_weight)
    last_ms = max(earliest_ms, free_ms) + horizon
    step = int(earliest_ms / step_ms) + 1
    while step * step_ms <= last_ms:
        edge_ms = step * step_ms
        # a transfer that begins at this sample
        duration, sent = transfer(bank, offset, step_ms, edge_ms, kilobit, limit_ms)
        if sent >= kilobit:
            late = max(0.0, edge_ms - free_ms)
            best = min(best, latency_weight * (late + duration) + power_weight * duration)
        # a transfer that ends at this sample, found backwards
        left, at = kilobit, step - 1
        while at >= 0 and edge_ms - at * step_ms <= limit_ms + step_ms:
            moved = bank[wrapped(offset + at, bank.shape[0]), RATE] * step_ms
            if moved >= left:
                begin_ms = (at + 1) * step_ms - left / (moved / step_ms)
                if begin_ms >= earliest_ms:
                    duration = edge_ms - begin_ms
                    late = max(0.0, begin_ms - free_ms)
                    best = min(best, latency_weight * (late + duration) + power_weight * duration)
                break
            left -= moved
            at -= 1
        step += 1
    if free_ms > earliest_ms:
        duration, sent = transfer(bank, offset, step_ms, free_ms, kilobit, limit_ms)
        if sent >= kilobit:
            best = min(best, latency_weight * duration + power_weight * duration)
    return best, end_ms


@inline_kernel()  # type: ignore[untyped-decorator]
def unavoidable_decision_ms(s: Any, p: Any) -> float:
    """How long the request of state `s` waits for its decision at least."""
    return p.decision_ms if p.decision_mode == BLOCKING or s.request == 0 else 0.0


@kernel()  # type: ignore[untyped-decorator]
def soonest_done_ms(
    send: Any, tail_ms: Any, cpu_ghz: Any, p: Any, bank: Any, s: Any, begin_ms: float, fastest_ms: Any,
    fastest_rest_ms: Any,
) -> float:  # fmt: skip
    """Wall time before which nobody is done with the request of state `s` who begins it from `begin_ms` on.

    A transfer that begins later never ends sooner, so it is enough to look at the soonest one of every (cut,
    level). `fastest_ms` [U, K] are latencies of heads, `fastest_rest_ms` [K] of what follows them on the
    first mapping, each at the clocks that are best for it.
    """
    last = fastest_ms.shape[1] - 1
    arrived = wrapped(s.offset + int(s.arrival_ms / p.bank_step_ms), bank.shape[0])
    limit_ms = p.queue_limit_ms + p.slowest_ms + p.offload_timeout_ms
    soonest = np.inf
    for u in range(fastest_ms.shape[0]):
        soonest = min(soonest, begin_ms + fastest_ms[u, last])
    for cut in range(last):
        head_ms = np.inf
        for u in range(fastest_ms.shape[0]):
            head_ms = min(head_ms, fastest_ms[u, cut])
        soonest = min(soonest, begin_ms + head_ms + p.offload_timeout_ms + max(fastest_rest_ms[cut], 0.0))
        for z in range(send.shape[1]):
            away_ms = bank[arrived, RTT] + tail_ms[cut] * bank[arrived, LOAD] + send[cut, z, 2] + p.answer_ms
            sent_from_ms = begin_ms + head_ms + send[cut, z, 1] / cpu_ghz[-1]
            if sent_from_ms + away_ms >= soonest:
                continue
            duration, _ = transfer(bank, s.offset, p.bank_step_ms, sent_from_ms, send[cut, z, 0], limit_ms)
            soonest = min(soonest, sent_from_ms + duration + away_ms)
    return float(soonest) - _LATENCY_SLACK_MS


@kernel()  # type: ignore[untyped-decorator]
def request_bound(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p: Any, bank: Any, s: Any,
    linear_floor: Any, rest_floor: Any, fastest_ms: Any, floors: Any, queued_ms: float,
) -> float:  # fmt: skip
    """Least conceivable cost of the request of state `s`, which has just arrived.

    `queued_ms`: how long it must wait whatever the policy did before.
    `linear_floor`, `fastest_ms` float64 [U, K]: least weighted cost and latency of each head over all clocks;
    `rest_floor` float64 [K]: least weighted cost of what follows each cut when the first mapping runs it.
    """
    last = head.shape[1] - 1
    energy_weight = s.eta * p.energy_weight_per_mj
    latency_weight = (1.0 - s.eta) * p.latency_weight_per_ms
    arrival_ms = s.arrival_ms
    delay_ms = max(p.cpu_delay_ms, p.gpu_delay_ms, p.mem_delay_ms)
    arrived = wrapped(s.offset + int(arrival_ms / p.bank_step_ms), bank.shape[0])
    # sending may begin late: at worst after the whole queue limit and a decision that nothing runs beside
    latest_ms = p.queue_limit_ms + p.decision_ms
    decided_ms = queued_ms + unavoidable_decision_ms(s, p)
    decided = latency_weight * decided_ms + energy_weight * p.decision_floor_mj
    end_ms = arrival_ms + latest_ms + p.slowest_ms + p.offload_timeout_ms
    rate = best_rate(bank, s.offset, p.bank_step_ms, arrival_ms, end_ms)
    remainder_floor(send, tail_ms, p, bank, s, cpu_ghz[-1], p.wait_floor_mw, rate, floors)
    best = drop_cost(s.eta, p)
    for u in range(head.shape[0]):
        for cut in range(last, -1, -1):
            cheapest = 0.0
            if cut < last:
                cheapest = np.inf
                for z in range(send.shape[1]):
                    cheapest = min(cheapest, floors[cut, z])
            if decided + linear_floor[u, cut] + cheapest >= best:
                continue
            share = 1.0 if fastest_ms[u, cut] <= delay_ms else delay_ms / fastest_ms[u, cut]
            if fastest_ms[u, cut] <= 0.0:
                share = 0.0  # no head runs, so none runs at old clocks
            for c in range(head.shape[2]):
                for g in range(head.shape[3]):
                    for m in range(head.shape[4]):
                        ms, mj = float(head[u, cut, c, g, m, 0]), float(head[u, cut, c, g, m, 1])
                        linear = energy_weight * mj + latency_weight * ms
                        begun = decided + (1.0 - share) * linear + share * linear_floor[u, cut]
                        if begun + cheapest >= best:
                            continue
                        soonest_ms = decided_ms + ms - share * (ms - fastest_ms[u, cut])
                        if cut == last:
                            late = p.deadline_weight if soonest_ms > p.deadline_ms else 0.0
                            best = min(best, begun + late)
                            continue
                        best = min(best, begun + rest_floor[cut] + latency_weight * p.offload_timeout_ms)
                        wait_mw = float(idle[c, g, m, 0])
                        for z in range(send.shape[1]):
                            if begun + floors[cut, z] >= best:
                                continue
                            encode_ms = send[cut, z, 1] / cpu_ghz[c]
                            away_ms = (
                                bank[arrived, RTT]
                                + tail_ms[cut] * bank[arrived, LOAD]
                                + send[cut, z, 2]
                                + p.answer_ms
                            )
                            cost = (
                                begun
                                + latency_weight * (encode_ms + away_ms)
                                + p.accuracy_weight_per_point * send[cut, z, LOST + s.difficulty]
                                + energy_weight * 1e-3 * (
                                    encode_ms * codec[c, g, m, 0]
                                    + away_ms * (wait_mw + p.radio_wait_mw)
                                    + p.radio_mw_per_mbps * send[cut, z, 0]
                                )
                            )  # fmt: skip
                            if cost >= best:
                                continue
                            earliest_ms = arrival_ms + soonest_ms + encode_ms
                            free_ms = (
                                arrival_ms + decided_ms + ms + (delay_ms if share > 0.0 else 0.0) + encode_ms
                            )
                            sending, sent_ms = send_floor(
                                bank, s.offset, p.bank_step_ms, earliest_ms, free_ms, float(send[cut, z, 0]),
                                latency_weight, energy_weight * 1e-3 * (wait_mw + p.radio_base_mw),
                                p.offload_timeout_ms, latest_ms,
                            )  # fmt: skip
                            if sent_ms + away_ms - arrival_ms > p.deadline_ms:
                                cost += p.deadline_weight
                            best = min(best, cost + sending)
    return best


@kernel()  # type: ignore[untyped-decorator]
def head_floors(
    head: Any, energy_weight: float, latency_weight: float, linear_floor: Any, rest_floor: Any
) -> None:
    """Least weighted cost over all clocks of each head, [U, K], and of what follows each cut, [K]."""
    last = head.shape[1] - 1
    for u in range(head.shape[0]):
        for k in range(last + 1):
            least, least_rest = np.inf, np.inf
            for c in range(head.shape[2]):
                for g in range(head.shape[3]):
                    for m in range(head.shape[4]):
                        cost = (
                            energy_weight * head[u, k, c, g, m, 1] + latency_weight * head[u, k, c, g, m, 0]
                        )
                        whole = (
                            energy_weight * head[u, last, c, g, m, 1]
                            + latency_weight * head[u, last, c, g, m, 0]
                        )
                        least = min(least, cost)
                        least_rest = min(least_rest, whole - cost)
            linear_floor[u, k] = least
            if u == 0:
                rest_floor[k] = least_rest


@kernel()  # type: ignore[untyped-decorator]
def _bound_episodes(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p_array: Any, bank: Any,
    top: Any, states: Any, streams: NDArray[np.uint64], costs: NDArray[np.float64],
    linear_floor: Any, rest_floor: Any, fastest_ms: Any, fastest_rest_ms: Any, floors: Any,
) -> None:  # fmt: skip
    p = p_array[0]
    for episode in range(states.shape[0]):
        s = states[episode]
        begin_episode(s, streams[episode], p, bank, top)
        energy_weight = s.eta * p.energy_weight_per_mj
        latency_weight = (1.0 - s.eta) * p.latency_weight_per_ms
        if episode == 0 or p.eta_low != p.eta_high:
            head_floors(head, energy_weight, latency_weight, linear_floor, rest_floor)
        free_ms = 0.0  # nobody's device is free for the request sooner
        for request in range(costs.shape[1]):
            s.now_ms = s.arrival_ms
            begin_ms = max(s.arrival_ms, free_ms)
            if begin_ms - s.arrival_ms > p.queue_limit_ms:
                costs[episode, request] = drop_cost(s.eta, p)
            else:
                costs[episode, request] = request_bound(
                    head, idle, codec, send, tail_ms, cpu_ghz, p, bank, s, linear_floor, rest_floor,
                    fastest_ms, floors, begin_ms - s.arrival_ms,
                )  # fmt: skip
                begun_ms = begin_ms + unavoidable_decision_ms(s, p)
                done_ms = soonest_done_ms(
                    send, tail_ms, cpu_ghz, p, bank, s, begun_ms, fastest_ms, fastest_rest_ms
                )
                # whoever dropped it instead was busy with others for the whole queue limit
                free_ms = min(done_ms, s.arrival_ms + p.queue_limit_ms)
                free_ms = max(free_ms, begin_ms)
            next_request(s, p)


def bound_costs(
    tables: CostTables, seeds: NDArray[np.integer], *, bank_seed: int = TRAINING_BANK_SEED
) -> NDArray[np.float64]:
    """Least conceivable cost of every request of the episodes `seeds`, float64 [episodes, requests].

    Minus the sum over a row is an upper bound on the return of any policy in that episode.
    """
    streams = np.array([stream_of_seed(int(seed)) for seed in seeds], dtype=np.uint64)
    states = np.zeros(len(streams), dtype=STATE)
    costs = np.zeros((len(streams), int(tables.params[0]["episode_requests"])))
    top = np.array(tables.sizes, dtype=np.int64) - 1
    fastest_ms = tables.head[..., 0].min(axis=(2, 3, 4)).astype(np.float64)
    whole_ms = tables.head[0, -1, ..., 0].astype(np.float64)
    fastest_rest_ms = (whole_ms - tables.head[0, ..., 0]).min(axis=(1, 2, 3))
    linear_floor, rest_floor = np.empty_like(fastest_ms), np.empty(fastest_ms.shape[1])
    floors = np.empty(tables.send.shape[:2])
    _bound_episodes(
        *tables.arrays,
        tables.bank(bank_seed),
        top,
        states,
        streams,
        costs,
        linear_floor,
        rest_floor,
        fastest_ms,
        fastest_rest_ms,
        floors,
    )
    return costs
