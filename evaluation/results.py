"""Results on disk: one CSV row per episode, full precision, with all it takes to run that episode again."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from dvfo_env.errors import ResultsError
from dvfo_env.scenario import Scenario
from dvfo_env.whole_file import whole_file, write_whole
from dvfo_evaluation.arena import Arena

CSV_NAME, JSON_NAME, REPORT_NAME = "results.csv", "results.json", "report.html"
_SCENARIOS = "scenarios"


class ResultRow(NamedTuple):
    """One episode of one policy.

    `scenario_file` is the scenario that the policy was prepared on, `world_file` the one it ran in: the same
    unless a variant or another uplink was asked for; both are relative to the CSV. `perturbation` holds the
    multipliers of a perturbed device as JSON, empty for the device as it is. The policy is rebuilt from
    `kind` ("baseline" or "learned") and `source` (name or run folder); `checkpoint_sha256` says which weights
    a run folder held. `tables_sha256` identifies the compiled world. Costs are per request, latency and
    energy per answered request; `deadline_missed`, `dropped` and `timed_out` are shares of all requests.
    """

    agent: str
    kind: str
    source: str
    checkpoint_sha256: str
    scenario: str
    variant: str
    scenario_file: str
    world_file: str
    perturbation: str
    uplink: str
    tables_sha256: str
    bank_seed: int
    episode_seed: int
    requests: int
    answered: int
    cost: float
    latency_ms: float
    energy_mj: float
    accuracy_lost: float
    deadline_missed: float
    dropped: float
    timed_out: float
    bound: float


_INTEGERS = {"bank_seed", "episode_seed", "requests", "answered"}
_FLOATS = {
    "cost", "latency_ms", "energy_mj", "accuracy_lost", "deadline_missed", "dropped", "timed_out", "bound",
}  # fmt: skip


def write_results(folder: Path, arenas: list[Arena]) -> Path:
    """Write results.csv, results.json and the scenarios they need into `folder`; returns the path of the CSV.

    Raises:
        ResultsError: the folder cannot be written.
    """
    try:
        (folder / _SCENARIOS).mkdir(parents=True, exist_ok=True)
        target = folder / CSV_NAME
        with whole_file(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(ResultRow._fields)
            for arena in arenas:
                for row in _rows(folder, arena):
                    writer.writerow([repr(value) if isinstance(value, float) else value for value in row])
        write_whole(folder / JSON_NAME, json.dumps(as_json(arenas), indent=1, allow_nan=False))
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return target


def as_json(arenas: list[Arena]) -> list[dict[str, Any]]:
    """The table as plain data: a list of rows, every measure an object with mean, low, high, or null."""
    rows = []
    for arena in arenas:
        for row in arena.rows:
            rows.append({**row.as_json(), "variant": arena.variant, "headroom": arena.headroom._asdict()})
    return rows


def _rows(folder: Path, arena: Arena) -> Iterator[ResultRow]:
    scenario_file = _write_scenario(folder, arena.training.scenario)
    for label, contestant in arena.contestants.items():
        run = arena.episodes[label]
        source = contestant.source
        if contestant.kind == "learned":
            source = path_from(folder, Path(source))
        first = 0
        for stretch in arena.stretches[label]:
            world_file = _write_scenario(folder, stretch.world)
            perturbation = json.dumps(stretch.perturbation) if stretch.perturbation else ""
            for e in range(first, first + stretch.episodes):
                requests, answered = float(run.requests[e]), float(run.answered[e])
                yield ResultRow(
                    agent=label,
                    kind=contestant.kind,
                    source=source,
                    checkpoint_sha256=contestant.checkpoint_sha256,
                    scenario=arena.scenario.name,
                    variant=arena.variant,
                    scenario_file=scenario_file,
                    world_file=world_file,
                    perturbation=perturbation,
                    uplink=arena.tables.uplink.name,
                    tables_sha256=stretch.tables_sha256,
                    bank_seed=int(run.bank_seed[e]),
                    episode_seed=int(run.episode_seed[e]),
                    requests=int(requests),
                    answered=int(answered),
                    cost=float(run.cost[e]) / requests,
                    latency_ms=float(run.latency_ms[e]) / answered,
                    energy_mj=float(run.energy_mj[e]) / answered,
                    accuracy_lost=float(run.accuracy_lost[e]) / answered,
                    deadline_missed=float(run.missed[e]) / requests,
                    dropped=float(run.dropped[e]) / requests,
                    timed_out=float(run.timed_out[e]) / requests,
                    bound=float(arena.bound[e]),
                )
            first += stretch.episodes


def path_from(folder: Path, path: Path) -> str:
    """`path` as a file in `folder` should name it: relative where it lies below, so that both can move."""
    here, there = folder.resolve(), path.resolve()
    return str(there.relative_to(here)) if there.is_relative_to(here) else str(there)


def _write_scenario(folder: Path, scenario: Scenario) -> str:
    """Write a resolved scenario beside the results; returns its path relative to the folder."""
    text = yaml.safe_dump(scenario.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"{_SCENARIOS}/{scenario.name}-{digest}.yaml"
    if not (folder / name).exists():
        (folder / name).write_text(text, encoding="utf-8")
    return name


def read_results(path: Path | str) -> list[ResultRow]:
    """Read a results.csv.

    Raises:
        ResultsError: missing, not a results file, or a value that is no number; names file, line and column.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ResultRow._fields if name not in (reader.fieldnames or [])]
            if missing:
                raise ResultsError(f"{path}: not a results file: column {missing[0]!r} is missing")
            rows = [_parse(path, line, values) for line, values in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not rows:
        raise ResultsError(f"{path}: holds no rows")
    return rows


def _parse(path: Path, line: int, values: dict[str, str | None]) -> ResultRow:
    parsed: dict[str, Any] = {}
    for name in ResultRow._fields:
        text = values[name]
        kind = int if name in _INTEGERS else float if name in _FLOATS else str
        try:
            parsed[name] = kind(text)  # type: ignore[arg-type]
            if kind is float and not np.isfinite(parsed[name]):
                raise ValueError
        except (TypeError, ValueError):
            what = "a whole number" if kind is int else "a finite number"
            raise ResultsError(f"{path}: line {line}: {name}: {text!r} is not {what}") from None
    return ResultRow(**parsed)
