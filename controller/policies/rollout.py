"""Rolling the model ahead by numpy: what a decision costs together with the requests after it.

The device's twin of the environment's `dynamics.advance`, for many futures at once: every number is made by
the same operations in the same order and precision. A test holds both against each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.cost_model import (
    BLOCKING,
    CONCURRENT,
    CostModel,
    Float32s,
    Floats,
    Ints,
)
from dvfo_controller.policies.expectation import in_order
from dvfo_controller.policies.serving import FLOOR_LOG2, Board, Lanes, Served, Serving, as_float32

RATE_LOG2 = 3
RATE_BINS, LOW_LOG2, SPAN_LOG2 = 20, -4.0, 14.0
_GOLDEN, _MIX1, _MIX2 = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_FIRST_GAP, _FIRST_DIFFICULTY = 16, 1 << 40
#: The C library's, as compiled code has it; numpy's own may differ by a bit.
_log = np.frompyfunc(math.log, 1, 1)


@dataclass(frozen=True)
class RolloutNumbers:
    """What the future needs beside `Numbers`; `monitor_ms` None: the link is not monitored."""

    bank_step_ms: float
    monitor_ms: float | None
    drop_latency_cost: float
    drop_energy_cost: float
    thermal: bool
    ambient_c: float
    resistance_c_per_w: float
    time_constant_ms: float
    class_edge: tuple[float, ...]


def mixed(stream: NDArray[np.uint64], draw: Any) -> NDArray[np.uint64]:
    """Numbers `draw` of counter-based random streams (splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = stream + np.asarray(draw + 1).astype(np.uint64) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX1
        z = (z ^ (z >> np.uint64(27))) * _MIX2
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def _uniform(stream: NDArray[np.uint64], draw: Any) -> Floats:
    return (mixed(stream, draw) >> np.uint64(11)).astype(np.float64) * (1.0 / 9007199254740992.0)


class Rollout:
    """Serves requests of devices, and those after them, in stretches of a bank.

    Args:
        model: the device's cost tables.
        board: what the board draws.
        numbers: see there.
        bank: float32 [B, 4] Mbit/s, round-trip time, server factor, log2 of the rate; it repeats.
        habits: int64 [situations, 6] what is done in each situation; see `situations`.
    """

    def __init__(
        self, model: CostModel, board: Board, numbers: RolloutNumbers, bank: Float32s, habits: Ints
    ) -> None:
        self.numbers, self.bank, self.habits = numbers, bank, habits
        self._p = model.numbers
        self._serving = Serving(model, board, bank, numbers.bank_step_ms)

    def costs(self, lanes: Lanes, at_ms: Floats, candidates: Ints, horizon: int) -> Floats:
        """Mean cost [A] of the present request and the `horizon` after it, over futures.

        Args:
            lanes: the one device, times counted from its request's arrival.
            at_ms: places in the bank [M] where the futures begin.
            candidates: joint actions int64 [A, 6] for the present request.
            horizon: number of later requests.
        """
        futures, count = len(at_ms), len(candidates)
        s = lanes.repeated(count * futures)
        shift_ms = np.tile(at_ms, count) - s.now_ms
        s.now_ms, s.arrival_ms = s.now_ms + shift_ms, s.arrival_ms + shift_ms
        s.heard_ms = s.heard_ms + shift_ms
        s.stream = np.tile(mixed(np.arange(futures, dtype=np.uint64), 0), count)
        actions = np.repeat(candidates, futures, axis=0)
        terms = []
        for _ in range(horizon + 1):
            served = self._serving.serve(s, actions)
            terms += [served.cost, self._advance(s, served)]
            actions = self.habits[self.situations(s)]
        ordered = np.stack(terms, axis=-1).reshape(count, futures * len(terms))
        return np.asarray(in_order(ordered) / futures)

    def situations(self, s: Lanes) -> Ints:
        """Rows of the habits for states: class of difficulty, freshness, queue, rate last seen."""
        place = ((s.rate_log2 - LOW_LOG2) / SPAN_LOG2 * RATE_BINS).astype(np.int64)
        place = np.clip(place, 0, RATE_BINS - 1)
        silent = s.now_ms - s.heard_ms > 1.5 * self._p.period_ms
        status = np.where(s.timeouts > 0, 2, np.where(silent, 1, 0))
        queued = np.where(s.now_ms - s.arrival_ms > 0.02 * self._p.period_ms, 1, 0)
        return ((s.difficulty * 3 + status) * 2 + queued) * RATE_BINS + place

    def _advance(self, s: Lanes, served: Served) -> Floats:
        """Apply what was served and go on to the next requests; returns what dropped ones cost [L]."""
        p, n = self._p, self.numbers
        done_ms = s.arrival_ms + served.latency_ms
        s.rate_log2 = np.where(served.sent, served.seen_log2, s.rate_log2)
        s.heard_ms = np.where(served.sent, s.arrival_ms + served.latency_ms - served.fallback_ms, s.heard_ms)
        s.timeouts = np.where(served.sent, np.where(served.timed_out, s.timeouts + 1, 0), s.timeouts)
        began_ms = s.now_ms
        s.cpu, s.gpu, s.mem = served.cpu, served.gpu, served.mem
        if p.decision_mode == CONCURRENT:
            s.started_ms = np.maximum(s.now_ms, s.started_ms + p.decision_ms)
        dropped = self._next_requests(s, done_ms)
        s.now_ms = np.maximum(done_ms, s.arrival_ms)
        if p.decision_mode == BLOCKING:
            s.started_ms = s.now_ms
        self._watch_link(s)
        idle_mj = (
            (s.now_ms - done_ms)
            * self._serving.idle_board_mw[self._serving.point(s.cpu, s.gpu, s.mem)]
            * 1e-3
        )
        if n.thermal:
            self._warm(s, np.maximum(s.now_ms - began_ms, 1e-6), served.board_mj + idle_mj)
        drop_cost = s.eta * n.drop_energy_cost + (1.0 - s.eta) * n.drop_latency_cost + p.deadline_weight
        return as_float32(dropped * drop_cost)

    def _next_requests(self, s: Lanes, done_ms: Floats) -> Ints:
        """The next requests that are still wanted become the present ones; returns how many were not."""
        p = self._p
        dropped = np.zeros(len(done_ms), dtype=np.int64)
        waiting = np.arange(len(done_ms))
        while len(waiting):
            gap_ms: Any = p.period_ms
            if p.poisson:
                drawn = _uniform(s.stream[waiting], _FIRST_GAP + s.request[waiting])
                gap_ms = -p.period_ms * np.asarray(_log(1.0 - drawn), dtype=np.float64)
            s.arrival_ms[waiting] += gap_ms
            s.request[waiting] += 1
            waiting = waiting[done_ms[waiting] - s.arrival_ms[waiting] > p.queue_limit_ms]
            dropped[waiting] += 1
        s.difficulty = np.zeros(len(done_ms), dtype=np.int64)
        if p.n_classes > 1:
            drawn = _uniform(s.stream, _FIRST_DIFFICULTY + s.request)
            edges = np.array(self.numbers.class_edge[: p.n_classes - 1])
            s.difficulty = np.minimum.accumulate(drawn[:, None] >= edges, axis=1).sum(axis=1)
        return dropped

    def _watch_link(self, s: Lanes) -> None:
        """What the link monitor has reported by now, where that is news: the rate of the sample just past."""
        n = self.numbers
        if n.monitor_ms is None:
            return
        report_ms = np.floor(s.now_ms / n.monitor_ms) * n.monitor_ms
        news = report_ms > s.heard_ms
        sample = np.maximum(np.ceil(report_ms / n.bank_step_ms).astype(np.int64) - 1, 0)
        rate_log2 = self.bank[sample % len(self.bank), RATE_LOG2].astype(np.float64)
        s.rate_log2 = np.where(news, rate_log2, s.rate_log2)
        s.heard_ms = np.where(news, report_ms, s.heard_ms)
        s.timeouts = np.where(news & (rate_log2 > FLOOR_LOG2), 0, s.timeouts)

    def _warm(self, s: Lanes, span_ms: Floats, drawn_mj: Floats) -> None:
        p, n = self._p, self.numbers
        target_c = n.ambient_c + n.resistance_c_per_w * drawn_mj / span_ms
        pull = span_ms / n.time_constant_ms
        s.temperature_c = s.temperature_c + pull / (1.0 + pull) * (target_c - s.temperature_c)
        for i in range(p.n_trips):
            above, below = s.temperature_c >= p.trip_c[i], s.temperature_c < p.release_c[i]
            s.trips = np.where(above, s.trips | (1 << i), np.where(below, s.trips & ~(1 << i), s.trips))
