"""The answer in words: which policy to use here, what it saves, where learning falls short, and what the
figures rest on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvfo_env.evidence import assumed, assumed_line
from dvfo_env.tables import CostTables
from dvfo_evaluation.arena import Arena
from dvfo_evaluation.measures import Row, difference
from dvfo_evaluation.statistics import Bootstrap, Interval

_UNBROKEN = "\N{NON-BREAKING HYPHEN}"  # so that names stay whole in a headline


@dataclass(frozen=True)
class Answer:
    """A headline and sentences for one scenario."""

    headline: str
    savings: str
    against_planner: tuple[str, ...]
    assumed: str


def answer(arena: Arena) -> Answer:
    """The answer for one scenario."""
    best = arena.contenders[0]
    place = f"On {device_name(arena.tables)}, over {arena.tables.uplink.name}".replace("-", _UNBROKEN)
    return Answer(
        headline=f"{place}: use {called(arena.contestants[best.runs[0]].agent)}.",
        savings=" ".join(
            [_saved(best, energy_counts(arena.tables)), _from_bound(arena, best), *_ties(arena, best)]
        ),
        against_planner=tuple(_against_planner(arena)),
        assumed=_assumed(arena.tables),
    )


def device_name(tables: CostTables) -> str:
    """Device and network as people call them, also where a file was given."""
    scenario = tables.scenario
    names = [Path(name).stem if "/" in name else name for name in (scenario.device, scenario.workload)]
    return " with ".join(names)


def called(agent: str) -> str:
    """An agent's name in a sentence."""
    return f"the {agent}" if agent.endswith("planner") else agent


def percent(value: Interval, digits: int = 0) -> str:
    """A share as percent with its interval."""
    low, high = 100.0 * value.low, 100.0 * value.high
    return f"{100.0 * value.mean:.{digits}f} % [{low:.{digits}f}, {high:.{digits}f}]"


def energy_counts(tables: CostTables) -> bool:
    """Whether energy is part of the cost; where it is not, no coefficient of power is among the evidence."""
    return tables.scenario.objective.eta_range[1] > 0.0 or tables.scenario.battery is not None


def _saved(row: Row, with_energy: bool) -> str:
    energy, latency = row.measures["savings"] if with_energy else None, row.measures["latency_savings"]
    parts: list[str] = []
    for value, what in ((energy, "energy"), (latency, "latency")):
        if value is None:
            continue
        if value.mean >= 0.0:
            verb = "" if parts and parts[0].startswith("saves") else "saves "
            parts.append(f"{verb}{percent(value)} {what}")
        else:
            parts.append(f"takes {percent(Interval(-value.mean, -value.high, -value.low))} more {what}")
    if not parts:
        return "It cannot be compared with the device out of the box."
    return f"It {' and '.join(parts)} against the device out of the box."


def _from_bound(arena: Arena, row: Row) -> str:
    """How much more than the bound it costs, paired over episodes (and training seeds)."""
    runs = np.stack([arena.episodes[label].cost_per_request for label in row.runs])
    costs = runs if len(runs) > 1 else runs[0]
    bootstrap = Bootstrap(len(arena.bound), seeds=len(runs))
    gap = bootstrap.interval(lambda w: w.mean(costs) / w.mean(arena.bound) - 1.0)
    return f"It costs {percent(gap, 1)} more than the bound that no policy can beat."


def _ties(arena: Arena, best: Row) -> list[str]:
    """Those whose paired interval against the best one contains 0."""
    ours = [arena.episodes[label] for label in best.runs]
    ties = []
    for row in arena.contenders[1:]:
        theirs = [arena.episodes[label] for label in row.runs]
        if len(theirs) == 1:
            paired = Bootstrap(len(arena.bound), seeds=len(ours))
            tie = difference(ours, theirs[0], paired).low <= 0.0
        elif len(ours) == 1:
            paired = Bootstrap(len(arena.bound), seeds=len(theirs))
            tie = difference(theirs, ours[0], paired).high >= 0.0
        else:
            tie = row.cost.low <= best.cost.high
        if tie:
            ties.append(row.agent)
    return [f"On these episodes {_listed(ties)} cannot be told from it."] if ties else []


def _against_planner(arena: Arena) -> list[str]:
    """One sentence for every learned agent, the best first; nothing where none took part."""
    planner = arena.episodes.get("planner")
    learned = [row for row in arena.contenders if row.kind == "learned"]
    if planner is None or not learned:
        return []
    sentences, winners = [], 0
    for row in learned:
        runs = [arena.episodes[label] for label in row.runs]
        gain = difference(runs, planner, Bootstrap(len(arena.bound), seeds=len(runs)))
        what = f"{row.agent} costs {_signed(gain)}"
        if gain.low > 0.0:
            winners += 1
            sentences.append(f"{what} than the planner: it beats it.")
        elif gain.high < 0.0:
            sentences.append(f"{what} than the planner: it does not beat it.")
        else:
            sentences.append(f"{what} than the planner: too close to call.")
    if not winners:
        sentences.insert(0, "No learned policy beats the planner here.")
    return sentences


def _signed(gain: Interval) -> str:
    """A gain as less, a loss as more; the interval keeps the sign of what is said."""
    if gain.mean >= 0.0:
        return percent(gain, 1) + " less"
    return percent(Interval(-gain.mean, -gain.high, -gain.low), 1) + " more"


def _assumed(tables: CostTables) -> str:
    told = evidence(tables)
    count, total = len(told["assumed"]), told["total"]
    line = str(told["in_words"])
    if count:
        share = f"{count} of the {total} coefficients behind these figures ({100.0 * count / total:.0f} %)"
        line = f"{share} {'is' if count == 1 else 'are'} assumed, not measured: {line.split(': ', 1)[-1]}"
    return line if energy_counts(tables) else f"{line} {_unlisted_power(tables)}"


def _unlisted_power(tables: CostTables) -> str:
    """What energy figures rest on where energy does not count."""
    power = {
        name: c
        for name, c in tables.device.coefficients().items()
        if name.startswith(("power.", "mappings."))
    }
    return (
        "Energy does not count in this scenario, so the answer leaves it out: the energy figures below rest "
        f"on {len(power)} coefficients of power, {len(assumed(power))} of them assumed, that are not in this "
        "count."
    )


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def evidence(tables: CostTables) -> dict[str, Any]:
    """How many coefficients behind the numbers are measured, fitted and assumed, and which ones are
    assumed.
    """
    counts = Counter(coefficient.evidence for coefficient in tables.coefficients.values())
    total = max(sum(counts.values()), 1)
    return {
        "kinds": [(kind, counts[kind], counts[kind] / total) for kind in ("measured", "fitted", "assumed")],
        "total": total,
        "assumed": [
            (name, f"{c.value:g} {c.unit}", c.note or c.source)
            for name, c in assumed(tables.coefficients).items()
        ],
        "in_words": assumed_line(tables.coefficients),
    }
