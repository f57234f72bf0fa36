"""Serving requests on a bank whose rates change, by numpy, for many devices at once.

The device's twin of the environment's `serving.outcome`: every number is made by the same operations in the
same order and precision. A test holds both against each other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.cost_model import (
    CPU,
    CUT,
    DECODE_MS,
    GPU,
    KILOBIT,
    LEVEL,
    LOAD,
    LOST,
    MAPPING,
    MEM,
    RATE,
    RTT,
    CostModel,
    Float32s,
    Floats,
    Ints,
)
from dvfo_controller.policies.expectation import Prepared

FLOOR_LOG2 = -10.0  # log2 Mbit/s that a link which carries nothing is remembered as
_TINY_MS = 1e-30
Bools = NDArray[np.bool_]


class Board(NamedTuple):
    """What the board draws, where that is not what counts: float32 arrays as in `CostModel`."""

    head_mj: Float32s
    idle_mw: Float32s
    codec_mw: Float32s


@dataclass
class Lanes:
    """Devices that live in futures of their own, arrays [L]; times are places in the bank."""

    now_ms: Floats
    arrival_ms: Floats
    started_ms: Floats
    heard_ms: Floats
    rate_log2: Floats
    timeouts: Ints
    temperature_c: Floats
    eta: Floats
    difficulty: Ints
    cpu: Ints
    gpu: Ints
    mem: Ints
    trips: Ints
    stream: NDArray[np.uint64]
    request: Ints

    def repeated(self, times: int) -> Lanes:
        """Every lane so many times, one after the other."""
        return Lanes(**{f.name: np.repeat(getattr(self, f.name), times) for f in fields(self)})


class Served(NamedTuple):
    """What serving the present requests did, arrays [L]; float32 as the environment keeps it."""

    cost: Floats
    latency_ms: Floats
    fallback_ms: Floats
    board_mj: Floats
    seen_log2: Floats
    timed_out: Bools
    sent: Bools
    cpu: Ints
    gpu: Ints
    mem: Ints


def as_float32(values: Floats) -> Floats:
    """Rounded to float32, as the environment keeps outcomes."""
    return values.astype(np.float32).astype(np.float64)


class Serving:
    """Serves requests in stretches of a bank.

    Args:
        model: the device's cost tables.
        board: what the board draws.
        bank: float32 [B, 4] Mbit/s, round-trip time, server factor, log2 of the rate; it repeats.
        bank_step_ms: time between its samples.
    """

    def __init__(self, model: CostModel, board: Board, bank: Float32s, bank_step_ms: float) -> None:
        self.bank, self.board, self.bank_step_ms = bank, board, bank_step_ms
        self._t, self._p = Prepared(model), model.numbers
        self._points = int(np.prod(self._t.grid))
        self._board = board.head_mj.astype(np.float64).ravel()
        self._ms, self._mj = self._t.head_ms.ravel(), self._t.head_mj.ravel()
        self._idle_board32, self._codec_board32 = board.idle_mw.ravel(), board.codec_mw.ravel()
        self.idle_board_mw = self._idle_board32.astype(np.float64)
        p = self._p
        self._delays_ms = (p.cpu_delay_ms, p.gpu_delay_ms, p.mem_delay_ms)

    def _capped(self, s: Lanes, cpu: Ints, gpu: Ints) -> tuple[Ints, Ints]:
        p = self._p
        for i in range(p.n_trips):
            held = ((s.trips >> i) & 1) > 0
            if p.trip_is_gpu[i]:
                gpu = np.where(held, np.minimum(gpu, p.trip_cap_index[i]), gpu)
            else:
                cpu = np.where(held, np.minimum(cpu, p.trip_cap_index[i]), cpu)
        return cpu, gpu

    def _highest(self, s: Lanes) -> tuple[Ints, Ints]:
        """The highest CPU and GPU clocks that the caps allow."""
        cpus, gpus, _ = self._t.grid
        n = len(s.now_ms)
        return self._capped(s, np.full(n, cpus - 1), np.full(n, gpus - 1))

    def point(self, cpu: Any, gpu: Any, mem: Any) -> Ints:
        """Numbers of clock points."""
        grid = self._t.grid
        return np.asarray((cpu * grid[1] + gpu) * grid[2] + mem, dtype=np.int64)

    def _run_head(self, s: Lanes, rows: Ints, cpu: Ints, gpu: Ints, mem: Ints) -> tuple[list[Floats], Floats]:
        """Early ms, counted mJ and board mJ, and what is left of the head when all clocks are in effect;
        `rows` is where the table of each lane's head begins.
        """
        p, c, g, m = self._p, s.cpu, s.gpu, s.mem
        left = np.ones(len(rows))
        at_ms, spent_mj, board_mj = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
        for rank in range(3):
            changes = np.zeros(len(rows), dtype=np.bool_)
            for own, now, wanted in ((p.cpu_rank, c, cpu), (p.gpu_rank, g, gpu), (p.mem_rank, m, mem)):
                if own == rank:
                    changes |= now != wanted
            if changes.any():
                until_ms = np.where(changes, p.delay_of_rank_ms[rank], at_ms)
                place = rows + self.point(c, g, m)
                whole_ms = self._ms[place]
                share = np.minimum(left, (until_ms - at_ms) / np.maximum(whole_ms, _TINY_MS))
                at_ms = at_ms + share * whole_ms
                spent_mj = spent_mj + share * self._mj[place]
                board_mj = board_mj + share * self._board[place]
                left = left - share
            c = cpu if p.cpu_rank <= rank else c
            g = gpu if p.gpu_rank <= rank else g
            m = mem if p.mem_rank <= rank else m
        return [at_ms, spent_mj, board_mj], left

    def _decision(self, s: Lanes) -> tuple[Floats, Floats, Floats]:
        p, t = self._p, self._t
        if p.decision_ms <= 0.0:
            nothing = np.zeros(len(s.now_ms))
            return nothing, nothing, nothing
        wait_ms = np.maximum(s.now_ms, s.started_ms + p.decision_ms) - s.now_ms
        at = self.point(s.cpu, s.gpu, s.mem)
        core_mw = (t.codec32[at] - t.idle32[at]).astype(np.float64)
        core_board_mw = (self._codec_board32[at] - self._idle_board32[at]).astype(np.float64)
        counted_mj = (wait_ms * t.idle[at] + p.decision_ms * core_mw) * 1e-3
        return wait_ms, counted_mj, (wait_ms * self.idle_board_mw[at] + p.decision_ms * core_board_mw) * 1e-3

    def _transfer(self, start_ms: Floats, kilobit: Floats) -> tuple[Floats, Floats]:
        """Duration and kilobits sent of transfers begun at places in the bank, cut off at the time-out."""
        step_ms, limit_ms, length = self.bank_step_ms, self._p.offload_timeout_ms, len(self.bank)
        step = (start_ms / step_ms).astype(np.int64)
        left, spent = kilobit.copy(), np.zeros(len(kilobit))
        room = (step + 1) * step_ms - start_ms
        send_ms, sent = np.zeros(len(kilobit)), np.zeros(len(kilobit))
        going = np.flatnonzero(kilobit > 0.0)
        while len(going):
            rate = self.bank[step[going] % length, RATE].astype(np.float64)
            whole, gone, space = left[going], spent[going], room[going]
            fits = rate * space >= whole
            with np.errstate(divide="ignore", invalid="ignore"):
                end = gone + whole / rate
                late = fits & (end > limit_ms)
                over = kilobit[going] - (end - limit_ms) * rate
            cut_off = ~fits & (gone + space >= limit_ms)
            send_ms[going] = np.where(fits & ~late, end, limit_ms)
            sent[going] = np.where(
                fits,
                np.where(late, over, kilobit[going]),
                kilobit[going] - whole + rate * (limit_ms - gone),
            )
            left[going], spent[going], room[going] = whole - rate * space, gone + space, step_ms
            step[going] += 1
            going = going[~fits & ~cut_off]
        return send_ms, sent

    def serve(self, s: Lanes, actions: Ints) -> Served:
        """Serve the present requests."""
        p, t = self._p, self._t
        cpu, gpu = self._capped(s, actions[:, CPU], actions[:, GPU])
        cut, mapping, level, mem = actions[:, CUT], actions[:, MAPPING], actions[:, LEVEL], actions[:, MEM]
        rows = (mapping * (t.last + 1) + cut) * self._points
        point = self.point(cpu, gpu, mem)
        (early_ms, early_mj, early_board), left = self._run_head(s, rows, cpu, gpu, mem)
        wait_ms, wait_mj, wait_board = self._decision(s)
        latency_ms = s.now_ms - s.arrival_ms + wait_ms + early_ms + left * self._ms[rows + point]
        energy_mj = wait_mj + early_mj + left * self._mj[rows + point]
        board_mj = wait_board + early_board + left * self._board[rows + point]
        lost, fallback_ms = np.zeros(len(cut)), np.zeros(len(cut))
        seen_log2, timed_out = np.full(len(cut), FLOOR_LOG2), np.zeros(len(cut), dtype=np.bool_)
        sent = cut < t.last
        at = np.flatnonzero(sent)
        if len(at):
            away = self._away(
                s, at, cut[at], level[at], cpu, gpu, mem, latency_ms[at], energy_mj[at], board_mj[at]
            )
            latency_ms[at], energy_mj[at], board_mj[at], lost[at], fallback_ms[at], seen_log2[at] = away[:6]
            timed_out[at] = away[6]
            top_cpu, top_gpu = self._capped(
                s, np.full(len(cut), t.grid[0] - 1), np.full(len(cut), t.grid[1] - 1)
            )
            cpu, gpu = np.where(timed_out, top_cpu, cpu), np.where(timed_out, top_gpu, gpu)
            mem = np.where(timed_out, t.grid[2] - 1, mem)
        cost = (
            s.eta * p.energy_weight_per_mj * energy_mj
            + (1.0 - s.eta) * p.latency_weight_per_ms * latency_ms
            + p.accuracy_weight_per_point * lost
            + p.deadline_weight * np.where(latency_ms > p.deadline_ms, 1.0, 0.0)
        )
        return Served(
            cost,
            as_float32(latency_ms),
            as_float32(fallback_ms),
            as_float32(board_mj),
            seen_log2,
            timed_out,
            sent,
            cpu,
            gpu,
            mem,
        )

    def _away(
        self, s: Lanes, at: Ints, cut: Ints, level: Ints, cpus: Ints, gpus: Ints, mems: Ints,
        latency_ms: Floats, energy_mj: Floats, board_mj: Floats,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Encode, send and wait, for lanes `at`: latency, energy, board, points lost, fallback, log2 of the
        rate seen, time-outs.
        """
        p, t = self._p, self._t
        cpu, gpu, mem = cpus[at], gpus[at], mems[at]
        point = self.point(cpu, gpu, mem)
        wait_mw, wait_board_mw = t.idle[point], self.idle_board_mw[point]
        encode32 = t.encode32[cut, level, cpu]
        board_mj = board_mj + (encode32 * self._codec_board32[point]).astype(np.float64) * 1e-3
        latency_ms = latency_ms + encode32
        energy_mj = energy_mj + (encode32 * t.codec32[point]).astype(np.float64) * 1e-3
        kilobit = t.send[cut, level, KILOBIT]
        send_ms, sent = self._transfer(s.arrival_ms[at] + latency_ms, kilobit)
        radio_mj = (p.radio_base_mw * send_ms + p.radio_mw_per_mbps * sent) * 1e-3
        arrived = (s.arrival_ms[at] / self.bank_step_ms).astype(np.int64) % len(self.bank)
        network_ms = self.bank[arrived, RTT].astype(np.float64)
        server32 = t.tail32[cut] * self.bank[arrived, LOAD] + t.send32[cut, level, DECODE_MS]
        server_ms, limit_ms = server32.astype(np.float64), p.offload_timeout_ms
        out = (send_ms + network_ms + server_ms + p.answer_ms > limit_ms) | (sent < kilobit)
        network_ms = np.where(out, np.minimum(network_ms, limit_ms - send_ms), network_ms)
        server_ms = np.where(out, limit_ms - send_ms - network_ms, server_ms)
        away_ms = network_ms + server_ms + np.where(out, 0.0, p.answer_ms)
        rest_ms, rest_mj, rest_board = self._fallback(s, at, cut, cpu, gpu, mem, wait_mw, wait_board_mw)
        lost = np.where(out, 0.0, t.send[cut, level, LOST + s.difficulty[at]])
        latency_ms = np.where(out, latency_ms + rest_ms, latency_ms) + (send_ms + away_ms)
        energy_mj = np.where(out, energy_mj + rest_mj, energy_mj)
        away_mw = wait_mw + p.radio_wait_mw
        energy_mj = energy_mj + (send_ms * wait_mw * 1e-3 + radio_mj + away_ms * away_mw * 1e-3)
        board_mj = np.where(out, board_mj + rest_board[0] + rest_board[1], board_mj)
        board_mj = board_mj + (send_ms + away_ms) * wait_board_mw * 1e-3
        board_mj = board_mj + (radio_mj + away_ms * p.radio_wait_mw * 1e-3)
        seen = np.divide(sent, send_ms, out=np.zeros(len(at)), where=send_ms > 0.0).astype(np.float32)
        seen_log2 = np.log2(np.maximum(seen, np.float32(2.0**FLOOR_LOG2)).astype(np.float64))
        return latency_ms, energy_mj, board_mj, lost, np.where(out, rest_ms, 0.0), as_float32(seen_log2), out

    def _fallback(
        self, s: Lanes, at: Ints, cut: Ints, cpu: Ints, gpu: Ints, mem: Ints, wait_mw: Floats,
        wait_board_mw: Floats,
    ) -> tuple[Floats, Floats, tuple[Floats, Floats]]:  # fmt: skip
        """Finishing on the device: ms, counted mJ, and the two parts of the board's mJ."""
        t = self._t
        top_cpu, top_gpu = (top[at] for top in self._highest(s))
        change_ms = np.where(cpu != top_cpu, self._delays_ms[0], 0.0)
        change_ms = np.where(gpu != top_gpu, np.maximum(change_ms, self._delays_ms[1]), change_ms)
        change_ms = np.where(mem != t.grid[2] - 1, np.maximum(change_ms, self._delays_ms[2]), change_ms)
        top = self.point(top_cpu, top_gpu, t.grid[2] - 1)
        ms = change_ms + t.head_ms[0, t.last, top] - t.head_ms[0, cut, top]
        mj = (t.head32[t.last, top, 1] - t.head32[cut, top, 1]).astype(np.float64)
        head_board = self.board.head_mj.reshape(*self.board.head_mj.shape[:2], -1)
        board = (head_board[0, t.last, top] - head_board[0, cut, top]).astype(np.float64)
        return ms, mj + change_ms * wait_mw * 1e-3, (board, change_ms * wait_board_mw * 1e-3)
