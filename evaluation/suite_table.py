"""A suite's tables: in the terminal, and as one JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dvfo_env.whole_file import write_whole
from dvfo_evaluation.arena import OWN
from dvfo_evaluation.dvfo_table import dvfo_table, print_dvfo_table
from dvfo_evaluation.results import as_json
from dvfo_evaluation.suite_run import SuiteResult
from dvfo_evaluation.suite_scores import against_planner, labels_of, overall, profiles

SUITE_JSON = "suite.json"
_WIDTH_IN_A_FILE = 160
_WIDE = 110  # columns from which on tables show everything


def summarise_suite(result: SuiteResult) -> dict[str, Any]:
    """A suite's figures as plain data; `docs/evaluation.md` explains the keys."""
    suite, arenas = result.suite, result.arenas
    variants = [OWN, *(variant.name for variant in suite.variants)]
    present = [name for name in variants if any(key[1] == name for key in arenas)]
    learned = [entry.label for entry in suite.agents]
    return {
        "suite": suite.model_dump(mode="json"),
        "ours": suite.our_name,
        "overall": {name: overall(arenas, name) for name in present},
        "against_planner": {
            name: [told for agent in learned if (told := against_planner(arenas, name, agent)) is not None]
            for name in present
        },
        "profiles": {name: profiles(arenas, name) for name in present},
        "decisions": _decisions(result),
        "decision_evidence": {
            key[0]: arena.tables.device.encoder_ms_ghz.evidence for key, arena in arenas.items()
        },
        "dvfo": dvfo_table(arenas, suite.our_name) if suite.dvfo_table else None,
        "rows": as_json(list(arenas.values())),
        "failures": [failure._asdict() for failure in result.failures],
    }


def write_suite(folder: Path, summary: dict[str, Any]) -> None:
    """Write suite.json into `folder`.

    Raises:
        ConfigError: it cannot be written.
    """
    write_whole(folder / SUITE_JSON, json.dumps(summary, indent=1, allow_nan=False))


