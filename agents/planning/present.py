"""What a planner believes of the present: possible worlds with weights, from observations and memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.analogues import Analogues, Moments
from dvfo_agents.planning.belief import BankStatistics, Belief
from dvfo_agents.planning.late import LateAnswers
from dvfo_agents.planning.seen import LAYOUT, kilobits_of, numbers_of
from dvfo_controller.policies import present
from dvfo_controller.policies.analogues import Metric
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.tables import RTT, CostTables

#: Where rates come from: analogous moments, quantiles given the rate seen, or "the last one goes on".
Source = Literal["analogues", "quantiles", "last"]
_QUANTILES = 15
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


class Present(present.Present):
    """Worlds for a batch of devices that decide together, from what is known of a training bank."""

    def __init__(self, knowledge: Knowledge, settings: BeliefSettings) -> None:
        tables = knowledge.tables
        moments: Analogues | None = None
        classes: NDArray[np.int64] = np.zeros(tables.send.shape[:2], dtype=np.int64)
        if settings.source == "analogues":
            metric = Metric(before=settings.side, smooth=settings.side)
            moments = Analogues(tables, knowledge.moments, metric, settings.nearest)
            classes = moments.classes
        learned = settings.source == "quantiles"
        bank = tables.bank(TRAINING_BANK_SEED)
        super().__init__(
            numbers_of(tables),
            LAYOUT,
            kilobits_of(tables),
            Belief(knowledge.statistics, settings.last_weight, _QUANTILES if learned else 1, learned),
            knowledge.late,
            moments,
            classes,
            usual_rtt_ms=float(np.quantile(bank[:, RTT], _USUAL)),
            recent_ms=float(tables.params[0]["bank_step_ms"]),
        )
