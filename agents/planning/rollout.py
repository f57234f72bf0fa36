"""Rolling the model ahead: what a decision costs together with the requests after it.

Futures are stretches of the training bank that begin where a simulated device saw much the same as this one
(`analogues`). In each of them the step's own physics (`serving.outcome`, `dynamics.advance`) serves the
present request with a candidate action and the next ones by a table of what the one-step planner mostly does,
so queues, clock changes, heat, and what sending lets the device see are all in.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.belief import states_of
from dvfo_agents.planning.seen import silence_ms
from dvfo_agents.planning.tuning import FIRST_SEED
from dvfo_agents.policy import Policy
from dvfo_controller.policies.rollout import LOW_LOG2, RATE_BINS, SPAN_LOG2
from dvfo_env.arrivals import mix
from dvfo_env.compiled import inline_kernel, kernel
from dvfo_env.dynamics import advance
from dvfo_env.observation import index_of, rate_mbps
from dvfo_env.serving import outcome
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.state import DROP_COST, OUTCOME, STATE
from dvfo_env.tables import CPU, CUT, GPU, LEVEL, MAPPING, MEM, CostTables

_FRESH, _SILENT, _TIMED_OUT = range(3)
_EPISODES, _MANY = 12, 1 << 40
_FIELDS = (
    ("rate_log2", "rate_last"),
    ("rate_before_log2", "rate_before"),
    ("rate_smooth_log2", "rate_smooth"),
)


@inline_kernel()  # type: ignore[untyped-decorator]
def situation(s: Any, p: Any) -> int:
    """Row of the table for a state: class of difficulty, rate last seen, freshness, queue."""
    place = int((s.rate_log2 - LOW_LOG2) / SPAN_LOG2 * RATE_BINS)
    place = min(max(place, 0), RATE_BINS - 1)
    status = _FRESH
    if s.timeouts > 0:
        status = _TIMED_OUT
    elif s.now_ms - s.heard_ms > 1.5 * p.period_ms:
        status = _SILENT
    queued = 1 if s.now_ms - s.arrival_ms > 0.02 * p.period_ms else 0
    return int(((s.difficulty * 3 + status) * 2 + queued) * RATE_BINS + place)


@kernel()  # type: ignore[untyped-decorator]
def _situations(states: Any, p_array: Any, rows: Any) -> None:
    for i in range(states.shape[0]):
        rows[i] = situation(states[i], p_array[0])


class Habits:
    """What a policy mostly does in each situation: `actions` int64 [situations, parts], read off training
    episodes.
    """

    def __init__(self, tables: CostTables, policy: Policy) -> None:
        simulator = Simulator(tables, _EPISODES, autoreset=False)
        observations = simulator.reset(FIRST_SEED + np.arange(_EPISODES))
        policy.reset(_EPISODES)
        counts: dict[int, Counter[tuple[int, ...]]] = {}
        rows = np.zeros(_EPISODES, dtype=np.int64)
        running = np.ones(_EPISODES, dtype=np.bool_)
        while running.any():
            _situations(simulator.states, tables.params, rows)
            actions = policy.act(observations)
            for i in np.flatnonzero(running):
                counts.setdefault(int(rows[i]), Counter())[tuple(actions[i].tolist())] += 1
            batch = simulator.step(actions)
            running &= batch.ends == 0
            observations = batch.observations
        classes = max(int(tables.params[0]["n_classes"]), 1)
        self.actions: NDArray[np.int64] = np.repeat(
            tables.out_of_the_box[None], classes * 6 * RATE_BINS, axis=0
        )
        known = np.array(sorted(counts))
        for row in range(len(self.actions)):
            near = known[np.argmin(_apart(known, row))]
            self.actions[row] = counts[int(near)].most_common(1)[0][0]


def _apart(rows: NDArray[np.int64], row: int) -> NDArray[np.int64]:
    """How different situations [M] are from another: freshness counts most, then class, queue and rate."""
    distance = np.zeros(len(rows), dtype=np.int64)
    for size, weight in ((RATE_BINS, 1), (2, 40), (3, 1000), (_MANY, 200)):
        distance += weight * np.abs(rows % size - row % size)
        rows, row = rows // size, row // size
    return distance


def futures_of(tables: CostTables, observations: NDArray[np.float32]) -> NDArray[np.void]:
    """State records [N] for the beginning of futures: all that observations tell; time is set by `roll`."""
    states = states_of(tables, observations)
    for field, feature in _FIELDS:
        states[field] = np.log2(rate_mbps(observations[:, index_of(feature)]))
    states["heard_ms"] = states["now_ms"] - silence_ms(observations)
    states["timeouts"] = np.rint(4.0 * observations[:, index_of("timeouts")])
    states["battery_mj"] = np.inf
    return states


@kernel()  # type: ignore[untyped-decorator]
def _roll(
    head: Any, idle: Any, codec: Any, send: Any, tail_ms: Any, cpu_ghz: Any, p_array: Any, bank: Any,
    states: Any, at_ms: Any, candidates: Any, habits: Any, horizon: int, costs: Any, work: Any, out: Any,
) -> None:  # fmt: skip
    p = p_array[0]
    last = head.shape[1] - 1
    s = work[0]
    for i in range(states.shape[0]):
        for j in range(candidates.shape[1]):
            total = 0.0
            for m in range(at_ms.shape[1]):
                work[0] = states[i]
                shift_ms = at_ms[i, m] - s.now_ms
                s.now_ms += shift_ms
                s.arrival_ms += shift_ms
                s.heard_ms += shift_ms
                s.stream = mix(np.uint64(m), 0)  # the same requests to come for every candidate
                a = candidates[i, j]
                for _ in range(horizon + 1):
                    total += outcome(
                        head, idle, codec, send, tail_ms, cpu_ghz, p, bank, s, a[CUT], a[MAPPING], a[CPU],
                        a[GPU], a[MEM], a[LEVEL], out,
                    )  # fmt: skip
                    advance(idle, p, bank, s, a[CUT], last, out)
                    total += out[DROP_COST]
                    a = habits[situation(s, p)]
            costs[i, j] = total / at_ms.shape[1]


def roll(
    tables: CostTables,
    states: NDArray[np.void],
    at_ms: NDArray[np.float64],
    candidates: NDArray[np.int64],
    habits: Habits,
    horizon: int,
) -> NDArray[np.float64]:
    """Mean cost [N, A] of the present request and the `horizon` after it.

    Args:
        tables: the compiled scenario.
        states: `futures_of` the observations, STATE [N].
        at_ms: places in the training bank [N, M] where the futures begin.
        candidates: joint actions int64 [N, A, parts] for the present request.
        habits: what is done afterwards.
        horizon: number of later requests.
    """
    params = tables.params.copy()
    params["episode_requests"], params["battery_mj"] = _MANY, np.inf
    costs = np.zeros((len(states), candidates.shape[1]))
    _roll(
        *tables.arrays[:-1], params, tables.bank(TRAINING_BANK_SEED), states, at_ms, candidates,
        habits.actions, horizon, costs, np.zeros(1, dtype=STATE), np.zeros(len(OUTCOME), dtype=np.float32),
    )  # fmt: skip
    return costs
