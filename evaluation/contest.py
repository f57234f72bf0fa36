"""One contestant on one scenario in all its variants: what shares a prepared policy and therefore a process.

A contest has one cell for each variant. Whatever is stored already is not computed again; the policy is
prepared (searched for, loaded) once, and only if a cell needs it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from dvfo_agents.registry import baseline_module
from dvfo_agents.result_cache import tables_digest
from dvfo_env.errors import CheckpointError, ConfigError, DvfoError
from dvfo_env.scenario import Scenario, load_scenario
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_evaluation.arena import BOUND, OWN
from dvfo_evaluation.cell_store import Outcome, is_stored, load_outcome, store_outcome
from dvfo_evaluation.contestants import Contestant, baseline, checkpoint_sha256, learned
from dvfo_evaluation.decision_time import on_device
from dvfo_evaluation.pool import Event, Tell, in_one_line
from dvfo_evaluation.runner import (
    SeedBlock,
    bound_per_episode,
    decision_us,
    held_out,
    join_episodes,
    run_policy,
)
from dvfo_evaluation.sources import sources_digest
from dvfo_evaluation.suite import MEASURED, Variant
from dvfo_evaluation.training import TrainingRun

#: What the training of a run is called where variants stand.
TRAINING = "training"
_FORMAT = 1


class CellName(NamedTuple):
    """A cell as people call it; `seed` is None where nothing was trained."""

    scenario: str
    variant: str
    contestant: str
    seed: int | None

    def __str__(self) -> str:
        return f"{self.scenario} / {self.variant} / {self.contestant}" + (
            "" if self.seed is None else f" seed {self.seed}"
        )


class Place(NamedTuple):
    """Where a contestant runs: the variant's name and what it changes; None: nothing."""

    name: str
    change: Variant | None


class World(NamedTuple):
    """Tables to run in, the multipliers of a perturbed device (empty: none) and its share of episodes."""

    tables: CostTables
    perturbation: dict[str, float]
    blocks: tuple[SeedBlock, ...]


