"""What joint actions cost on average over a handful of possible worlds, from one state, by numpy.

The device's twin of the environment's `serving.outcome` where the rate is constant, for many clock points,
levels and worlds at once. Every number is made by the same operations in the same order as there, and in the
same precision: products and quotients of two table entries are float32, all else is float64. A test holds
both against each other, equal to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.cost_model import (
    DECODE_MS,
    ENCODE_MS,
    KILOBIT,
    LOAD,
    LOST,
    MJ,
    MS,
    RATE,
    RTT,
    CostModel,
    Float32s,
    Floats,
    Ints,
    Numbers,
    capped,
)

_BACKLOG = 16
_LATENCY_SLACK_MS = 1e-2  # the environment keeps outcomes as float32
_TINY_MS = 1e-30
_FOREVER_MS = 1e15  # worlds last longer than anything
#: The C library's, as compiled code has it; numpy's own may differ by a bit.
_exp = np.frompyfunc(math.exp, 1, 1)


@dataclass(frozen=True)
class Here:
    """The device's own state when it decides; time counts from the request's arrival.

    `started_ms`: when computing the decision began. `difficulty`: column of `CostModel.send` after `LOST`;
    `cpu`, `gpu`, `mem` are the clock indices in force and bit i of `trips` says that trip point i holds.
    """

    now_ms: float
    started_ms: float
    eta: float
    difficulty: int
    cpu: int
    gpu: int
    mem: int
    trips: int


class Remainders(NamedTuple):
    """Floors of what follows a head: cost apart from clocks and mean ms away [K - 1, Z], ms away by world."""

    apart: Floats
    hold_ms: Floats
    holds_ms: Floats


def in_order(terms: Floats) -> Floats:
    """Sums over the last axis, added one after the other as a loop does."""
    sums: Floats = np.add.accumulate(terms, axis=-1)[..., -1]
    return sums


def backlog_cost(latency_ms: Floats, latency_weight: float, serve_ms: float, p: Numbers) -> Floats:
    """What requests that take `latency_ms` cost those after them, if those are then served out of the box.

    They wait, and may miss their deadlines, until the backlog is gone (at most `_BACKLOG` are counted).
    `serve_ms` is what one takes out of the box.
    """
    waits_ms = latency_ms - p.period_ms
    if p.poisson:
        waits_ms = waits_ms + p.period_ms * np.asarray(_exp(-latency_ms / p.period_ms), dtype=np.float64)
    cost = np.zeros(np.shape(latency_ms))
    waiting = waits_ms > 0.0
    for _ in range(_BACKLOG):
        if not waiting.any():
            break
        cost = np.where(waiting, cost + latency_weight * waits_ms, cost)
        if serve_ms <= p.deadline_ms:
            late = waiting & (p.deadline_ms < serve_ms + waits_ms)
            cost = np.where(late, cost + p.deadline_weight, cost)
        waits_ms = waits_ms + (serve_ms - p.period_ms)
        waiting &= waits_ms > 0.0
    return cost


class Prepared:
    """Tables of a cost model in the precisions that the arithmetic needs; the same for every decision."""

    def __init__(self, model: CostModel) -> None:
        shape = model.head.shape
        self.numbers = model.numbers
        self.last = shape[1] - 1
        self.grid: tuple[int, int, int] = (shape[2], shape[3], shape[4])
        self.head_ms = model.head[..., MS].astype(np.float64).reshape(*shape[:2], -1)
        self.head_mj = model.head[..., MJ].astype(np.float64).reshape(*shape[:2], -1)
        self.headless: NDArray[np.bool_] = ~((self.head_ms > 0.0) | (self.head_mj != 0.0)).any(axis=-1)
        self.head32 = model.head[0, ..., : MJ + 1].reshape(shape[1], -1, MJ + 1)
        self.idle32 = np.ascontiguousarray(model.idle[..., 0].ravel())
        self.codec32 = np.ascontiguousarray(model.codec[..., 0].ravel())
        self.idle, self.codec = self.idle32.astype(np.float64), self.codec32.astype(np.float64)
        self.lowest_mw = float(self.idle32.min())
        self.send32, self.tail32 = model.send, model.tail_ms
        self.send = model.send.astype(np.float64)
        self.ghz = model.cpu_ghz.astype(np.float64)
        self.encode32 = model.send[:, :, ENCODE_MS, None] / model.cpu_ghz  # float32 [K, Z, C]
        self.serve_ms = float(model.head[0, -1, -1, -1, -1, MS])

    def point(self, cpu: int, gpu: int, mem: int) -> int:
        """Number of a clock point."""
        return (cpu * self.grid[1] + gpu) * self.grid[2] + mem


class Expectation:
    """Costs from one state in given worlds.

    Args:
        tables: prepared.
        here: the device's state.
        worlds: float32 [W * S, >= 3]; rows from w * S on are world w, one for each of S size classes.
        weights: probabilities float64 [W] of the worlds, all above zero.
        classes: size class int64 [K, Z] of what each cut and level send.
        queue_share: how much of what the backlog costs later requests counts as cost of a request.
    """

    def __init__(
        self, tables: Prepared, here: Here, worlds: Float32s, weights: Floats, classes: Ints,
        queue_share: float,
    ) -> None:  # fmt: skip
        p = tables.numbers
        self.tables, self.here, self.weights, self.queue_share = tables, here, weights, queue_share
        self.energy_weight = here.eta * p.energy_weight_per_mj
        self.latency_weight = (1.0 - here.eta) * p.latency_weight_per_ms
        self.cpu_top, self.gpu_top = capped(here.trips, p, tables.grid[0] - 1, tables.grid[1] - 1)
        cpu, gpu = capped(here.trips, p, here.cpu, here.gpu)
        self.held = tables.point(int(cpu), int(gpu), here.mem)
        self.decision_ms, self.decision_mj = self._decision()
        stride = len(worlds) // len(weights)
        self._by_world = worlds.reshape(len(weights), stride, worlds.shape[1])
        rows = np.arange(len(weights)) * stride + classes[: tables.last, :, None]
        self.network_ms = worlds[rows, RTT].astype(np.float64)
        self._load32 = worlds[rows, LOAD]
        self._rate = worlds[rows, RATE].astype(np.float64)
        self._finish()

    def _decision(self) -> tuple[float, float]:
        """What the decision itself costs: ms of waiting and mJ, at the clocks in force."""
        p, here, t = self.tables.numbers, self.here, self.tables
        if p.decision_ms <= 0.0:
            return 0.0, 0.0
        wait_ms = max(here.now_ms, here.started_ms + p.decision_ms) - here.now_ms
        at = t.point(here.cpu, here.gpu, here.mem)
        core_mw = float(t.codec32[at] - t.idle32[at])
        return wait_ms, (wait_ms * float(t.idle[at]) + p.decision_ms * core_mw) * 1e-3

    def _finish(self) -> None:
        """Work out what follows the head in every world, apart from clocks."""
        t, p = self.tables, self.tables.numbers
        kilobit = t.send[: t.last, :, KILOBIT, None]
        rate, limit_ms = self._rate, p.offload_timeout_ms
        with np.errstate(divide="ignore", invalid="ignore"):  # a rate of zero: see `dead`
            whole_ms = kilobit / rate
            over = whole_ms > limit_ms
            sent = np.where(over, kilobit - (whole_ms - limit_ms) * rate, kilobit)
        send_ms = np.where(over, limit_ms, whole_ms)
        dead = rate * _FOREVER_MS < kilobit
        send_ms, sent = np.where(dead, limit_ms, send_ms), np.where(dead, rate * limit_ms, sent)
        nothing = kilobit <= 0.0
        send_ms, sent = np.where(nothing, 0.0, send_ms), np.where(nothing, 0.0, sent)
        server32 = t.tail32[: t.last, None, None] * self._load32 + t.send32[: t.last, :, DECODE_MS, None]
        network_ms, server_ms = self.network_ms, server32.astype(np.float64)
        timed_out = send_ms + network_ms + server_ms + p.answer_ms > limit_ms
        timed_out |= sent < kilobit
        self.radio_mj = (p.radio_base_mw * send_ms + p.radio_mw_per_mbps * sent) * 1e-3
        self.network_ms = np.where(timed_out, np.minimum(network_ms, limit_ms - send_ms), network_ms)
        self.server_ms = np.where(timed_out, limit_ms - send_ms - self.network_ms, server_ms)
        self.receive_ms = np.where(timed_out, 0.0, p.answer_ms)
        self.send_ms, self.timed_out = send_ms, timed_out
        self.away_ms = self.network_ms + self.server_ms + self.receive_ms
        self.lost = np.where(timed_out, 0.0, t.send[: t.last, :, LOST + self.here.difficulty, None])

    def fallback(self, cut: int | slice, points: Ints, wait_mw: Floats) -> tuple[Floats, Floats]:
        """Time and energy of finishing on the device what was sent at clock points [N]; for a slice of cuts
        and one point, [K].
        """
        t, p = self.tables, self.tables.numbers
        top = t.point(int(self.cpu_top), int(self.gpu_top), t.grid[2] - 1)
        mem = points % t.grid[2]
        gpu, cpu = points // t.grid[2] % t.grid[1], points // (t.grid[1] * t.grid[2])
        change_ms = np.where(cpu != self.cpu_top, p.cpu_delay_ms, 0.0)
        change_ms = np.where(gpu != self.gpu_top, np.maximum(change_ms, p.gpu_delay_ms), change_ms)
        change_ms = np.where(mem != t.grid[2] - 1, np.maximum(change_ms, p.mem_delay_ms), change_ms)
        ms = change_ms + t.head_ms[0, t.last, top] - t.head_ms[0, cut, top]
        left32 = t.head32[t.last, top, MJ] - t.head32[cut, top, MJ]
        return ms, np.asarray(left32, dtype=np.float64) + change_ms * wait_mw * 1e-3

    def run_head(self, mapping: int, cut: int, points: Ints) -> tuple[Floats, Floats, Floats, Floats]:
        """Heads that end at clock points [N], begun at the clocks in force: ms and mJ until all changes are
        in effect, then ms and mJ of the rest.
        """
        t, p, here = self.tables, self.tables.numbers, self.here
        ms, mj = t.head_ms[mapping, cut], t.head_mj[mapping, cut]
        if t.headless[mapping, cut]:
            nothing = np.zeros(len(points))
            return nothing, nothing, nothing, nothing
        mems, gpus = t.grid[2], t.grid[1]
        mem, gpu, cpu = points % mems, points // mems % gpus, points // (gpus * mems)
        c, g, m = (np.full(len(points), at) for at in (here.cpu, here.gpu, here.mem))
        left, at_ms, spent_mj = np.ones(len(points)), np.zeros(len(points)), np.zeros(len(points))
        for rank in range(3):
            changes: NDArray[np.bool_] = np.zeros(len(points), dtype=np.bool_)
            if p.cpu_rank == rank:
                changes |= c != cpu
            if p.gpu_rank == rank:
                changes |= g != gpu
            if p.mem_rank == rank:
                changes |= m != mem
            if changes.any():
                until_ms = np.where(changes, p.delay_of_rank_ms[rank], at_ms)
                now = (c * gpus + g) * mems + m
                whole_ms = ms[now]
                share = np.minimum(left, (until_ms - at_ms) / np.maximum(whole_ms, _TINY_MS))
                at_ms = at_ms + share * whole_ms
                spent_mj = spent_mj + share * mj[now]
                left = left - share
            c = cpu if p.cpu_rank <= rank else c
            g = gpu if p.gpu_rank <= rank else g
            m = mem if p.mem_rank <= rank else m
        return at_ms, spent_mj, left * ms[points], left * mj[points]

    def costs(self, mapping: int, cut: int, points: Ints, levels: Ints) -> Floats:
        """Expected costs [N] of joint actions that share mapping and cut; `points` are capped."""
        t, p = self.tables, self.tables.numbers
        early_ms, early_mj, late_ms, late_mj = self.run_head(mapping, cut, points)
        latency_ms = self.here.now_ms + self.decision_ms + early_ms + late_ms
        energy_mj = self.decision_mj + early_mj + late_mj
        if cut == t.last:
            return self._charged(latency_ms, energy_mj, np.zeros(len(points)))
        encode32 = t.encode32[cut, levels, points // (t.grid[1] * t.grid[2])]
        encode_mj = np.multiply(encode32, t.codec32[points]).astype(np.float64) * 1e-3
        latency_ms = (latency_ms + encode32)[:, None]
        energy_mj = (energy_mj + encode_mj)[:, None]
        timed_out = self.timed_out[cut, levels]
        wait_mw = t.idle[points]
        if timed_out.any():
            rest_ms, rest_mj = self.fallback(cut, points, wait_mw)
            latency_ms = np.where(timed_out, latency_ms + rest_ms[:, None], latency_ms)
            energy_mj = np.where(timed_out, energy_mj + rest_mj[:, None], energy_mj)
        away_mw = (wait_mw + p.radio_wait_mw)[:, None]
        send_ms, away_ms = self.send_ms[cut, levels], self.away_ms[cut, levels]
        latency_ms = latency_ms + (send_ms + away_ms)
        spent_mj = send_ms * wait_mw[:, None] * 1e-3 + self.radio_mj[cut, levels] + away_ms * away_mw * 1e-3
        costs = self._charged(latency_ms, energy_mj + spent_mj, self.lost[cut, levels])
        return in_order(self.weights * costs)

    def _charged(self, latency_ms: Floats, energy_mj: Floats, lost: Floats) -> Floats:
        """Cost of outcomes of any shape, with the share of what their backlog costs."""
        p = self.tables.numbers
        late = np.where(latency_ms > p.deadline_ms, 1.0, 0.0)
        cost: Floats = (
            self.energy_weight * energy_mj
            + self.latency_weight * latency_ms
            + p.accuracy_weight_per_point * lost
            + p.deadline_weight * late
        )
        if self.queue_share > 0.0:
            seen_ms = latency_ms.astype(np.float32).astype(np.float64)
            cost = cost + self.queue_share * self._backlog(seen_ms)
        return cost

    def _backlog(self, latency_ms: Floats) -> Floats:
        return backlog_cost(latency_ms, self.latency_weight, self.tables.serve_ms, self.tables.numbers)

    def remainders(self) -> Remainders:
        """What follows the heads of all cuts that send, as if the clocks in force were kept."""
        t, p = self.tables, self.tables.numbers
        wait32, wait_mw = t.idle32[self.held], t.idle[self.held]
        away_mw = wait_mw + p.radio_wait_mw
        parts_ms = [
            np.asarray(part, dtype=np.float32)
            for part in (self.send_ms, self.network_ms, self.server_ms, self.receive_ms)
        ]
        hold32 = parts_ms[0] + parts_ms[1] + parts_ms[2] + parts_ms[3]
        radio32 = (self.send_ms * wait_mw * 1e-3 + self.radio_mj).astype(np.float32)
        for part in (self.network_ms, self.server_ms, self.receive_ms):
            radio32 = radio32 + (part * away_mw * 1e-3).astype(np.float32)
        hold_ms = hold32.astype(np.float64)
        radio_mj = radio32.astype(np.float64) - (hold32 * wait32).astype(np.float64) * 1e-3
        cost = self.latency_weight * hold_ms + self.energy_weight * radio_mj
        lost = np.asarray(self.lost, dtype=np.float32).astype(np.float64)
        cost = cost + p.accuracy_weight_per_point * lost
        apart = in_order(self._interleaved(cost * self.weights, self._finishing(wait_mw) * self.weights))
        return Remainders(apart, in_order(hold_ms * self.weights), hold_ms)

    def _finishing(self, wait_mw: float) -> Floats:
        """Least cost [K - 1, Z, W] of finishing here what timed out, whatever clocks it was sent at."""
        t, p = self.tables, self.tables.numbers
        delay_ms = max(p.cpu_delay_ms, p.gpu_delay_ms, p.mem_delay_ms)
        rest = self.fallback(slice(0, t.last), np.array([self.held]), np.array([wait_mw]))
        rest_ms, rest_mj = (
            np.where(self.timed_out, part.astype(np.float32)[:, None, None], np.float32(0.0)).astype(
                np.float64
            )
            for part in rest
        )
        fallback_ms = rest_ms - delay_ms
        fallback_mj = rest_mj - delay_ms * wait_mw * 1e-3
        finishing: Floats = np.maximum(
            0.0, self.latency_weight * fallback_ms + self.energy_weight * fallback_mj
        )
        return finishing

    @staticmethod
    def _interleaved(first: Floats, second: Floats) -> Floats:
        return np.stack([first, second], axis=-1).reshape(*first.shape[:-1], -1)

    def penalties(self, begun_ms: Floats, holds_ms: Floats) -> Floats:
        """Floors [...] of deadline misses and of the backlog's cost, when sending begins no sooner than
        `begun_ms` [...] and takes `holds_ms` [..., W] until the answer is there.
        """
        p = self.tables.numbers
        latency_ms = np.asarray(begun_ms)[..., None] + holds_ms - _LATENCY_SLACK_MS
        missed = np.where(latency_ms > p.deadline_ms, self.weights * p.deadline_weight, 0.0)
        if self.queue_share <= 0.0:
            return in_order(missed)
        return in_order(
            self._interleaved(missed, self.weights * self.queue_share * self._backlog(latency_ms))
        )

    def crude_floors(self) -> Floats:
        """Floors [K - 1, Z] of what follows a head, at the lowest waiting power and the highest CPU clock."""
        t, p = self.tables, self.tables.numbers
        energy_weight = self.here.eta * p.energy_weight_per_mj * 1e-3  # per mW * ms
        given_up = self.latency_weight * p.offload_timeout_ms
        fastest32 = self._by_world[:, :, RATE].max(axis=1)[:, None, None]
        rtt32, load32 = (self._by_world[:, 0, column][:, None, None] for column in (RTT, LOAD))
        encode32 = t.encode32[: t.last, :, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            send32 = t.send32[: t.last, :, KILOBIT] / fastest32
        server32 = t.tail32[: t.last, None] * load32 + t.send32[: t.last, :, DECODE_MS]
        away_ms = (rtt32 + server32).astype(np.float64) + p.answer_ms
        all_ms = (encode32 + send32).astype(np.float64) + away_ms
        send_ms = send32.astype(np.float64)
        floors = (
            self.latency_weight * all_ms
            + energy_weight * (t.lowest_mw * all_ms)
            + energy_weight * (p.radio_base_mw * send_ms + p.radio_mw_per_mbps * t.send[: t.last, :, KILOBIT])
            + energy_weight * p.radio_wait_mw * away_ms
            + p.accuracy_weight_per_point * t.send[: t.last, :, LOST + self.here.difficulty]
        )
        floors = np.where(fastest32 > 0.0, np.minimum(given_up, floors), given_up)
        return in_order(np.moveaxis(self.weights[:, None, None] * floors, 0, -1))
