"""Exact search over the joint action for the least expected cost in a handful of possible worlds, by numpy.

A world is a constant (rate, round-trip time, server factor). This is the device's twin of the compiled
search that planners use in training, and it takes the same decision: it visits the same actions in the same
order and skips the same ones for the same floors, so where several cost the same the same one wins. What is a
loop there is done for many clock points, levels and worlds at once here.

* What follows a head, apart from its clocks, is worked out once for each (cut, level, world) and gives a
  floor for every clock point; see `expectation`.
* The clock points of each (mapping, cut) come sorted by what the head costs there. While clocks change the
  head runs partly at other clocks: at most `share` of it, and nowhere cheaper than at the cheapest point.
"""

from __future__ import annotations

import numpy as np

from dvfo_controller.policies.cost_model import (
    CPU,
    CUT,
    GPU,
    LEVEL,
    MAPPING,
    MEM,
    CostModel,
    Float32s,
    Floats,
    Ints,
)
from dvfo_controller.policies.expectation import Expectation, Here, Prepared
from dvfo_controller.policies.space import Space

_SLACK = 1e-9
_FIRST_CHUNK, _LARGEST_CHUNK = 8, 2048


class Search:
    """The search over one space; holds what is the same for every decision.

    Args:
        model: the device's cost tables.
        space: which joint actions are searched.
        queue_share: how much of what the backlog costs later requests counts as cost of a request.
        classes: size class int64 [K, Z] of what each cut and level send; all 0 by default.
    """

    def __init__(
        self, model: CostModel, space: Space, queue_share: float = 0.0, classes: Ints | None = None
    ) -> None:
        self.space, self.queue_share = space, queue_share
        self.tables = Prepared(model)
        self.classes = np.zeros(model.send.shape[:2], dtype=np.int64) if classes is None else classes

    def __call__(self, here: Here, worlds: Float32s, weights: Floats, start: Ints) -> tuple[Ints, float]:
        """The joint action int64 [6] with the least expected cost, and that cost.

        Args:
            here: the device's state.
            worlds: float32 [W * S, >= 3]; rows from w * S on are world w, one for each of S size classes.
            weights: probabilities float64 [W] of the worlds; those without any are not looked at.
            start: legal joint action of the space to begin with.
        """
        used = weights > 0.0
        if not used.all():
            worlds = worlds.reshape(len(weights), -1, worlds.shape[1])[used].reshape(-1, worlds.shape[1])
            weights = weights[used]
        expectation = Expectation(self.tables, here, worlds, weights, self.classes, self.queue_share)
        return _Decision(self.tables, self.space, expectation).best_from(start)