def print_suite(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print what a suite came to: every variant over all scenarios, then ours against the planner."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _WIDTH_IN_A_FILE))
    for variant, contestants in summary["overall"].items():
        _print_overall(console, summary["suite"]["name"], variant, contestants)
    if len(summary["decisions"]) > 1:
        _print_decisions(console, summary["decisions"], summary["decision_evidence"])
    if summary["dvfo"] is not None:
        print_dvfo_table(summary["dvfo"], console)
    for variant, agents in summary["against_planner"].items():
        for told in agents:
            _print_against_planner(console, variant, told)


def _print_overall(console: Console, suite: str, variant: str, contestants: dict[str, Any]) -> None:
    wide = console.width >= _WIDE
    title = f"{suite}, {'scenarios as they are' if variant == OWN else f'variant {variant}'}"
    table = _table(title, ("contestant",), ("score", "clairvoyant share", "IQM"))
    if wide:
        for heading in ("gap", "P(> planner)"):
            table.add_column(heading, justify="right", no_wrap=True)
    if variant != OWN:
        table.add_column("kept", justify="right", no_wrap=True)
    for agent, told in contestants.items():
        seeds = f" ({told['training_seeds']} seeds)" if told["training_seeds"] > 1 else ""
        cells = [_interval(told[name]) for name in ("mean_score", "mean_clairvoyant_share")]
        cells.append(_interval(told["interquartile_mean"]))
        if wide:
            cells += [_interval(told[name]) for name in ("optimality_gap", "better_than_planner")]
        if variant != OWN:
            cells.append("" if told["kept_score"] is None else f"{100.0 * told['kept_score']:.0f} %")
        table.add_row(f"{agent}{seeds}", *cells)
    console.print(table)
    count = max((told["scenarios"] for told in contestants.values()), default=0)
    note = f"Means over {count} scenarios; 0 is the best fixed action, 1 the bound (or the clairvoyant); "
    note += "brackets are 95 % intervals over episodes and training seeds."
    if variant != OWN:
        note += " Kept: share of the score in the scenarios as they are."
    console.print(note, highlight=False, markup=False, soft_wrap=True)


def _print_against_planner(console: Console, variant: str, told: dict[str, Any]) -> None:
    title = f"{told['agent']} against the planner" + ("" if variant == OWN else f", variant {variant}")
    table = _table(title, ("scenario",), ("planner", "cost over seeds", "gain %", ""))
    for row in told["rows"]:
        word = "better" if row["won"] else "worse" if row["lost"] else "open"
        table.add_row(
            row["scenario"],
            f"{row['planner_cost']['mean']:.3f}",
            _interval(row["cost_over_seeds"], 3),
            _interval({name: 100.0 * value for name, value in row["gain"].items()}, 1),
            word,
        )
    console.print(table)
    console.print(
        f"{told['agent']} is better on {told['won']} and worse on {told['lost']} of {told['of']} "
        f"scenarios; at worst it costs {-100.0 * told['worst_gain']:+.1f} % of the planner's cost. "
        "Better: the planner's cost lies above the 95 % interval over training seeds, and the paired gain "
        "above 0.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _decisions(result: SuiteResult) -> dict[str, dict[str, Any]]:
    """End-to-end latency and score of every contestant where decisions are free and where they take time,
    averaged over scenarios, by variant; with the decision's own time where it was measured.
    """
    timed = [OWN, *(variant.name for variant in result.suite.variants if variant.decision is not None)]
    found: dict[str, dict[str, Any]] = {}
    for variant in timed:
        columns: dict[str, list[tuple[float, float | None, float]]] = {}
        for (_, name), arena in result.arenas.items():
            if name != variant:
                continue
            rows = {row.agent: row for row in arena.rows}
            for agent, labels in labels_of(arena).items():
                row = rows[labels[0]] if len(labels) == 1 else rows[f"{agent} ({len(labels)} seeds)"]
                latency, score = row.measures["latency_ms"], row.measures["score"]
                waits = [arena.stretches[label][0].decision_ms for label in labels]
                columns.setdefault(agent, []).append((
                    float("nan") if latency is None else latency.mean,
                    None if score is None else score.mean,
                    sum(waits) / len(waits),
                ))  # fmt: skip
        found[variant] = {agent: _mean_decision(cells) for agent, cells in columns.items()}
    return found


def _mean_decision(cells: list[tuple[float, float | None, float]]) -> dict[str, float | None]:
    scores = [score for _, score, _ in cells if score is not None]
    return {
        "latency_ms": sum(latency for latency, _, _ in cells) / len(cells),
        "score": sum(scores) / len(scores) if scores else None,
        "decision_ms": sum(wait for _, _, wait in cells) / len(cells),
        "scenarios": float(len(cells)),
    }


def _print_decisions(
    console: Console, decisions: dict[str, dict[str, Any]], evidence: dict[str, str]
) -> None:
    table = _table(
        "Decisions that take time: end-to-end latency and score", ("contestant",), ("decision ms",)
    )
    for variant in decisions:
        table.add_column("free" if variant == OWN else variant, justify="right", no_wrap=True)
    first = list(decisions)[1]
    for agent in decisions[OWN]:
        cells = []
        for told in decisions.values():
            row = told.get(agent)
            score = "" if row is None or row["score"] is None else f", {row['score']:.3f}"
            cells.append("" if row is None else f"{row['latency_ms']:.2f} ms{score}")
        own = decisions[first].get(agent)
        table.add_row(agent, "" if own is None else f"{own['decision_ms']:.2f}", *cells)
    console.print(table)
    assumed = [scenario for scenario, kind in evidence.items() if kind == "assumed"]
    note = (
        "Means over scenarios. A measured decision was timed on this machine and carried over to the board."
    )
    if assumed:
        note += f" How fast the board's core is, is assumed on: {', '.join(assumed)}."
    console.print(note, highlight=False, markup=False, soft_wrap=True)


def _table(title: str, names: tuple[str, ...], figures: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _interval(value: dict[str, float] | None, digits: int = 2) -> str:
    if value is None:
        return ""
    return f"{value['mean']:.{digits}f} \\[{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
