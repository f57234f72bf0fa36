"""What each scenario has to offer: headroom, evidence and the baselines' scores, for `dvfo scenarios`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_env.errors import DvfoError
from dvfo_env.evidence import assumed
from dvfo_env.scenario import Scenario, load_scenario
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_evaluation.arena import evaluate_scenario
from dvfo_evaluation.pool import Event, Tell, work_off
from dvfo_evaluation.runner import DEFAULT_SEEDS
from dvfo_evaluation.statistics import Interval
from dvfo_evaluation.training import ONE_THREAD

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


@dataclass(frozen=True)
class _Survey:
    """A job for another process: what `_row` computes is then on disk."""

    scenario: Scenario
    seeds: int

    def work(self, number: int, tell: Tell) -> None:
        tables = compile_scenario(self.scenario)
        _row(tables, _key(tables, self.seeds), self.seeds, lambda line: None)
        tell(Event(number, self.scenario.name))


def survey(
    names: Iterable[str | Path | Scenario],
    quick: bool = False,
    progress: Callable[[str], None] = lambda line: None,
    processes: int = 1,
) -> list[ScenarioRow]:
    """Evaluate the baselines that are ready in seconds on every scenario, `processes` scenarios at a time.

    `quick` takes few episodes. Results are kept on disk. `progress` hears one line now and then.

    Raises:
        ConfigError: a scenario does not exist or does not fit.
        DvfoError: a process failed.
    """
    seeds = _QUICK_SEEDS if quick else DEFAULT_SEEDS
    keyed = [(_key(tables, seeds), tables) for tables in (compile_scenario(load_scenario(n)) for n in names)]
    missing = {key: tables.scenario for key, tables in keyed if _known(key) is None}
    if processes > 1 and len(missing) > 1:
        _side_by_side(list(missing.values()), seeds, progress, processes)
    return [_row(tables, key, seeds, progress) for key, tables in keyed]


def _side_by_side(
    scenarios: list[Scenario], seeds: int, progress: Callable[[str], None], processes: int
) -> None:
    done: list[str] = []
    progress(f"0 of {len(scenarios)} scenarios")

    def heard(event: Event) -> None:
        name = scenarios[event.job].name
        if event.error is not None:
            raise DvfoError(f"{name}: {event.error}")
        done.append(name)
        progress(f"{len(done)} of {len(scenarios)} scenarios, last {name}")

    work_off([_Survey(each, seeds) for each in scenarios], processes, ONE_THREAD, heard)


def measured_share(tables: CostTables) -> float:
    """Share of a scenario's coefficients that are measured or fitted to measurements, not assumed."""
    return 1.0 - len(assumed(tables.coefficients)) / max(len(tables.coefficients), 1)


def _row(tables: CostTables, key: str, seeds: int, progress: Callable[[str], None]) -> ScenarioRow:
    scenario = tables.scenario
    scores = _known(key)
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


def _key(tables: CostTables, seeds: int) -> str:
    return f"{tables_digest(tables)[:32]}-{seeds}"


def _known(key: str) -> dict[str, Any] | None:
    stored = recall(_KIND, key)
    if stored is None or not isinstance(stored.get("baselines"), dict):
        return None
    room = stored.get("headroom")
    if not isinstance(room, list) or len(room) != 3:
        return None
    return stored