@dataclass(frozen=True)
class Contest:
    """One contestant (a baseline's name, `bound`, or a training run) in the places it runs in.

    `scenario` is what the suite calls it; `prepared_on` is the scenario that the policy is prepared on.
    """

    scenario: str
    prepared_on: Scenario
    contestant: str
    training: TrainingRun | None
    places: tuple[Place, ...]
    episodes: int

    @property
    def name(self) -> str:
        """What the contest is called where all of it is meant."""
        return f"{self.scenario} / {self.contestant}" + (
            "" if self.training is None else f" seed {self.training.seed}"
        )

    @property
    def cells(self) -> tuple[CellName, ...]:
        """The cells of all places."""
        return tuple(self.cell(place) for place in self.places)

    def cell(self, place: Place) -> CellName:
        """The cell of one place."""
        seed = None if self.training is None else self.training.seed
        return CellName(self.scenario, place.name, self.contestant, seed)

    def key(self, place: Place) -> str | None:
        """The digest a cell's result is stored under; None while what goes into it is not known: the weights
        of an unfinished run, or a decision time that was not measured yet.

        Raises:
            ConfigError: the variant does not fit the scenario.
        """
        if self.training is not None and not self.training.finished:
            return None
        world = self._world_scenario(place.change)
        if world is None:
            return None
        perturbed = None if place.change is None else place.change.perturbed
        parts = {
            "format": _FORMAT,
            "code": self._code,
            "prepared_on": _digest(self.prepared_on.model_dump_json()),
            "world": _digest(world.model_dump_json()),
            "perturbed": None if perturbed is None else perturbed.model_dump(),
            "episodes": self.episodes,
            "contestant": self.contestant if self.training is None else checkpoint_sha256(self.training.path),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]

    @property
    def training_cell(self) -> CellName | None:
        """The training as a cell of its own; None where there is nothing to train."""
        if self.training is None:
            return None
        place = self.places[0].name
        variant = TRAINING if place == OWN else f"{TRAINING} for {place}"
        return CellName(self.scenario, variant, self.contestant, self.training.seed)

    def work(self, number: int, tell: Tell) -> None:
        """Train if need be, then compute the cells that are not stored; `pool.Job`."""
        if self.training is not None:
            begun, stored = time.perf_counter(), self.training.finished
            try:
                self.training.run()
            except CheckpointError as error:
                tell(Event(number, self.training_cell, error=str(error)))
                return
            tell(Event(number, self.training_cell, time.perf_counter() - begun, stored))
        for place in self.places:
            begun = time.perf_counter()
            try:
                stored = self.stored(place)
                if not stored:
                    self.run(place)
                seconds = time.perf_counter() - begun
                tell(Event(number, self.cell(place), seconds, stored, key=self.key(place)))
            except Exception as problem:  # one bad cell must not take the others down
                tell(Event(number, self.cell(place), error=in_one_line(problem)))

    def stored(self, place: Place) -> bool:
        """Whether a cell's result lies on disk already."""
        key = self.key(place)
        return key is not None and is_stored(key)

    def outcome(self, place: Place) -> Outcome | None:
        """A cell's result, if it lies on disk; None also where the cell cannot be."""
        try:
            key = self.key(place)
        except DvfoError:
            return None
        return None if key is None else load_outcome(key)

    def run(self, place: Place) -> None:
        """Compute a cell and store it.

        Raises:
            DvfoError: the contestant or the variant does not fit the scenario.
        """
        world, key = self._world_scenario(place.change), self.key(place)
        if world is None or key is None:
            raise ConfigError(f"{self.cell(place)}: takes its decision time from variant {OWN!r}")
        begun = time.perf_counter()
        worlds = list(_worlds(_compiled(world), place.change, self.episodes))
        told: dict[str, Any] = {
            "cell": self.cell(place)._asdict(),
            "prepared_on": self.prepared_on.model_dump(mode="json"),
            "world": world.model_dump(mode="json"),
            "tables_sha256": [tables_digest(each.tables) for each in worlds],
            "perturbations": [each.perturbation for each in worlds],
            "episodes": [sum(len(block.episode_seeds) for block in each.blocks) for each in worlds],
        }
        if self.contestant == BOUND:
            costs = np.concatenate([bound_per_episode(each.tables, each.blocks) for each in worlds])
            outcome = Outcome(costs, None, {**told, "decision_ms": 0.0})
        else:
            episodes = join_episodes(
                [run_policy(self._contestant.policy, each.tables, each.blocks) for each in worlds]
            )
            outcome = Outcome(episodes.cost_per_request, episodes, told | self._who(worlds[0].tables))
        outcome.told["seconds"] = time.perf_counter() - begun
        store_outcome(key, outcome)

    def _who(self, tables: CostTables) -> dict[str, Any]:
        """The contestant as plain data, with the time of its decisions."""
        contestant = self._contestant
        spent_us = decision_us(contestant.policy, tables)
        on_board = on_device(spent_us, tables)
        return {
            "origin": asdict(contestant.origin),
            "decision_us": spent_us,
            "decision_ms": on_board.latency_ms,
            "decision_evidence": on_board.evidence,
            "decision_source": on_board.source,
        }

    @cached_property
    def _contestant(self) -> Contestant:
        training = _compiled(self.prepared_on)
        if self.training is not None:
            return learned(self.training.path, training)
        return baseline(self.contestant, training)

    @cached_property
    def _code(self) -> str:
        if self.contestant == BOUND:
            return sources_digest()
        own = "dvfo_agents.learned" if self.training else baseline_module(self.contestant)
        return sources_digest("dvfo_evaluation.runner", own)

    def _world_scenario(self, change: Variant | None) -> Scenario | None:
        """The scenario of a variant, before devices are perturbed; None where a decision time is missing."""
        if change is None:
            return self.prepared_on
        latency_ms = None
        if change.decision is not None and change.decision.latency_ms == MEASURED:
            latency_ms = self._measured_ms()
            if latency_ms is None:
                return None
        return load_scenario(self.prepared_on, **change.scenario_changes(latency_ms))

    def _measured_ms(self) -> float | None:
        """Time of one decision on the scenario's device, as stored with the cell of the scenario itself."""
        own = next((place for place in self.places if place.change is None), None)
        outcome = None if own is None else self.outcome(own)
        return None if outcome is None else float(outcome.told["decision_ms"])


def _worlds(tables: CostTables, change: Variant | None, episodes: int) -> Iterator[World]:
    blocks = held_out(episodes)
    if change is None or change.perturbed is None:
        yield World(tables, {}, blocks)
        return
    from dvfo_env.perturbation import draw_perturbations, perturbed

    drawing = change.perturbed
    for number, drawn in enumerate(draw_perturbations(drawing.spread, drawing.devices, drawing.seed)):
        share = tuple(
            SeedBlock(block.bank_seed, part)
            for block in blocks
            if len(part := np.array_split(block.episode_seeds, drawing.devices)[number])
        )
        if share:
            yield World(perturbed(tables, drawn), asdict(drawn), share)


@lru_cache(maxsize=4096)
def _digest(scenario: str) -> str:
    return tables_digest(_compiled_json(scenario))


@lru_cache(maxsize=8)
def _compiled_json(scenario: str) -> CostTables:
    return compile_scenario(Scenario.model_validate_json(scenario))


def _compiled(scenario: Scenario) -> CostTables:
    return _compiled_json(scenario.model_dump_json())
