"""Energy against latency: fronts, their hypervolume, and what one policy reaches over a range of preferences.

A scenario whose eta is a range asks one policy to serve every weight of energy. `preference_fronts` holds eta
at several values, runs the policy on held-out episodes at each, and beside it what enumeration reaches there:
the best fixed joint action of each eta (exhaustive search on the training bank), the planner, and the
clairvoyant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.policy import Policy
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_env.oracle import best_fixed_action
from dvfo_env.tables import CostTables
from dvfo_evaluation.contestants import baseline
from dvfo_evaluation.runner import SeedBlock, run_policy

#: Values of eta on a front, and every how many of them the exhaustive search for a fixed action runs.
PREFERENCES, FIXED_EVERY = 9, 2
#: Held-out episodes of each bank at every value of eta.
EPISODES_PER_BANK = 2
#: Training episodes on which the exhaustive search ranks its finalists.
SEARCH_EPISODES = 16
#: What hypervolumes are counted from: so much more than the device out of the box takes (everything local at
#: the highest clocks), and no less latency than the deadline, since slow and frugal is a legitimate choice.
REFERENCE_FACTOR = 1.1
REFERENCE = (
    "1.1 times the energy of the device out of the box, and the deadline or, if more, 1.1 times that "
    "device's latency"
)
BEST_FIXED = "best fixed action"
_KIND = "best-fixed-at-eta"


@dataclass(frozen=True)
class Front:
    """Means over held-out episodes of one contestant at each eta; arrays float64 [P].

    Latency ms, energy mJ and accuracy lost (points) are per answered request, cost per request that arrived;
    hypervolume is a share, see `hypervolume_share`.
    """

    agent: str
    eta: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    energy_mj: NDArray[np.float64]
    accuracy_lost: NDArray[np.float64]
    cost: NDArray[np.float64]
    hypervolume: float

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        plain = dataclasses.asdict(self)
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in plain.items()}


@dataclass(frozen=True)
class Fronts:
    """The fronts of one scenario, the asked policy's first, and the point hypervolumes are counted from."""

    fronts: tuple[Front, ...]
    reference_ms: float
    reference_mj: float
    episodes: int

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "reference": REFERENCE,
            "reference_ms": self.reference_ms,
            "reference_mj": self.reference_mj,
            "episodes": self.episodes,
            "fronts": [front.as_json() for front in self.fronts],
        }


def pareto_front(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the points [N, 2] that no other point beats in one objective without losing in the other.

    Both objectives are minimised; of equal points the first stands for all. Sorted by the first objective.
    """
    found: list[int] = []
    least = np.inf
    for i in np.lexsort((points[:, 1], points[:, 0])):
        if points[i, 1] < least:
            found.append(int(i))
            least = float(points[i, 1])
    return np.array(found, dtype=np.int64)


def hypervolume(points: NDArray[np.float64], reference: tuple[float, float]) -> float:
    """Area that points [N, 2] dominate up to `reference`, both objectives minimised (Zitzler and Thiele,
    IEEE TEC 3(4), 1999). Points that are not better than the reference in both add nothing.
    """
    inside = points[(points < np.asarray(reference)).all(axis=1)]
    best = inside[pareto_front(inside)]
    # slices from left to right: each point rules from its own x to that of the next
    right = np.append(best[1:, 0], reference[0])
    return float(np.sum((right - best[:, 0]) * (reference[1] - best[:, 1])))


def hypervolume_share(points: NDArray[np.float64], reference: tuple[float, float]) -> float:
    """Hypervolume as a share of the rectangle between the reference and 0: 1 would cost nothing at all."""
    return hypervolume(points, reference) / (reference[0] * reference[1])


def at_preference(tables: CostTables, eta: float) -> CostTables:
    """The same world in which every episode weighs energy with `eta`."""
    params = tables.params.copy()
    params["eta_low"] = params["eta_high"] = eta
    return dataclasses.replace(tables, params=params)


def has_preferences(tables: CostTables) -> bool:
    """Whether episodes differ in their weight of energy."""
    low, high = tables.scenario.objective.eta_range
    return low < high


def preference_fronts(
    policies: dict[str, Policy],
    training: CostTables,
    tables: CostTables,
    blocks: tuple[SeedBlock, ...],
    preferences: int = PREFERENCES,
) -> Fronts:
    """Fronts of `policies` (made on `training`), the best fixed actions and the clairvoyant over eta.

    All run in `tables` on the first few episodes of each of `blocks`. The exhaustive searches take seconds
    each and are kept on disk.
    """
    low, high = tables.scenario.objective.eta_range
    eta = np.linspace(low, high, preferences).round(4)
    short = tuple(SeedBlock(b.bank_seed, b.episode_seeds[:EPISODES_PER_BANK]) for b in blocks)
    box = run_policy(baseline("performance", training).policy, at_preference(tables, low), short)
    answered = box.answered.sum()
    deadline_ms = tables.scenario.requests.deadline_ms
    reference = (
        max(deadline_ms, REFERENCE_FACTOR * float(box.latency_ms.sum() / answered)),
        REFERENCE_FACTOR * float(box.energy_mj.sum() / answered),
    )

    def measured(agent: str, values: NDArray[np.float64], policy_at: Callable[[float], Policy]) -> Front:
        rows = [_means(policy_at(float(v)), at_preference(tables, float(v)), short) for v in values]
        columns: NDArray[np.float64] = np.array(rows).T
        share = hypervolume_share(columns[:2].T, reference)
        return Front(agent, values, columns[0], columns[1], columns[2], columns[3], share)

    def asked(policy: Policy) -> Callable[[float], Policy]:
        return lambda value: policy

    clairvoyant = baseline("clairvoyant", training).policy
    fronts = [measured(agent, eta, asked(policy)) for agent, policy in policies.items()]
    fronts.append(measured(BEST_FIXED, eta[::FIXED_EVERY], lambda v: _best_fixed(at_preference(training, v))))
    fronts.append(measured("clairvoyant", eta, asked(clairvoyant)))
    return Fronts(tuple(fronts), *reference, sum(len(block.episode_seeds) for block in short))


def _means(
    policy: Policy, tables: CostTables, blocks: tuple[SeedBlock, ...]
) -> tuple[float, float, float, float]:
    run = run_policy(policy, tables, blocks)
    answered = float(run.answered.sum())
    sums = (run.latency_ms, run.energy_mj, run.accuracy_lost)
    latency, energy, lost = (float(values.sum()) / answered for values in sums)
    return latency, energy, lost, float(run.cost.sum() / run.requests.sum())


def _best_fixed(tables: CostTables) -> Policy:
    from dvfo_agents.baselines.constant import ConstantPolicy

    key = tables_digest(tables)
    stored = (recall(_KIND, key) or {}).get("action")
    if stored is None:
        found = best_fixed_action(tables, episodes=SEARCH_EPISODES).action
        stored = [int(i) for i in found]
        remember(_KIND, key, {"action": stored})
    return ConstantPolicy(BEST_FIXED, np.array(stored, dtype=np.int64))
