"""What ours saves against every other method, beside what DVFO's abstract reports; suite paper-dvfo."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from dvfo_evaluation.aggregate import mean_share_saved
from dvfo_evaluation.arena import OWN, Arena
from dvfo_evaluation.suite_scores import Arenas, labels_of

#: Zhang, Zhao, Li, Lin, Liu: DVFO, IEEE TMC 23(10), 2024; arXiv 2306.01811v3, abstract. Shares saved.
HEADLINE = {
    "source": "arXiv 2306.01811v3, abstract (v1 and v2: latency up to 54 %)",
    "energy_saved": 0.33,
    "latency_saved": [0.286, 0.591],
    "accuracy_lost_points": 1.0,
}
#: The accuracy that methods may lose on average, in points.
ALLOWED_POINTS = 1.0
COMPARABLE = (
    "Comparable: the kind of boards, 0.5 to 8 Mbit/s, a point of accuracy at most, and the question what a "
    "policy over clocks and offloading saves. Not comparable: the paper measured three boards with six "
    "networks against its own baselines, whose figures we have not read; here everybody runs in a model of "
    "such boards (assumed coefficients are named in every report), with other networks, a cut between layers "
    "in place of a split by the importance of feature maps, and baselines built again from descriptions."
)


def dvfo_table(arenas: Arenas, ours: str) -> dict[str, Any]:
    """Energy and latency that `ours` saves against every contestant, for each uplink and over all, as plain
    data.

    `saved` is 1 - ours / theirs: its mean is that of the geometric mean of the ratios over scenarios, low and
    high are the scenarios with the least and the most. Energy and latency are means over answered requests.
    Scenarios in which ours does not take part are left out.
    """
    own = {scenario: arena for (scenario, variant), arena in arenas.items() if variant == OWN}
    whole = {scenario: arena for scenario, arena in own.items() if ours in labels_of(arena)}
    uplinks = list(dict.fromkeys(arena.tables.uplink.name for arena in whole.values()))
    groups = {
        uplink: [arena for arena in whole.values() if arena.tables.uplink.name == uplink]
        for uplink in uplinks
    }
    if len(groups) > 1:
        groups["all"] = list(whole.values())
    return {
        "ours": ours,
        "paper": HEADLINE,
        "comparable": COMPARABLE,
        "allowed_points": ALLOWED_POINTS,
        "uplinks": {uplink: _methods(group, ours) for uplink, group in groups.items()},
        "scenarios": {scenario: _means(arena) for scenario, arena in whole.items()},
    }


def print_dvfo_table(told: dict[str, Any], console: Console) -> None:
    """Print the table, a block for each uplink, the paper's figures and what they can be compared with."""
    paper = told["paper"]
    for uplink, methods in told["uplinks"].items():
        if not methods:
            continue
        count = max(method["scenarios"] for method in methods)
        title = f"What {told['ours']} saves, uplink {uplink}, {count} scenarios: mean (least, most)"
        table = Table(title=title, title_justify="left", header_style="bold")
        table.add_column("against", no_wrap=True)
        for heading in ("energy %", "latency %", "points lost", "late %"):
            table.add_column(heading, justify="right", no_wrap=True)
        for method in methods:
            table.add_row(
                method["agent"],
                _percent(method["energy_saved"]),
                _percent(method["latency_saved"]),
                f"{method['points_lost']:.2f} (most {method['most_points_lost']:.2f})",
                f"{100.0 * method['late']:.1f}",
            )
        console.print(table)
    low, high = paper["latency_saved"]
    lines = (
        f"DVFO reports {100.0 * paper['energy_saved']:.0f} % of energy on average and {100.0 * low:.1f} to "
        f"{100.0 * high:.1f} % of latency saved at a loss of at most one point: {paper['source']}.",
        told["comparable"],
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _methods(arenas: list[Arena], ours: str) -> list[dict[str, Any]]:
    means = [_means(arena) for arena in arenas]
    agents = list(dict.fromkeys(agent for scenario in means for agent in scenario))
    found = []
    for agent in agents:
        theirs = [(scenario[agent], scenario[ours]) for scenario in means if agent in scenario]
        found.append({
            "agent": agent,
            "scenarios": len(theirs),
            "energy_saved": _saved([(them["energy_mj"], us["energy_mj"]) for them, us in theirs]),
            "latency_saved": _saved([(them["latency_ms"], us["latency_ms"]) for them, us in theirs]),
            "points_lost": float(np.mean([them["accuracy_lost"] for them, _ in theirs])),
            "most_points_lost": max(them["accuracy_lost"] for them, _ in theirs),
            "late": float(np.mean([them["deadline_missed"] for them, _ in theirs])),
        })  # fmt: skip
    return sorted(found, key=lambda method: -(method["energy_saved"] or {"mean": 0.0})["mean"])


def _means(arena: Arena) -> dict[str, dict[str, float]]:
    """Per contestant: energy, latency and points lost per answered request, and the share that was late."""
    found = {}
    for agent, labels in labels_of(arena).items():
        runs = [arena.episodes[label] for label in labels]
        answered = sum(run.answered.sum() for run in runs)
        found[agent] = {
            "energy_mj": float(sum(run.energy_mj.sum() for run in runs) / answered),
            "latency_ms": float(sum(run.latency_ms.sum() for run in runs) / answered),
            "accuracy_lost": float(sum(run.accuracy_lost.sum() for run in runs) / answered),
            "deadline_missed": float(
                sum(run.missed.sum() for run in runs) / sum(run.requests.sum() for run in runs)
            ),
        }
    return found


def _saved(pairs: list[tuple[float, float]]) -> dict[str, float] | None:
    """Shares saved over (theirs, ours); None where a device has no energy to save."""
    ratios = np.array([ours / theirs for theirs, ours in pairs if theirs > 0.0 and ours > 0.0])
    if len(ratios) == 0:
        return None
    return {
        "mean": mean_share_saved(ratios),
        "low": 1.0 - float(ratios.max()),
        "high": 1.0 - float(ratios.min()),
    }


def _percent(saved: dict[str, float] | None) -> str:
    if saved is None:
        return ""
    return f"{100.0 * saved['mean']:.1f} ({100.0 * saved['low']:.1f}, {100.0 * saved['high']:.1f})"
