"""A suite's part of the report: the answer over all scenarios, the overview, statistics over seeds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from dvfo_evaluation.aggregate import mean_share_saved
from dvfo_evaluation.arena import OWN, Arena
from dvfo_evaluation.measures import LEAST_HEADROOM
from dvfo_evaluation.report_answer import called, energy_counts, evidence
from dvfo_evaluation.report_style import (
    BLUE,
    GREY,
    INK,
    KIND_COLOURS,
    SERIES,
    VERMILION,
    figure,
    styled,
    svg,
    tip,
)
from dvfo_evaluation.suite_scores import Arenas, labels_of

#: Profiles are drawn of this many contestants, the best by mean score, and of the planner.
_PROFILES = 5
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
_LEAST = f"{100.0 * LEAST_HEADROOM:g} %"  # of the cost: where less can be gained there is no score
_LEAST_DRAWN = -0.25  # scores below are told, not drawn
_LEAST_SCORE, _BEST_SCORE = -0.5, 1.0  # of the colours in the overview


def suite_view(summary: dict[str, Any], arenas: Arenas) -> dict[str, Any]:
    """What the page says of the suite as a whole.

    Args:
        summary: as `suite_table.summarise_suite` makes it.
        arenas: the suite's tables by (scenario, variant).
    """
    own = {scenario: arena for (scenario, variant), arena in arenas.items() if variant == OWN}
    overall = summary["overall"].get(OWN, {})
    kinds = contestant_kinds(own)
    return {
        "title": summary["suite"]["title"],
        "description": summary["suite"]["description"],
        "answer": suite_answer(summary, own, kinds),
        "scores": _score_table(own, overall, kinds),
        "overall": [(agent, kinds.get(agent, "baseline"), told) for agent, told in overall.items()],
        "against_planner": summary["against_planner"].get(OWN, []),
        "variants": _variants(summary),
        "decisions": summary["decisions"] if len(summary["decisions"]) > 1 else None,
        "dvfo": summary["dvfo"],
        "failures": summary["failures"],
        "charts": {
            "iqm": _interval_chart(
                overall, kinds, "interquartile_mean", "score: 0 the best fixed action, 1 the bound"
            ),
            "improvement": _interval_chart(
                overall, kinds, "better_than_planner", "probability of scoring higher than the planner", 0.5
            ),
            "profiles": _profile_chart(summary["profiles"].get(OWN), overall, kinds),
        }
        if overall
        else {},
    }


def contestant_kinds(own: dict[str, Arena]) -> dict[str, str]:
    """baseline, learned or yardstick, by contestant."""
    return {
        origin.agent: "yardstick" if origin.yardstick else origin.kind
        for arena in own.values()
        for origin in arena.contestants.values()
    }


def suite_answer(summary: dict[str, Any], own: dict[str, Arena], kinds: dict[str, str]) -> list[str]:
    """The answer over all scenarios, the headline first."""
    if not own:
        return ["Nothing could be compared: the references of no scenario are complete."]
    where = f"Over these {len(own)} scenarios" if len(own) > 1 else "On this scenario"
    if not _contested(own):
        return [
            f"{where}: use the best fixed action.",
            f"Adapting can gain less than {_LEAST}.",
            _assumed(own),
        ]
    overall = summary["overall"][OWN]
    best = next(agent for agent in overall if kinds.get(agent) in ("baseline", "learned"))
    told = overall[best]
    lines = [f"{where}: use {called(best)}."]
    score = told["mean_score"]
    lines.append(
        f"Its mean score is {score['mean']:.2f} [{score['low']:.2f}, {score['high']:.2f}] (0: the best fixed "
        f"action, 1: the bound). {_savings(own, best)}"
    )
    lines.append(_cheapest(own))
    lines += [_against(told) for told in summary["against_planner"].get(OWN, [])]
    lines.append(_assumed(own))
    return lines


def _assumed(own: dict[str, Arena]) -> str:
    told = [evidence(arena.tables) for arena in own.values()]
    shares = [100.0 * len(one["assumed"]) / one["total"] for one in told]
    if not any(shares):
        return "Every coefficient that these scenarios can reach is measured or fitted to measurements."
    return (
        f"Of the coefficients behind a scenario's figures {min(shares):.0f} to {max(shares):.0f} % are "
        f"assumed, not measured (mean {np.mean(shares):.0f} %); each scenario below names its own."
    )


def _contested(own: dict[str, Arena]) -> dict[str, Arena]:
    """The scenarios in which policies can be told apart by their scores."""
    return {name: arena for name, arena in own.items() if arena.worth_adapting}


def _cheapest(own: dict[str, Arena]) -> str:
    """Who costs least on how many scenarios; where nothing can be gained the best fixed action will do."""
    contested = _contested(own)
    wins = Counter(arena.contestants[arena.contenders[0].runs[0]].agent for arena in contested.values())
    firsts = ", ".join(f"{agent} on {count}" for agent, count in wins.most_common())
    told = f"Cheapest of what a device can run: {firsts}."
    idle = len(own) - len(contested)
    if not idle:
        return told
    few = "1 scenario" if idle == 1 else f"{idle} scenarios"
    return f"{told} On {few} adapting can gain less than {_LEAST}: there use the best fixed action."


def _savings(own: dict[str, Arena], agent: str) -> str:
    """Mean, least and most over scenarios: saved against the device out of the box, lost to the bound."""
    parts = []
    for name, what in (("savings", "energy"), ("latency_savings", "latency")):
        found = []
        for arena in own.values():
            if name == "savings" and not energy_counts(arena.tables):
                continue
            runs = set(labels_of(arena).get(agent, ()))
            row = next((row for row in arena.contenders if runs and set(row.runs) == runs), None)
            if row is not None and (value := row.measures[name]) is not None:
                found.append(value.mean)
        if found:
            where = f", the {len(found)} scenarios where it counts" if len(found) < len(own) else ""
            mean = 100.0 * mean_share_saved([1.0 - saved for saved in found])
            extremes = f"{100.0 * min(found):.0f} to {100.0 * max(found):.0f}"
            parts.append(f"{mean:.0f} % {what} ({extremes}{where})")
    gaps = [
        100.0 * (np.mean([arena.episodes[label].cost.sum() for label in labels]) / _bound_total(arena) - 1.0)
        for arena in own.values()
        if (labels := labels_of(arena).get(agent))
    ]
    bound = f"It costs {np.mean(gaps):.1f} % ({min(gaps):z.1f} to {max(gaps):z.1f}) more than the bound."
    if not parts:
        return bound
    saved = f"Against the device out of the box it saves {' and '.join(parts)} on average over scenarios."
    return f"{saved} {bound}"


def _bound_total(arena: Arena) -> float:
    requests = next(iter(arena.episodes.values())).requests
    return float((arena.bound * requests).sum())


def _against(told: dict[str, Any]) -> str:
    agent, won, lost, of = told["agent"], told["won"], told["lost"], told["of"]
    worst = -100.0 * told["worst_gain"]
    how = f"at worst it costs {worst:.1f} % more" if worst > 0.0 else f"at worst it costs {-worst:.1f} % less"
    beaten = f"{agent} beats the planner on {won or 'none'} of {of} scenarios"
    return f"{beaten} and is worse on {lost or 'none'}; {how}."


def _score_table(
    own: dict[str, Arena], overall: dict[str, dict[str, Any]], kinds: dict[str, str]
) -> dict[str, Any]:
    """Scores by contestant (rows, best first) and scenario worth adapting to, with the cells' colours."""
    contested = _contested(own)
    rows = []
    for agent in overall:
        cells: list[tuple[str, str, str] | None] = []
        for arena in contested.values():
            labels = labels_of(arena).get(agent)
            fixed = arena.episodes["best-fixed"].cost_per_request
            if not labels:
                cells.append(None)
                continue
            costs = np.mean([arena.episodes[label].cost_per_request for label in labels], axis=0)
            score = float((fixed - costs).mean() / (fixed - arena.bound).mean())
            cells.append((f"{score:.2f}" if score > -10.0 else "< -10", *_colour(score)))
        rows.append((agent, kinds.get(agent, "baseline"), cells))
    return {
        "scenarios": list(contested),
        "left_out": [name for name in own if name not in contested],
        "least_headroom": _LEAST,
        "rows": rows,
    }


