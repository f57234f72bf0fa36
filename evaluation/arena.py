"""One scenario, all contestants, the same held-out world: runs them and puts the table together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.registry import QUICK_BASELINES
from dvfo_agents.result_cache import tables_digest
from dvfo_env.scenario import Scenario, load_scenario
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_evaluation.contestants import REFERENCES, Contestant, Origin, baseline, learned
from dvfo_evaluation.measures import (
    References,
    Row,
    bound_measures,
    difference,
    has_headroom,
    headroom,
    measure,
)
from dvfo_evaluation.runner import Episodes, SeedBlock, bound_per_episode, decision_us, held_out, run_policy
from dvfo_evaluation.statistics import Bootstrap, Interval

BOUND = "bound"
#: What a scenario as it is is called among its variants.
OWN = "own"


class Stretch(NamedTuple):
    """Consecutive episodes that one contestant ran in the same tables: their number, the scenario of the
    tables, their digest, and the multipliers of a perturbed device (empty: none).
    """

    episodes: int
    world: Scenario
    tables_sha256: str
    perturbation: dict[str, float]

    @property
    def decision_ms(self) -> float:
        """How long the device computes a decision; 0 where decisions are free."""
        decision = getattr(self.world, "decision", None)
        return 0.0 if decision is None or decision.mode == "free" else float(decision.latency_ms)


@dataclass(frozen=True)
class Arena:
    """Everything one scenario's evaluation came to.

    rows are sorted by cost, single runs behind the row that sums them up, the bound last; episodes,
    stretches and contestants are keyed by the contestant's label; bound is the bound's cost per request of
    every episode, float64 [E].
    """

    scenario: Scenario
    training: CostTables
    tables: CostTables
    blocks: tuple[SeedBlock, ...]
    contestants: dict[str, Origin]
    episodes: dict[str, Episodes]
    stretches: dict[str, tuple[Stretch, ...]]
    bound: NDArray[np.float64]
    rows: list[Row]
    headroom: Interval
    against_planner: Interval | None
    variant: str = OWN

    @property
    def contenders(self) -> list[Row]:
        """What a device can run, cheapest first; several training seeds of an agent are one contender."""
        return [row for row in self.rows if row.kind in ("baseline", "learned") and not row.one_of_several]

    def typical_run(self, row: Row) -> str:
        """Label of the run whose cost is in the middle of those behind `row`."""
        ranked = sorted(row.runs, key=lambda label: float(self.episodes[label].cost_per_request.mean()))
        return ranked[len(ranked) // 2]

    @property
    def worth_adapting(self) -> bool:
        """Whether a policy can gain enough over the best fixed action for scores to mean something."""
        return has_headroom(self.episodes["best-fixed"].cost_per_request, self.bound)

    @property
    def swapped_uplink(self) -> bool:
        """Whether another uplink stands in the place of the scenario's own."""
        return self.tables.scenario.uplink != self.training.scenario.uplink


