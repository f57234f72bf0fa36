"""ANS-style: Autodidactic Neurosurgeon, a linear bandit over the cut that learns online.

Zhang et al., "Autodidactic Neurosurgeon: Collaborative Deep Inference for Mobile Edge Intelligence via
Online Learning" (WWW 2021, arXiv 2102.02638). The device knows what its own layers cost; what follows the
cut, sending and the server, is a linear function of the cut's context (layer features of the tail, size of
what is sent) with unknown coefficients. muLinUCB takes the cut with the least device cost + estimate -
confidence bound. Since running everything on the device teaches nothing about the rest, every so often an
offloading cut is forced.

What differs: cost is the scenario's own instead of latency; the context is [1, kilobits sent, unloaded
server time of the tail, encoding time]; the estimate is bounded below by nothing being free; there are no
key frames, so every request weighs the same; estimates begin at what training episodes taught, with the
weight of `trust` observations, go on in each device's own episode, and forget at `forget` per answer (1 in
the paper, which handles change by a bound on the error). One level per policy, highest clocks and the first
mapping, as the paper knows neither. Level, `forget`, `force_every` and the width of the bound are chosen on
training episodes. Decisions depend on the device's own costs alone, never on the bandwidth observed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.tuning import training_cost
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_env.observation import index_of
from dvfo_env.tables import CUT, LEVEL, CostTables

_KIND = "ans-style"
_WAITING, _ETA = index_of("waiting"), index_of("eta")
_RIDGE = 1.0
#: Settings that are tried, in this order; the first of each is where the search begins.
GRID: dict[str, tuple[Any, ...]] = {
    "forget": (0.9, 1.0, 0.98, 0.7),
    "width": (0.1, 0.0, 0.5),
    "force_every": (16, 64, 8, 1_000_000),
    "trust": (10.0, 2.0, 50.0),
}
_WORST = 20.0  # a cost above this teaches as if it were this much


@dataclass(frozen=True)
class AnsSettings:
    """Level, forgetting per answer, width of the confidence bound, decisions between forced offloads, weight
    of what training taught.
    """

    level: int = 0
    forget: float = 0.9
    width: float = 0.1
    force_every: int = 16
    trust: float = 10.0


class Ans:
    """muLinUCB over cuts; implements `Policy` and `LearnsOnline`.

    Args:
        tables: the compiled scenario.
        settings: see `AnsSettings`.
        taught: coefficients float64 [d] to begin with.
    """

    name = "ans-style"

    def __init__(self, tables: CostTables, settings: AnsSettings, taught: NDArray[np.float64]) -> None:
        self.settings = settings
        self.taught = taught
        self.local = tables.sizes[CUT] - 1
        p = tables.params[0]
        self._queue_ms = float(p["queue_limit_ms"])
        self._energy_weight = float(p["energy_weight_per_mj"])
        self._latency_weight = float(p["latency_weight_per_ms"])
        head = tables.head[0, :, -1, -1, -1].astype(np.float64)
        self._head_ms, self._head_mj = head[:, 0], head[:, 1]
        sent = tables.send[:-1, settings.level].astype(np.float64)
        raw = np.stack([sent[:, 0], tables.tail_ms[:-1], sent[:, 1]], axis=1)
        scale = np.maximum(raw.max(axis=0, initial=0.0), 1e-9)
        self._context = np.concatenate([np.ones((len(raw), 1)), raw / scale], axis=1)
        self._action = tables.out_of_the_box.copy()
        self._action[LEVEL] = settings.level
        self.reset(0)

    def reset(self, n: int) -> None:
        """Begin again at what training taught."""
        d = self._context.shape[1]
        weight = self.settings.trust * np.eye(d)
        self._gram = np.repeat(weight[None], n, axis=0)
        self._moment = np.repeat((weight @ self.taught)[None], n, axis=0)
        self._count = 0
        self._cuts: NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        self._known: NDArray[np.floating] = np.zeros(n)

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        n = len(observations)
        if len(self._gram) != n:
            self.reset(n)
        eta = observations[:, _ETA].astype(np.float64)[:, None]
        own = eta * self._energy_weight * self._head_mj + (1.0 - eta) * self._latency_weight * self._head_ms
        waited = (1.0 - eta[:, 0]) * self._latency_weight * self._queue_ms * observations[:, _WAITING]
        actions = np.repeat(self._action[None], n, axis=0)
        self._cuts = np.full(n, self.local)
        if self.local:
            inverse = np.linalg.inv(self._gram)
            theta = np.einsum("nij,nj->ni", inverse, self._moment)
            spread = np.sqrt(np.einsum("ki,nij,kj->nk", self._context, inverse, self._context))
            rest = np.maximum(theta @ self._context.T - self.settings.width * spread, 0.0)
            offloaded = own[:, :-1] + rest
            best = offloaded.argmin(axis=1)
            self._count += 1
            forced = self._count % self.settings.force_every == 0
            stays = (offloaded.min(axis=1) >= own[:, -1]) & (not forced)
            self._cuts = np.where(stays, self.local, best)
        self._known = own[np.arange(n), self._cuts] + waited
        actions[:, CUT] = self._cuts
        return actions

    def learn(self, costs: NDArray[np.float64]) -> None:
        """Take the costs [N] of the requests last decided on."""
        sent = np.flatnonzero(self._cuts < self.local)
        if len(sent) == 0:
            return
        x = self._context[self._cuts[sent]]
        rest = np.minimum(costs[sent] - self._known[sent], _WORST)
        keep = self.settings.forget
        ridge = (
            (1.0 - keep) * _RIDGE * np.eye(x.shape[1])
        )  # what is forgotten gives way to a little of the start
        self._gram[sent] = keep * self._gram[sent] + ridge + x[:, :, None] * x[:, None, :]
        self._moment[sent] = keep * self._moment[sent] + ridge @ self.taught + x * rest[:, None]


class _Teacher(Ans):
    """Offloads at every cut in turn and keeps what it cost: how estimates begin."""

    def __init__(self, tables: CostTables, level: int) -> None:
        super().__init__(tables, AnsSettings(level=level), np.zeros(4))
        self.rows: list[NDArray[np.float64]] = []
        self.rests: list[NDArray[np.float64]] = []

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Cuts in turn, shifted by device."""
        actions = super().act(observations)
        if self.local:
            cuts = (np.arange(len(observations)) + self._count) % self.local
            self._known += self._cost_of_head(observations, cuts) - self._cost_of_head(
                observations, self._cuts
            )
            self._cuts = actions[:, CUT] = cuts
        return actions

    def _cost_of_head(
        self, observations: NDArray[np.float32], cuts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        eta = observations[:, _ETA].astype(np.float64)
        joules = eta * self._energy_weight * self._head_mj[cuts]
        cost: NDArray[np.float64] = joules + (1.0 - eta) * self._latency_weight * self._head_ms[cuts]
        return cost

    def learn(self, costs: NDArray[np.float64]) -> None:
        """Keep the costs [N]."""
        if self.local:
            self.rows.append(self._context[self._cuts])
            self.rests.append(np.minimum(costs - self._known, _WORST))

    def taught_all(self) -> NDArray[np.float64]:
        """Coefficients [d] by ridge regression over everything that was kept."""
        if not self.rows:
            return np.zeros(4)
        x, y = np.concatenate(self.rows), np.concatenate(self.rests)
        gram = x.T @ x + _RIDGE * np.eye(x.shape[1])
        return np.asarray(np.linalg.solve(gram, x.T @ y), dtype=np.float64)


def _teach(tables: CostTables, level: int) -> NDArray[np.float64]:
    teacher = _Teacher(tables, level)
    training_cost(teacher, tables)
    return teacher.taught_all()


def make(tables: CostTables) -> Ans:
    """The policy for a compiled scenario, taught and tuned on its training episodes."""
    key = tables_digest(tables)
    stored = recall(_KIND, key) or {}
    if set(stored) == {"level", *GRID} and all(stored[k] in GRID[k] for k in GRID):
        settings = AnsSettings(**stored)
        return Ans(tables, settings, _teach(tables, settings.level))
    taught = {level: _teach(tables, level) for level in range(tables.sizes[LEVEL])}

    def cost(settings: AnsSettings) -> float:
        return training_cost(Ans(tables, settings, taught[settings.level]), tables)

    best = min((AnsSettings(level=level) for level in taught), key=cost)
    for field, values in GRID.items():
        best = min((dataclasses.replace(best, **{field: value}) for value in values), key=cost)
    best = min((dataclasses.replace(best, level=level) for level in taught), key=cost)
    remember(_KIND, key, dataclasses.asdict(best))
    return Ans(tables, best, taught[best.level])
