"""From episodes to the table's rows: every measure with its 95 % interval, savings, score and headroom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_evaluation.runner import Episodes
from dvfo_evaluation.statistics import Bootstrap, Interval, Weights

#: Scores are not given where the bound is within this share of the best fixed action's cost: a policy that
#: costs one per cent more would score -1 or far less there, and a mean over scenarios would say nothing else.
LEAST_HEADROOM = 0.01

MEASURES = (
    "cost",
    "latency_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "energy_mj",
    "accuracy_lost",
    "deadline_missed",
    "dropped",
    "timed_out",
    "savings",
    "latency_savings",
    "score",
    "clairvoyant_share",
)


@dataclass(frozen=True)
class Row:
    """One line of the results table.

    kind is "baseline", "learned", "yardstick" or "bound". `measures` maps each of MEASURES to its interval,
    or to None where it has no meaning. Units: latency ms and energy mJ per answered request, accuracy_lost
    points, deadline_missed, dropped and timed_out shares of all requests (dropped ones count as missed),
    savings and latency_savings shares of the governor's energy and latency, score 0 = best fixed action and
    1 = bound, clairvoyant_share = what is gained over the best fixed action as a share of what the
    clairvoyant gains.

    `runs` are the labels of the episodes behind the row: one, or one for every training seed of an agent.
    Where there are several, each run also has a row of its own, marked `one_of_several`: picking the luckiest
    seed says nothing about the agent, so verdicts speak of the row that sums them up.
    """

    agent: str
    kind: str
    scenario: str
    uplink: str
    measures: dict[str, Interval | None]
    decision_us: float | None = None
    runs: tuple[str, ...] = ()
    one_of_several: bool = False
    source: str = ""

    @property
    def training_seeds(self) -> int:
        """Number of runs behind the row; 0 for the bound."""
        return len(self.runs)

    @property
    def cost(self) -> Interval:
        """Mean cost per request."""
        value = self.measures["cost"]
        assert value is not None
        return value

    def as_json(self) -> dict[str, Any]:
        """Plain data: every measure as an object with mean, low and high, or null."""
        plain: dict[str, Any] = {
            "agent": self.agent,
            "kind": self.kind,
            "scenario": self.scenario,
            "uplink": self.uplink,
            "source": self.source,
            "training_seeds": self.training_seeds,
            "decision_us": self.decision_us,
        }
        for name in MEASURES:
            value = self.measures.get(name)
            plain[name] = None if value is None else value._asdict()
        return plain


@dataclass(frozen=True)
class References:
    """What rows are measured against, all on the same episodes: two policies, and costs per request float64
    [E].
    """

    governor: Episodes
    best_fixed: Episodes
    bound: NDArray[np.float64]
    clairvoyant: NDArray[np.float64] | None


def has_headroom(fixed: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
    """Whether costs `best` [E] are so far below those of the best fixed action, `fixed` [E], that scores
    between them mean something.
    """
    return bool(fixed.mean() - best.mean() >= LEAST_HEADROOM * fixed.mean())


def headroom(references: References, bootstrap: Bootstrap) -> Interval:
    """(J_fixed - J_bound) / J_fixed: the share of the cost that adapting can gain at all."""
    fixed = references.best_fixed.cost_per_request
    return bootstrap.interval(lambda w: (w.mean(fixed) - w.mean(references.bound)) / w.mean(fixed))


def measure(runs: list[Episodes], references: References, bootstrap: Bootstrap) -> dict[str, Interval | None]:
    """Measures of one policy from its `runs`, one per training seed that `bootstrap` was made for."""

    def stacked(name: str) -> NDArray[np.float64]:
        values = [getattr(run, name) for run in runs]
        return np.stack(values) if len(values) > 1 else np.asarray(values[0], dtype=np.float64)

    answered, requests, cost = stacked("answered"), stacked("requests"), stacked("cost_per_request")
    latencies = np.concatenate([run.latencies_ms for run in runs])
    owners = np.concatenate([run.latency_episode for run in runs])
    governor = references.governor

    def saved(name: str) -> Interval | None:
        ours, theirs = stacked(name), getattr(governor, name)
        if not np.any(theirs > 0.0):  # a latency-only device: the governor, all local, has no energy
            return None
        return bootstrap.interval(
            lambda w: 1.0 - w.mean(ours) / w.mean(answered) / (w.mean(theirs) / w.mean(governor.answered))
        )

    return {
        "cost": bootstrap.mean(cost),
        "latency_ms": bootstrap.ratio(stacked("latency_ms"), answered),
        "latency_p95_ms": bootstrap.quantile(latencies, owners, 0.95),
        "latency_p99_ms": bootstrap.quantile(latencies, owners, 0.99),
        "energy_mj": bootstrap.ratio(stacked("energy_mj"), answered),
        "accuracy_lost": bootstrap.ratio(stacked("accuracy_lost"), answered),
        "deadline_missed": bootstrap.ratio(stacked("missed"), requests),
        "dropped": bootstrap.ratio(stacked("dropped"), requests),
        "timed_out": bootstrap.ratio(stacked("timed_out"), requests),
        "savings": saved("energy_mj"),
        "latency_savings": saved("latency_ms"),
        "score": _gained(cost, references.best_fixed.cost_per_request, references.bound, bootstrap),
        "clairvoyant_share": None
        if references.clairvoyant is None
        else _gained(cost, references.best_fixed.cost_per_request, references.clairvoyant, bootstrap),
    }


def bound_measures(references: References, bootstrap: Bootstrap) -> dict[str, Interval | None]:
    """The bound's row: its cost and, by definition, score 1."""
    measures: dict[str, Interval | None] = dict.fromkeys(MEASURES)
    measures["cost"] = bootstrap.mean(references.bound)
    fixed = references.best_fixed.cost_per_request
    measures["score"] = _gained(references.bound, fixed, references.bound, bootstrap)
    return measures


def difference(ours: list[Episodes], theirs: Episodes, bootstrap: Bootstrap) -> Interval:
    """Paired interval of (J_theirs - J_ours) / J_theirs: positive where ours costs less.

    `ours` has one entry for each training seed that `bootstrap` was made for.
    """
    first = np.stack([run.cost_per_request for run in ours])
    second = theirs.cost_per_request
    return bootstrap.interval(lambda w: (w.mean(second) - w.mean(first)) / w.mean(second))


def _gained(
    cost: NDArray[np.float64], fixed: NDArray[np.float64], best: NDArray[np.float64], bootstrap: Bootstrap
) -> Interval | None:
    """(J_fixed - J) / (J_fixed - J_best), or None where there is (almost) nothing to gain."""
    if not has_headroom(fixed, best):
        return None

    def statistic(w: Weights) -> NDArray[np.float64]:
        gain = w.mean(fixed) - w.mean(best)
        # a resample in which there is nothing to gain says nothing; keep its sign and let it be large
        gain = np.where(np.abs(gain) < 1e-12, 1e-12, gain)
        return np.asarray((w.mean(fixed) - w.mean(cost)) / gain)

    return bootstrap.interval(statistic)