def evaluate_scenario(
    scenario: str | Path | Scenario,
    *,
    names: tuple[str, ...] | None = None,
    runs: tuple[Path, ...] = (),
    seeds: int,
    uplink: Path | None = None,
    trust_pickle: bool = False,
    timed: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> Arena:
    """Run baselines `names` (default: those ready in seconds) and run folders `runs` on held-out episodes.

    There are `seeds` episodes, the same for everybody.

    `uplink` is a trace or model file that stands in the place of the scenario's uplink; policies keep what
    they learned on the scenario's own.

    Raises:
        ConfigError: scenario, agent or uplink do not exist or do not fit.
        TraceError: the trace cannot be used.
        CheckpointError: a run folder holds no whole checkpoint.
    """
    wanted = QUICK_BASELINES if names is None else names
    training = compile_scenario(load_scenario(scenario))
    tables = training
    if uplink is not None:
        tables = compile_scenario(load_scenario(training.scenario, uplink=str(uplink)))
    blocks = held_out(seeds)
    contestants = _students([(run, learned(run, training, trust_pickle)) for run in runs])
    for name in dict.fromkeys((*REFERENCES, *wanted)):
        progress(f"{training.scenario.name}: preparing {name}")
        contestants[name] = baseline(name, training)
    episodes = {}
    for label, contestant in contestants.items():
        progress(f"{training.scenario.name}: running {label}")
        episodes[label] = run_policy(contestant.policy, tables, blocks)
    progress(f"{training.scenario.name}: computing the bound")
    bound = bound_per_episode(tables, blocks)
    times = {
        label: decision_us(contestant.policy, tables) if timed else None
        for label, contestant in contestants.items()
    }
    origins = {label: contestant.origin for label, contestant in contestants.items()}
    whole = Stretch(len(bound), tables.scenario, tables_digest(tables), {})
    stretches: dict[str, tuple[Stretch, ...]] = {label: (whole,) for label in contestants}
    return summarise(training, tables, blocks, origins, episodes, stretches, bound, times)


def summarise(
    training: CostTables,
    tables: CostTables,
    blocks: tuple[SeedBlock, ...],
    contestants: dict[str, Origin],
    episodes: dict[str, Episodes],
    stretches: dict[str, tuple[Stretch, ...]],
    bound: NDArray[np.float64],
    times: dict[str, float | None],
    variant: str = OWN,
) -> Arena:
    """The table of one scenario from what each contestant's episodes came to; fields as in `Arena`.

    `times`: microseconds of a decision, by label.
    """
    clairvoyant = episodes.get("clairvoyant")
    references = References(
        governor=episodes["performance"],
        best_fixed=episodes["best-fixed"],
        bound=bound,
        clairvoyant=None if clairvoyant is None else clairvoyant.cost_per_request,
    )
    bootstrap = Bootstrap(len(bound))
    names = (tables.scenario.name, tables.uplink.name)
    rows = []
    for label, contestant in contestants.items():
        kind = "yardstick" if contestant.yardstick else contestant.kind
        measures = measure([episodes[label]], references, bootstrap)
        row = Row(label, kind, *names, measures, times[label], (label,), source=contestant.source)
        rows.append(row)
    rows = _over_training_seeds(rows, contestants, episodes, references)
    rows = _by_cost(rows)
    rows.append(Row(BOUND, "bound", *names, bound_measures(references, bootstrap)))
    best_learned = next((row for row in rows if row.kind == "learned" and not row.one_of_several), None)
    against = None
    if best_learned is not None and "planner" in episodes:
        ours = [episodes[label] for label in best_learned.runs]
        against = difference(ours, episodes["planner"], Bootstrap(len(bound), seeds=len(ours)))
    return Arena(
        training.scenario, training, tables, blocks, contestants, episodes, stretches, bound, rows,
        headroom(references, bootstrap), against, variant,
    )  # fmt: skip


def _over_training_seeds(
    rows: list[Row],
    contestants: dict[str, Origin],
    episodes: dict[str, Episodes],
    references: References,
) -> list[Row]:
    """The rows and one more for every learned agent that comes in several runs, with intervals over seeds
    and episodes.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.kind == "learned":
            groups.setdefault(contestants[row.agent].agent, []).append(row)
    several = {agent: runs for agent, runs in groups.items() if len(runs) > 1}
    marked = [replace(row, one_of_several=any(row in runs for runs in several.values())) for row in rows]
    for agent, runs in several.items():
        labels = tuple(row.agent for row in runs)
        bootstrap = Bootstrap(len(references.bound), seeds=len(labels))
        measures = measure([episodes[label] for label in labels], references, bootstrap)
        name = f"{agent} ({len(labels)} seeds)"
        marked.append(Row(name, "learned", runs[0].scenario, runs[0].uplink, measures, runs=labels))
    return marked


def _by_cost(rows: list[Row]) -> list[Row]:
    """Rows by cost, the runs of an agent with several of them directly behind the row that sums them up."""
    ranked = sorted(rows, key=lambda row: row.cost.mean)
    ordered = []
    for row in ranked:
        if not row.one_of_several:
            ordered.append(row)
            ordered += [run for run in ranked if run.one_of_several and run.agent in row.runs]
    return ordered


def _students(runs: list[tuple[Path, Contestant]]) -> dict[str, Contestant]:
    """Learned contestants by label: the agent's name, with that of the run folder where it has several."""
    agents = [contestant.origin.agent for _, contestant in runs]
    students: dict[str, Contestant] = {}
    for run, contestant in runs:
        agent = contestant.origin.agent
        label = wanted = agent if agents.count(agent) == 1 else f"{agent} {run.name or run.resolve().name}"
        number = 2
        while label in students:
            label = f"{wanted} #{number}"
            number += 1
        students[label] = contestant
    return students


def verdict(arena: Arena) -> str:
    """The plain answer: which policy is best here, and whether learning beat the planner."""
    on_device = arena.contenders
    best = on_device[0]
    planner = next((row for row in on_device if row.agent == "planner"), None)
    student = next((row for row in on_device if row.kind == "learned"), None)
    if student is None or planner is None or arena.against_planner is None:
        return f"{_capital(best.agent)} costs least of what a device can run: {_standing(arena, best)}."
    gain = arena.against_planner
    percent = f"{100.0 * gain.mean:+.1f} % [{100.0 * gain.low:+.1f}, {100.0 * gain.high:+.1f}]"
    costs = f"{student.cost.mean:.3f} against {planner.cost.mean:.3f}, a gain of {percent}"
    if gain.low > 0.0:
        return f"{_capital(student.agent)} beats the planner: it costs {costs}; {_standing(arena, student)}."
    if gain.high >= 0.0:
        return f"No learned policy clearly beats the planner: {student.agent} costs {costs}."
    return f"No learned policy beats the planner: the best of them, {student.agent}, costs {costs}."


def _standing(arena: Arena, row: Row) -> str:
    """Where a policy stands between the best fixed action and the bound."""
    fixed = next(other for other in arena.rows if other.agent == "best-fixed")
    if row is fixed:
        return f"{row.cost.mean:.3f}, and nothing that adapts does better"
    gain = 1.0 - row.cost.mean / fixed.cost.mean
    score = row.measures["score"]
    way = "" if score is None else f", {100.0 * score.mean:.0f} % of the way to the bound"
    return f"{100.0 * gain:.1f} % less than the best fixed action{way}"


def _capital(agent: str) -> str:
    if agent in ("planner", "performance"):
        return f"The {agent}"
    first, *rest = agent.split(" ")
    return " ".join((first.upper() if rest else first.capitalize(), *rest))  # PPO run-3, but Neurosurgeon
