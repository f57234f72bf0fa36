"""What a planner believes of the present: possible worlds with weights, from observations and memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.analogues import Analogues, Metric, Moments
from dvfo_agents.planning.belief import BankStatistics, Belief
from dvfo_agents.planning.remembered import LateAnswers, Remembered
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.tables import LOAD, RTT, CostTables

#: Where rates come from: analogous moments, quantiles given the rate seen, or "the last one goes on".
Source = Literal["analogues", "quantiles", "last"]
_QUANTILES = 15
_TOO_LATE_MS = 1e6
_USUAL = 0.98  # share of round-trip times that are nothing special


@dataclass(frozen=True)
class BeliefSettings:
    """How a planner estimates.

    source: where rates come from. nearest: analogous moments asked; side: weight of the rate before and of
    the moving average in how near a moment is (analogues). last_weight: of the last rate against the moving
    average (quantiles).
    """

    source: Source = "analogues"
    nearest: int = 96
    side: float = 0.3
    last_weight: float = 1.0


class Knowledge:
    """What the training bank tells, worked out once for a scenario and shared by everything that plans."""

    def __init__(self, tables: CostTables) -> None:
        self.tables = tables

    @cached_property
    def statistics(self) -> BankStatistics:
        """Distributions and regressions."""
        return BankStatistics(self.tables)

    @cached_property
    def moments(self) -> Moments:
        """What devices saw where in the bank."""
        return Moments(self.tables)

    @cached_property
    def late(self) -> LateAnswers:
        """How long answers stay late."""
        return LateAnswers(self.tables)


class Present:
    """Worlds for a batch of devices that decide together; keeps what they remember.

    `classes` int64 [K, Z] is the size class of what each cut and level send, as `search` takes it; `unusual`
    bool [N] says where, at the last look, an answer was late or took unusually long a short time ago.
    """

    def __init__(self, knowledge: Knowledge, settings: BeliefSettings) -> None:
        tables = knowledge.tables
        self._tables = tables
        self._late = knowledge.late
        self._analogues: Analogues | None = None
        self.classes: NDArray[np.int64] = np.zeros(tables.send.shape[:2], dtype=np.int64)
        if settings.source == "analogues":
            metric = Metric(before=settings.side, smooth=settings.side)
            self._analogues = Analogues(tables, knowledge.moments, metric, settings.nearest)
            self.classes = self._analogues.classes
        learned = settings.source == "quantiles"
        worlds = _QUANTILES if learned else 1
        self._belief = Belief(knowledge.statistics, settings.last_weight, worlds, learned)
        self.memory = Remembered(tables, 0)
        self.unusual: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        bank = tables.bank(TRAINING_BANK_SEED)
        self._usual_rtt_ms = float(np.quantile(bank[:, RTT], _USUAL))
        self._recent_ms = float(tables.params[0]["bank_step_ms"])

    def reset(self, n: int) -> None:
        """Forget, and expect batches of `n`."""
        self.memory = Remembered(self._tables, n)

    def worlds(
        self, observations: NDArray[np.float32], before: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Worlds float32 [N, W * S, 4] and weights [N, W], as `search` takes them.

        `before` int64 [N, parts]: the joint actions that led to `observations` [N, OBSERVATION_SIZE].
        """
        self.memory.update(observations, before)
        plain = self._belief.worlds(observations, self.memory.answer_age_ms)
        sizes, worlds = 1, plain
        weights: NDArray[np.float64] = np.full((plain.shape[0], plain.shape[1]), 1.0 / plain.shape[1])
        if self._analogues is not None:
            worlds, weights = self._analogues.worlds(self._analogues.find(observations))
            worlds[:, :, RTT], worlds[:, :, LOAD] = plain[:, :1, RTT], plain[:, :1, LOAD]
            sizes = worlds.shape[1] // len(weights[0])
        recent = self.memory.answer_age_ms < self._recent_ms
        self.unusual = recent & (plain[:, 0, RTT] > self._usual_rtt_ms)
        late = self._late.chance(self.memory.late_age_ms)[:, None]
        self.unusual |= late[:, 0] > 0.0
        if not late.any():
            return worlds, weights
        slow = worlds[:, -sizes:].copy()
        slow[:, :, RTT] = _TOO_LATE_MS
        return np.concatenate([worlds, slow], axis=1), np.concatenate([(1.0 - late) * weights, late], axis=1)
