"""Runs a suite: all its contests on all cores, whatever is stored already left as it is; then the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from dvfo_env.scenario import Scenario, load_scenario
from dvfo_env.tables import compile_scenario
from dvfo_evaluation.arena import BOUND, OWN, Arena, Stretch, summarise
from dvfo_evaluation.cell_store import Outcome, load_outcome
from dvfo_evaluation.contest import CellName, Contest, Place
from dvfo_evaluation.contestants import Origin
from dvfo_evaluation.pool import Event, work_off
from dvfo_evaluation.runner import held_out
from dvfo_evaluation.suite import AgentEntry, Suite, agent_config, suite_scenarios
from dvfo_evaluation.training import ONE_THREAD, TrainingRun

#: Seconds a cell takes where nothing is known yet: about the mean over the shipped suites on two cores.
_TYPICAL_S = 4.0
#: Environment steps a second that a training with a budget in steps is expected to make.
_TYPICAL_STEPS_PER_S = 10_000.0


class Failure(NamedTuple):
    """A cell that could not be computed, and why in one line."""

    cell: str
    reason: str


@dataclass
class Standing:
    """How far a suite has come: cells done of all, how many were stored, what failed, where results lie."""

    total: int
    processes: int
    expected_s: dict[CellName, float]
    done: int = 0
    stored: int = 0
    failures: list[Failure] = field(default_factory=list)
    keys: dict[CellName, str] = field(default_factory=dict)
    latest: str = ""
    _spent: list[float] = field(default_factory=list)

    def hear(self, event: Event, contest: Contest) -> None:
        """Take one event of the pool into account."""
        cells = [event.part] if event.part is not None else [c for c in all_cells(contest)]
        lost = [cell for cell in cells if self.expected_s.pop(cell, None) is not None]
        self.done += len(lost)
        if event.error is not None:
            self.failures.append(Failure(str(event.part or contest.name), event.error))
            if event.part is not None and event.part == contest.training_cell:
                self.done += len([c for c in contest.cells if self.expected_s.pop(c, None) is not None])
        else:
            if event.key is not None:
                self.keys[event.part] = event.key
            self.stored += event.stored
            if not event.stored and event.part != contest.training_cell:
                self._spent.append(event.seconds)
        self.latest = str(event.part or contest.name)

    @property
    def left_s(self) -> float:
        """Seconds that the cells still to come are expected to take."""
        mean_s = sum(self._spent) / len(self._spent) if len(self._spent) >= 5 else _TYPICAL_S
        waiting = sum(seconds if seconds > 0.0 else mean_s for seconds in self.expected_s.values())
        return waiting / self.processes


@dataclass(frozen=True)
class SuiteResult:
    """What a suite came to: one table for each scenario and variant, by (scenario, variant), and what
    failed.
    """

    suite: Suite
    arenas: dict[tuple[str, str], Arena]
    failures: tuple[Failure, ...]


def contests(suite: Suite, runs: Path) -> list[Contest]:
    """All contests of a suite: those without training first, then trainings, scenario by scenario.

    Raises:
        ConfigError: a scenario, variant or agent does not fit.
    """
    untrained: list[Contest] = []
    trained: list[Contest] = []
    for name, scenario in suite_scenarios(suite).items():
        for prepared_on, places in _preparations(suite, scenario):
            for contestant in (BOUND, *suite.baseline_names):
                untrained.append(Contest(name, prepared_on, contestant, None, places, suite.episodes))
            for entry in suite.agents:
                for seed in range(entry.seeds):
                    training = _training(entry, prepared_on, seed, runs)
                    trained.append(Contest(name, prepared_on, entry.label, training, places, suite.episodes))
    return untrained + trained


def all_cells(contest: Contest) -> tuple[CellName, ...]:
    """The cells of a contest, its training among them."""
    return contest.cells if contest.training_cell is None else (contest.training_cell, *contest.cells)


def standing(contests_: list[Contest], processes: int) -> Standing:
    """How far a suite is before it begins: nothing done."""
    expected: dict[CellName, float] = {}
    for contest in contests_:
        if contest.training_cell is not None and contest.training is not None:
            expected[contest.training_cell] = _expected_s(contest.training)
        expected |= dict.fromkeys(contest.cells, 0.0)
    return Standing(len(expected), processes, expected)


def run_suite(suite: Suite, runs: Path, processes: int, progress: Callable[[Standing], None]) -> SuiteResult:
    """Compute what is missing and put the tables together. `progress` is called whenever a cell ends.

    Raises:
        ConfigError: a scenario, variant or agent does not fit.
    """
    planned = contests(suite, runs)
    state = standing(planned, processes)
    progress(state)

    def heard(event: Event) -> None:
        state.hear(event, planned[event.job])
        progress(state)

    work_off(planned, processes, ONE_THREAD, heard)
    return SuiteResult(suite, gather(suite, planned, state.keys), tuple(state.failures))


def gather(suite: Suite, planned: list[Contest], keys: dict[CellName, str]) -> dict[tuple[str, str], Arena]:
    """The tables of all scenarios and variants whose references and bound are among the results `keys`."""
    found: dict[tuple[str, str], dict[str, tuple[Contest, Outcome]]] = {}
    for contest in planned:
        for place in contest.places:
            cell = contest.cell(place)
            outcome = load_outcome(keys[cell]) if cell in keys else None
            if outcome is not None:
                label = cell.contestant if cell.seed is None else f"{cell.contestant} seed {cell.seed}"
                found.setdefault((cell.scenario, cell.variant), {})[label] = (contest, outcome)
    needed = {BOUND, "performance", "best-fixed"}
    return {key: _arena(suite, key[1], ran) for key, ran in found.items() if needed <= set(ran)}


def _arena(suite: Suite, variant: str, ran: dict[str, tuple[Contest, Outcome]]) -> Arena:
    bound = ran.pop(BOUND)[1].cost_per_request
    any_contest, reference = ran["performance"]
    origins: dict[str, Origin] = {}
    for label, (contest, outcome) in ran.items():
        origins[label] = replace(Origin(**outcome.told["origin"]), agent=contest.contestant)
    return summarise(
        compile_scenario(any_contest.prepared_on),
        compile_scenario(Scenario.model_validate(reference.told["world"])),
        held_out(suite.episodes),
        origins,
        {label: outcome.episodes for label, (_, outcome) in ran.items() if outcome.episodes is not None},
        {label: _stretches(outcome) for label, (_, outcome) in ran.items()},
        bound,
        {label: outcome.told["decision_us"] for label, (_, outcome) in ran.items()},
        variant,
    )


def _stretches(outcome: Outcome) -> tuple[Stretch, ...]:
    told = outcome.told
    world = Scenario.model_validate(told["world"])
    return tuple(
        Stretch(episodes, world, digest, perturbation)
        for episodes, digest, perturbation in zip(
            told["episodes"], told["tables_sha256"], told["perturbations"], strict=True
        )
    )


def _preparations(suite: Suite, scenario: Scenario) -> Iterator[tuple[Scenario, tuple[Place, ...]]]:
    """The scenarios that policies are prepared on, each with the places they then run in."""
    kept = [variant for variant in suite.variants if variant.prepared_on == "scenario"]
    yield scenario, (Place(OWN, None), *(Place(variant.name, variant) for variant in kept))
    for variant in suite.variants:
        if variant.prepared_on == "variant":
            changed = load_scenario(scenario, **variant.scenario_changes(None))
            change = variant if variant.perturbed is not None else None
            yield changed, (Place(variant.name, change),)


def _training(entry: AgentEntry, scenario: Scenario, seed: int, runs: Path) -> TrainingRun:
    return TrainingRun(entry.label, agent_config(entry), scenario, seed, entry.steps, entry.minutes, runs)


def _expected_s(training: TrainingRun) -> float:
    if training.minutes is not None:
        return 60.0 * training.minutes
    return (training.steps or 0) / _TYPICAL_STEPS_PER_S
