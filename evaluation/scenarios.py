"""What each scenario has to offer: headroom, evidence and the baselines' scores, for `dvfo scenarios`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_env.evidence import assumed
from dvfo_env.scenario import Scenario, load_scenario
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_evaluation.arena import evaluate_scenario
from dvfo_evaluation.runner import DEFAULT_SEEDS
from dvfo_evaluation.statistics import Interval

_QUICK_SEEDS = 16
_KIND = "survey"


@dataclass(frozen=True)
class ScenarioRow:
    """One scenario as `dvfo scenarios` shows it.

    headroom is (J_fixed - J_bound) / J_fixed; measured_share the share of coefficients that are measured or
    fitted to measurements, evidence their numbers by kind; baselines maps names to (cost per request,
    score), the score None where there is nothing to gain; assumed names the coefficients that nobody
    measured. joint_actions is the size of the joint action.
    """

    name: str
    title: str
    device: str
    workload: str
    uplink: str
    joint_actions: int
    headroom: Interval
    measured_share: float
    assumed: tuple[str, ...]
    evidence: dict[str, int]
    baselines: dict[str, dict[str, float | None]]

    def as_json(self) -> dict[str, Any]:
        """Plain data; headroom as an object with mean, low and high."""
        return {**asdict(self), "headroom": self.headroom._asdict()}


def survey(
    names: Iterable[str | Path | Scenario],
    quick: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> list[ScenarioRow]:
    """Evaluate all baselines on every scenario; `quick` takes few episodes. Results are kept on disk.

    Raises:
        ConfigError: a scenario does not exist or does not fit.
    """
    return [_row(name, _QUICK_SEEDS if quick else DEFAULT_SEEDS, progress) for name in names]


def measured_share(tables: CostTables) -> float:
    """Share of a scenario's coefficients that are measured or fitted to measurements, not assumed."""
    return 1.0 - len(assumed(tables.coefficients)) / max(len(tables.coefficients), 1)


def _row(name: str | Path | Scenario, seeds: int, progress: Callable[[str], None]) -> ScenarioRow:
    scenario = load_scenario(name)
    tables = compile_scenario(scenario)
    key = f"{tables_digest(tables)[:32]}-{seeds}"
    scores = _usable(recall(_KIND, key))
    if scores is None:
        arena = evaluate_scenario(scenario, seeds=seeds, timed=False, progress=progress)
        scores = {"headroom": list(arena.headroom), "baselines": {}}
        for row in arena.rows[:-1]:
            score = row.measures["score"]
            scores["baselines"][row.agent] = {
                "cost": row.cost.mean,
                "score": None if score is None else score.mean,
            }
        remember(_KIND, key, scores)
    counts = Counter(c.evidence for c in tables.coefficients.values())
    return ScenarioRow(
        name=scenario.name,
        title=scenario.title,
        device=scenario.device,
        workload=scenario.workload,
        uplink=scenario.uplink,
        joint_actions=tables.joint_actions,
        headroom=Interval(*scores["headroom"]),
        measured_share=measured_share(tables),
        assumed=tuple(assumed(tables.coefficients)),
        evidence={kind: counts[kind] for kind in ("measured", "fitted", "assumed")},
        baselines=scores["baselines"],
    )


def _usable(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    if stored is None or not isinstance(stored.get("baselines"), dict):
        return None
    room = stored.get("headroom")
    if not isinstance(room, list) or len(room) != 3:
        return None
    return stored
