"""Runs a sample of a results file again and compares: a result that cannot be reproduced is no result."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvfo_agents.result_cache import tables_digest
from dvfo_env.errors import ResultsError
from dvfo_env.scenario import load_scenario
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_evaluation.contestants import baseline, checkpoint_sha256, learned
from dvfo_evaluation.results import ResultRow, read_results
from dvfo_evaluation.runner import SeedBlock, run_policy

_COMPARED = ("requests", "answered", "cost", "latency_ms", "energy_mj", "accuracy_lost")


@dataclass(frozen=True)
class ReplayReport:
    """What a replay found: how many rows the file has, which lines (header = 1) were run again, by which
    agents.
    """

    rows: int
    lines: tuple[int, ...]
    agents: tuple[str, ...]


def validate(
    csv_path: Path | str,
    sample: int = 8,
    seed: int = 0,
    trust_pickle: bool = False,
    agents: Collection[str] | None = None,
) -> ReplayReport:
    """Run `sample` rows of a results.csv again, drawn with `seed`, and compare bit for bit; `agents` draws
    among the rows of these agents only.

    All episodes of a row's batch run again with it, since a policy may compute a batch in another order
    than a single observation. Fields compared: requests, answered, cost, latency, energy, accuracy lost.

    Raises:
        ResultsError: a row does not replay, its scenario is another one now, or its weights have changed;
            names the line.
        DvfoError: the file, a scenario, a trace or a run folder cannot be read.
    """
    path = Path(csv_path)
    rows = read_results(path)
    among = [i for i, row in enumerate(rows) if agents is None or row.agent in agents]
    if not among:
        raise ResultsError(f"{path}: holds no rows of {', '.join(sorted(agents or ()))}")
    drawn = np.random.default_rng(seed).permutation(among)[: max(sample, 1)]
    groups: dict[tuple[str, ...], list[int]] = {}
    for index in sorted(int(i) for i in drawn):
        groups.setdefault(_group(rows[index]), []).append(index)
    compiled: dict[tuple[str, str], tuple[CostTables, CostTables]] = {}
    for key, wanted in groups.items():
        members = [index for index, row in enumerate(rows) if _group(row) == key]
        _replay(path, rows, members, wanted, compiled, trust_pickle)
    lines = tuple(sorted(int(i) + 2 for i in drawn))
    return ReplayReport(len(rows), lines, tuple(dict.fromkeys(rows[line - 2].agent for line in lines)))


def _group(row: ResultRow) -> tuple[str, ...]:
    return (
        row.agent, row.kind, row.source, row.scenario_file, row.variant, row.world_file, row.perturbation,
        str(row.bank_seed),
    )  # fmt: skip


def _replay(
    path: Path,
    rows: list[ResultRow],
    members: list[int],
    wanted: list[int],
    compiled: dict[tuple[str, str], tuple[CostTables, CostTables]],
    trust_pickle: bool,
) -> None:
    first = rows[wanted[0]]
    where = f"{path}: line {wanted[0] + 2}"
    key = (first.scenario_file, first.world_file)
    if key not in compiled:
        training = compile_scenario(load_scenario(path.parent / first.scenario_file))
        tables = training
        if first.world_file != first.scenario_file:
            tables = compile_scenario(load_scenario(path.parent / first.world_file))
        compiled[key] = (training, tables)
    training, tables = compiled[key]
    if first.perturbation:
        tables = _perturbed(tables, first.perturbation, where)
    if tables_digest(tables) != first.tables_sha256:
        raise ResultsError(
            f"{where}: scenario {first.scenario!r} compiles to other numbers now: "
            "device, workload, uplink or server data have changed since"
        )
    if first.kind == "learned":
        run_folder = path.parent / first.source
        if checkpoint_sha256(run_folder) != first.checkpoint_sha256:
            raise ResultsError(f"{where}: {run_folder} holds other weights now than when it was evaluated")
        policy = learned(run_folder, training, trust_pickle).policy
    elif first.kind == "baseline":
        policy = baseline(first.source, training).policy
    else:
        raise ResultsError(f"{where}: kind: {first.kind!r} is neither 'baseline' nor 'learned'")
    seeds = np.array([rows[index].episode_seed for index in members], dtype=np.int64)
    run = run_policy(policy, tables, (SeedBlock(first.bank_seed, seeds),))
    for index in wanted:
        at = members.index(index)
        row = rows[index]
        answered = float(run.answered[at])
        found = (
            int(run.requests[at]),
            int(answered),
            float(run.cost[at]) / float(run.requests[at]),
            float(run.latency_ms[at]) / answered,
            float(run.energy_mj[at]) / answered,
            float(run.accuracy_lost[at]) / answered,
        )
        for name, value in zip(_COMPARED, found, strict=True):
            if getattr(row, name) != value:
                raise ResultsError(
                    f"{path}: line {index + 2}: {row.agent} on {row.scenario}, bank {row.bank_seed}, "
                    f"episode {row.episode_seed}: {name} is {getattr(row, name)!r} in the file, "
                    f"{value!r} when run again"
                )


def _perturbed(tables: CostTables, multipliers: str, where: str) -> CostTables:
    from dvfo_env.perturbation import Perturbation, perturbed

    try:
        return perturbed(tables, Perturbation(**json.loads(multipliers)))
    except (TypeError, ValueError):
        raise ResultsError(f"{where}: perturbation: {multipliers!r} is not a perturbed device") from None