class _Decision:
    """One search: the best joint action so far and the floors of all others."""

    def __init__(self, tables: Prepared, space: Space, expectation: Expectation) -> None:
        self.tables, self.space, self.expectation = tables, space, expectation
        p, eta = tables.numbers, expectation.here.eta
        weights = space.order.shape[0]
        at = (eta - p.eta_low) / (p.eta_high - p.eta_low) * (weights - 1) if weights > 1 else 0.0
        below = min(int(at), weights - 1)
        above = min(below + 1, weights - 1)
        # the floor of a head is concave in eta, so the chord between two weights lies below it
        self.floors = space.floor[below] + (at - below) * (space.floor[above] - space.floor[below])
        self.order = space.order[int(at + 0.5)]
        self.sorted = weights == 1 and expectation.here.trips == 0
        self.best, self.action = np.inf, np.zeros(6, dtype=np.int64)

    def best_from(self, start: Ints) -> tuple[Ints, float]:
        """Search everything, beginning with what `start` costs."""
        x, last = self.expectation, self.tables.last
        self.action = start.copy()
        self.best = self._cost_of(start)
        levels, cuts = self.space.levels, self.space.cuts
        least = np.zeros(last + 1)
        if last and (cuts < last).any():
            self.crude = x.crude_floors()[:, levels]
            least[:last] = self.crude.min(axis=1)
            self.rest = x.remainders()
            soonest_ms = x.here.now_ms + self.tables.encode32[:last, :, -1][:, levels].astype(np.float64)
            holds_ms = self.rest.holds_ms[:, levels]
            self.base = self.rest.apart[:, levels] + x.penalties(soonest_ms, holds_ms)
        waited = x.latency_weight * x.here.now_ms
        together = (self.floors + least)[:, cuts]
        first = int(together.argmin())
        groups = [first, *(g for g in range(together.size) if g != first)]
        hopeless = (waited + self.floors + least)[:, cuts].ravel()
        for group in groups:
            if hopeless[group] < self.best - _SLACK:
                mapping, cut = divmod(group, len(cuts))
                self._visit(mapping, int(cuts[cut]), least)
        return self.action, self.best

    def _cost_of(self, action: Ints) -> float:
        x = self.expectation
        point = self._capped(np.array([self.tables.point(*(int(action[i]) for i in (CPU, GPU, MEM)))]))
        cost = x.costs(int(action[MAPPING]), int(action[CUT]), point, action[LEVEL : LEVEL + 1])
        return float(cost[0])

    def _capped(self, points: Ints) -> Ints:
        """The clock points that caps turn `points` into."""
        x, (_, gpus, mems) = self.expectation, self.tables.grid
        if x.here.trips == 0:
            return points
        cpu, gpu = points // (gpus * mems), points // mems % gpus
        cpu, gpu = np.minimum(cpu, x.cpu_top), np.minimum(gpu, x.gpu_top)
        return np.asarray((cpu * gpus + gpu) * mems + points % mems, dtype=np.int64)

    def _visit(self, mapping: int, cut: int, least: Floats) -> None:
        """Search the clock points and levels of one (mapping, cut)."""
        t, x = self.tables, self.expectation
        order = self.order[mapping, cut].astype(np.int64)
        points = self._capped(order)
        share = float(self.space.shares[mapping, cut])
        linear = x.energy_weight * t.head_mj[mapping, cut, points]
        linear += x.latency_weight * t.head_ms[mapping, cut, points]
        waited = x.latency_weight * x.here.now_ms
        lowest = float(self.floors[mapping, cut])
        begun = waited + (1.0 - share) * linear + share * lowest
        floors = begun + least[cut]
        end = self._end(floors, 0)
        if cut == t.last:
            self._visit_local(mapping, order, points, floors, end)
        else:
            self._visit_sent(mapping, cut, order, points, begun, floors, end, waited + lowest)

    def _end(self, floors: Floats, begin: int) -> int:
        """Where among sorted points, from `begin` on, the visit ends: the first that cannot be better."""
        if not self.sorted:
            return len(floors)
        beyond = floors[begin:] >= self.best - _SLACK
        return begin + int(beyond.argmax()) if beyond.any() else len(floors)

    def _visit_local(self, mapping: int, order: Ints, points: Ints, floors: Floats, end: int) -> None:
        x, last = self.expectation, self.tables.last
        open_ = np.flatnonzero(floors[:end] < self.best - _SLACK)
        chunk = _FIRST_CHUNK
        while len(open_):
            some, open_ = open_[:chunk], open_[chunk:]
            chunk = min(2 * chunk, _LARGEST_CHUNK)
            level = self.space.levels[:1]
            early_ms, early_mj, late_ms, late_mj = x.run_head(mapping, last, points[some])
            begun = x.latency_weight * (x.here.now_ms + early_ms + late_ms)
            begun = begun + x.energy_weight * (early_mj + late_mj)
            costs = x.costs(mapping, last, points[some], np.repeat(level, len(some)))
            for i, floor, cost in zip(some.tolist(), begun.tolist(), costs.tolist(), strict=True):
                if i >= end:
                    return
                if max(floor, floors[i]) < self.best - _SLACK and cost < self.best:
                    self._take(cost, mapping, last, int(order[i]), int(level[0]))
                    end = self._end(floors, i + 1)
            open_ = open_[floors[open_] < self.best - _SLACK]

    def _visit_sent(
        self, mapping: int, cut: int, order: Ints, points: Ints, begun: Floats, floors: Floats, end: int,
        lowest: float,
    ) -> None:  # fmt: skip
        t, x, levels = self.tables, self.expectation, self.space.levels
        base = np.where(lowest + self.crude[cut] >= self.best - _SLACK, np.inf, self.base[cut])
        open_levels = np.flatnonzero(base < np.inf)
        open_points = np.flatnonzero(floors[:end] < self.best - _SLACK)
        if not len(open_levels) or not len(open_points):
            return
        levels, base = levels[open_levels], base[open_levels]
        at = points[open_points]
        hold_ms, encode_ms = self.rest.hold_ms[cut, levels], t.send[cut, levels, 1]
        cpu_ghz = t.ghz[at // (t.grid[1] * t.grid[2])]
        per_encode = (x.latency_weight + x.energy_weight * 1e-3 * t.codec[at]) / cpu_ghz
        follow = (x.energy_weight * 1e-3 * t.idle[at])[:, None] * hold_ms + per_encode[:, None] * encode_ms
        low = begun[open_points, None] + base + follow
        low = np.maximum(low, floors[open_points, None])
        rows, columns = np.nonzero(low < self.best - _SLACK)
        low, follow = low[rows, columns], follow[rows, columns]
        rows, columns = open_points[rows], levels[columns]
        chunk = _FIRST_CHUNK
        while len(rows):
            end = self._weigh(
                mapping, cut, order, points, floors, end, rows[:chunk], columns[:chunk], follow[:chunk]
            )
            keep = (low[chunk:] < self.best - _SLACK) & (rows[chunk:] < end)
            low, follow = low[chunk:][keep], follow[chunk:][keep]
            rows, columns = rows[chunk:][keep], columns[chunk:][keep]
            chunk = min(2 * chunk, _LARGEST_CHUNK)

    def _weigh(
        self, mapping: int, cut: int, order: Ints, points: Ints, floors: Floats, end: int, rows: Ints,
        levels: Ints, follow: Floats,
    ) -> int:  # fmt: skip
        """Look at some clock points (numbers `rows` in visiting order) and levels exactly; returns where the
        visit now ends.
        """
        t, x = self.tables, self.expectation
        at = points[rows]
        early_ms, early_mj, late_ms, late_mj = x.run_head(mapping, cut, at)
        begun_ms = x.here.now_ms + early_ms + late_ms
        begun = x.latency_weight * begun_ms + x.energy_weight * (early_mj + late_mj)
        encode_ms = t.encode32[cut, levels, at // (t.grid[1] * t.grid[2])].astype(np.float64)
        low = begun + self.rest.apart[cut, levels] + follow
        low = low + x.penalties(begun_ms + encode_ms, self.rest.holds_ms[cut, levels])
        hopeful = np.flatnonzero(low < self.best - _SLACK)
        costs = x.costs(mapping, cut, at[hopeful], levels[hopeful])
        for i, cost in zip(hopeful.tolist(), costs.tolist(), strict=True):
            row = int(rows[i])
            if row >= end:
                break
            if low[i] < self.best - _SLACK and cost < self.best:
                self._take(cost, mapping, cut, int(order[row]), int(levels[i]))
                end = self._end(floors, row + 1)
        return end

    def _take(self, cost: float, mapping: int, cut: int, point: int, level: int) -> None:
        _, gpus, mems = self.tables.grid
        self.best = cost
        self.action[CUT], self.action[MAPPING], self.action[LEVEL] = cut, mapping, level
        self.action[CPU], self.action[GPU] = point // (gpus * mems), point // mems % gpus
        self.action[MEM] = point % mems
