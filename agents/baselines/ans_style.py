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

from dvfo_agents.planning.seen import LAYOUT
from dvfo_agents.planning.tuning import training_cost
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_controller.policies.bandit import RIDGE, WORST, Bandit, BanditNumbers
from dvfo_env.tables import CUT, LEVEL, CostTables

_KIND = "ans-style"
#: Settings that are tried, in this order; the first of each is where the search begins.
GRID: dict[str, tuple[Any, ...]] = {
    "forget": (0.9, 1.0, 0.98, 0.7),
    "width": (0.1, 0.0, 0.5),
    "force_every": (16, 64, 8, 1_000_000),
    "trust": (10.0, 2.0, 50.0),
}


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


class Ans(Bandit):
    """muLinUCB over cuts; implements `Policy` and `LearnsOnline`.

    Args:
        tables: the compiled scenario.
        settings: see `AnsSettings`.
        taught: coefficients float64 [d] to begin with.
    """

    name = "ans-style"

    def __init__(self, tables: CostTables, settings: AnsSettings, taught: NDArray[np.float64]) -> None:
        self.settings = settings
        p = tables.params[0]
        sent = tables.send[:-1, settings.level].astype(np.float64)
        raw = np.stack([sent[:, 0], tables.tail_ms[:-1], sent[:, 1]], axis=1)
        scale = np.maximum(raw.max(axis=0, initial=0.0), 1e-9)
        action = tables.out_of_the_box
        action[LEVEL] = settings.level
        numbers = BanditNumbers(
            queue_limit_ms=float(p["queue_limit_ms"]),
            energy_weight_per_mj=float(p["energy_weight_per_mj"]),
            latency_weight_per_ms=float(p["latency_weight_per_ms"]),
            forget=settings.forget,
            width=settings.width,
            force_every=settings.force_every,
            trust=settings.trust,
            action=tuple(int(i) for i in action),
        )
        super().__init__(
            LAYOUT,
            numbers,
            head=tables.head[0, :, -1, -1, -1, :2].astype(np.float64),
            context=np.concatenate([np.ones((len(raw), 1)), raw / scale], axis=1),
            taught=taught,
        )


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
        eta = self.layout.feature(observations, "eta")
        joules = eta * self.numbers.energy_weight_per_mj * self.head[cuts, 1]
        cost: NDArray[np.float64] = (
            joules + (1.0 - eta) * self.numbers.latency_weight_per_ms * self.head[cuts, 0]
        )
        return cost

    def learn(self, costs: NDArray[np.float64]) -> None:
        """Keep the costs [N]."""
        if self.local:
            self.rows.append(self.context[self._cuts])
            self.rests.append(np.minimum(costs - self._known, WORST))

    def taught_all(self) -> NDArray[np.float64]:
        """Coefficients [d] by ridge regression over everything that was kept."""
        if not self.rows:
            return np.zeros(4)
        x, y = np.concatenate(self.rows), np.concatenate(self.rests)
        gram = x.T @ x + RIDGE * np.eye(x.shape[1])
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