def _colour(score: float) -> tuple[str, str]:
    """Background and ink of a score: white at the worst, dark blue at the bound."""
    share = (min(max(score, _LEAST_SCORE), _BEST_SCORE) - _LEAST_SCORE) / (_BEST_SCORE - _LEAST_SCORE)
    low, high = (255, 255, 255), (0, 76, 128)
    mixed = [round(a + (b - a) * share**1.5) for a, b in zip(low, high, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed), "#ffffff" if share**1.5 > 0.55 else INK


def _variants(summary: dict[str, Any]) -> dict[str, Any] | None:
    """Mean scores of every contestant in every variant, and what it keeps."""
    names = list(summary["overall"])
    if len(names) < 2:
        return None
    agents = list(summary["overall"][names[0]])
    rows = [(agent, [summary["overall"][name].get(agent) for name in names]) for agent in agents]
    return {"names": ["as they are" if name == OWN else name for name in names], "rows": rows}


def _interval_chart(
    overall: dict[str, dict[str, Any]], kinds: dict[str, str], figure_name: str, label: str,
    even: float | None = None,
) -> str:  # fmt: skip
    """Dots with intervals, a contestant a line, best first; `even` draws a line where nobody is better."""
    told = {agent: row[figure_name] for agent, row in overall.items() if row[figure_name] is not None}
    if not told:
        return ""
    ranked = sorted(told.items(), key=lambda item: item[1]["mean"])
    with styled(figure_name):
        drawn, (axes,) = figure(0.9 + 0.25 * len(ranked))
        left = _LEAST_DRAWN if even is None else -0.03
        for at, (agent, value) in enumerate(ranked):
            colour = KIND_COLOURS[kinds.get(agent, "baseline")]
            axes.plot(
                [max(value["low"], left), max(value["high"], left)], [at, at], color=colour, linewidth=2.4
            )
            if value["mean"] >= left:
                axes.plot(
                    value["mean"], at, "o", color=colour, markersize=6, gid=tip(f"{agent}: {_told(value)}")
                )
            else:
                axes.text(left, at, f"◂ {value['mean']:.1f}", va="center", fontsize=9)
        axes.set_xlim(left, 1.03)
        axes.set_ylim(-0.6, len(ranked) - 0.4)
        axes.set_yticks(range(len(ranked)), [agent for agent, _ in ranked])
        axes.tick_params(axis="y", colors=INK)
        for where in (0.0,) if even is None else (even,):
            axes.axvline(where, color=INK, linewidth=0.9, linestyle=":")
        axes.set_xlabel(label)
        words = ", ".join(f"{agent} {_told(value)}" for agent, value in reversed(ranked))
        return svg(drawn, f"{label}: {words}")


def _told(value: dict[str, float]) -> str:
    return f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def _profile_chart(
    profiles: dict[str, Any] | None, overall: dict[str, dict[str, Any]], kinds: dict[str, str]
) -> str:
    """Share of runs and scenarios with a score above each threshold."""
    if not profiles:
        return ""
    shown = [agent for agent in overall if kinds.get(agent) != "yardstick"][:_PROFILES]
    shown += [agent for agent in ("planner",) if agent in overall and agent not in shown]
    colours = iter(colour for colour in SERIES if colour not in (BLUE, VERMILION, GREY))
    thresholds = np.array(profiles["thresholds"])
    with styled("profiles"):
        drawn, (axes,) = figure(3.4)
        first = next((agent for agent in shown if kinds.get(agent) == "learned"), None)
        for agent, line in zip(shown, _LINES, strict=False):
            told = profiles["contestants"][agent]
            colour = VERMILION if agent == first else BLUE if agent == "planner" else next(colours, GREY)
            axes.fill_between(thresholds, told["low"], told["high"], color=colour, alpha=0.1, linewidth=0)
            axes.plot(thresholds, told["share"], color=colour, linewidth=1.8, linestyle=line, label=agent)
        axes.set_xlim(thresholds[0], thresholds[-1])
        axes.set_ylim(0.0, 1.02)
        axes.set_xlabel("score")
        axes.set_ylabel("share with a higher score")
        drawn.legend(loc="outside upper left", ncols=3)
        return svg(drawn, f"Performance profiles of {', '.join(shown)}")
