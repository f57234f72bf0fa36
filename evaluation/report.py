"""The HTML report: one self-contained file; the answer first, then tables, then charts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from dvfo_agents.policy import Policy
from dvfo_env.errors import ConfigError, DvfoError, ResultsError
from dvfo_env.whole_file import write_whole
from dvfo_evaluation.arena import OWN, Arena
from dvfo_evaluation.behaviour import decision_map, record
from dvfo_evaluation.contestants import baseline, learned
from dvfo_evaluation.measures import Row
from dvfo_evaluation.pareto import FIXED_EVERY, REFERENCE, has_preferences, preference_fronts
from dvfo_evaluation.report_answer import answer, device_name, energy_counts, evidence
from dvfo_evaluation.runner import SeedBlock
from dvfo_evaluation.statistics import Interval

_TEMPLATE = Path(__file__).parent / "report.html.j2"
#: Held-out episodes that behaviour is looked at on.
_WATCHED = 16

_NOTHING: dict[str, Any] = {"maps": [], "everywhere": [], "asked": [], "timeline": None, "fronts": None}

Progress = Callable[[str], None]


def write_report(path: Path, arenas: list[Arena], progress: Progress = lambda line: None) -> None:
    """Write the report of one or several scenarios' evaluations.

    Raises:
        ResultsError: the file cannot be written.
    """
    _write(path, render(arenas, progress=progress))


def write_suite_report(
    path: Path,
    summary: dict[str, Any],
    arenas: dict[tuple[str, str], Arena],
    progress: Progress = lambda line: None,
) -> None:
    """Write the report of a suite: `summary` as `suite_table.summarise_suite` makes it, `arenas` its tables
    by (scenario, variant).

    Raises:
        ResultsError: the file cannot be written.
    """
    own = [arena for (_, variant), arena in arenas.items() if variant == OWN]
    from dvfo_evaluation.report_suite import suite_view

    _write(path, render(own, suite_view(summary, arenas), progress))


def render(
    arenas: list[Arena], suite: dict[str, Any] | None = None, progress: Progress = lambda line: None
) -> str:
    """The report as HTML text; nothing in it refers to anything outside the file."""
    import jinja2

    import dvfo_env

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=_number, spread=_spread, percent=_percent)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    sections = [_section(arena, suite is not None, progress) for arena in arenas]
    return template.render(sections=sections, suite=suite, version=dvfo_env.__version__)


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except ConfigError as error:
        raise ResultsError(str(error)) from None


def _section(arena: Arena, brief: bool, progress: Progress) -> dict[str, Any]:
    """What the page says of one scenario; `brief` leaves out what a page of many has no room for."""
    from dvfo_evaluation.report_charts import cost_chart, trade_chart

    scenario = arena.tables.scenario
    progress(f"{scenario.name}: report")
    shown = shown_run(arena)
    behaviour = _behaviour(arena, shown, brief)
    return {
        "name": scenario.name,
        "title": scenario.title,
        "description": scenario.description,
        "summary": f"{device_name(arena.tables)} · uplink {arena.tables.uplink.name} · {scenario.server}",
        "answer": answer(arena),
        "facts": _facts(arena, arena.contenders[0]),
        "evidence": evidence(arena.tables),
        "rows": [_with_decision_time(row, arena.rows) for row in arena.rows],
        "headroom": arena.headroom,
        "trained_on": arena.training.uplink.name if arena.swapped_uplink else None,
        "shown": shown,
        "episodes": len(arena.bound),
        "banks": len(arena.blocks),
        "requests": scenario.episode_requests,
        "deadline_ms": scenario.requests.deadline_ms,
        "period_ms": scenario.requests.period_ms,
        "eta": _eta_in_words(arena),
        "cost_chart": "" if brief else cost_chart(arena),
        "trade_chart": trade_chart(arena),
        "curves": _curves(arena),
        **behaviour,
    }


def _with_decision_time(row: Row, rows: list[Row]) -> Row:
    """The row of several runs with the median of their decision times."""
    times = [one.decision_us for one in rows if one.agent in row.runs and one.decision_us is not None]
    if row.decision_us is not None or not times:
        return row
    return replace(row, decision_us=median(times))


def shown_run(arena: Arena) -> str:
    """Label of the run whose behaviour is drawn: the typical one of the best learned agent, else that of the
    best policy a device can run.
    """
    best = arena.contenders[0]
    return arena.typical_run(next((row for row in arena.contenders if row.kind == "learned"), best))


def _behaviour(arena: Arena, shown: str, brief: bool) -> dict[str, Any]:
    """Maps, time line and fronts of the policy shown, with the planner beside it; or why there are none."""
    from dvfo_evaluation.report_behaviour import map_charts, timeline_chart
    from dvfo_evaluation.report_charts import fronts_chart

    try:
        policies = {label: _policy(arena, label) for label in dict.fromkeys((shown, "planner"))
                    if label in arena.contestants}  # fmt: skip
    except DvfoError as error:
        return {**_NOTHING, "not_shown": str(error)}
    if not policies:
        return {**_NOTHING, "not_shown": f"{shown} cannot be rebuilt"}
    bank_seed, seeds = arena.blocks[0]
    first = next(iter(policies))
    met = record(policies[first], arena.tables, SeedBlock(bank_seed, seeds[:_WATCHED]))
    maps = {label: decision_map(policy, arena.tables, met) for label, policy in policies.items()}
    fronts = None
    if has_preferences(arena.tables):
        found = preference_fronts(policies, arena.training, arena.tables, arena.blocks)
        fronts = {"chart": fronts_chart(found), "found": found, "reference": REFERENCE, "every": FIXED_EVERY}
    charts, everywhere = map_charts(arena.tables, maps)
    return {
        "maps": charts,
        "everywhere": everywhere,
        "asked": list(maps),
        "timeline": None if brief else timeline_chart(arena.tables, met),
        "fronts": fronts,
        "not_shown": None,
    }


def _policy(arena: Arena, label: str) -> Policy:
    origin = arena.contestants[label]
    if origin.kind == "learned":
        return learned(origin.source, arena.training).policy
    return baseline(origin.source, arena.training).policy


def _curves(arena: Arena) -> str:
    """Learning curves of all run folders that hold events; empty where none does."""
    from dvfo_evaluation.report_curves import Curve, curves_chart, learning_curve

    curves: dict[str, dict[str, Curve]] = {}
    for label, origin in arena.contestants.items():
        if origin.kind == "learned" and (curve := learning_curve(Path(origin.source))) is not None:
            curves.setdefault(origin.agent, {})[label] = curve
    if not curves:
        return ""
    wanted = ("best-fixed", "planner", "bound")
    return curves_chart(curves, {row.agent: row.cost.mean for row in arena.rows if row.agent in wanted})


def _facts(arena: Arena, best: Row) -> list[tuple[str, str]]:
    """(figure, what it says) of the best policy a device can run."""
    fixed = next(row for row in arena.rows if row.agent == "best-fixed")
    m = best.measures
    facts = []
    for name, label in (("savings", "energy"), ("latency_savings", "latency")):
        value = m[name]
        if value is not None and (name != "savings" or energy_counts(arena.tables)):
            less = "less" if value.mean >= 0.0 else "more"
            facts.append((f"{100 * abs(value.mean):.0f} %", f"{less} {label} than out of the box"))
    gain = 1.0 - best.cost.mean / fixed.cost.mean
    facts.append((f"{100 * gain:.1f} %", "below the cost of the best fixed action"))
    score = m["score"]
    if score is not None:
        facts.append((f"{score.mean:.2f}", "score: 0 is the best fixed action, 1 the bound nobody can beat"))
    facts.append((f"{100 * arena.headroom.mean:.0f} %", "headroom: what adapting can gain at all here"))
    return facts


def _eta_in_words(arena: Arena) -> str:
    low, high = arena.tables.scenario.objective.eta_range
    return f"{low:g}" if low == high else f"{low:g} to {high:g}, drawn for each episode"


def _number(value: Interval | None, digits: int) -> str:
    if value is None:
        return "–"
    return f"{value.mean:.{digits if abs(value.mean) < 1000.0 else 0}f}"


def _spread(value: Interval | None, digits: int) -> str:
    if value is None or value.low == value.high or abs(value.mean) >= 10.0:
        return ""
    low, high = f"{value.low:.{digits}f}", f"{value.high:.{digits}f}"
    return "" if low == high else f"{low} to {high}"


def _percent(value: Interval | None, digits: int = 0) -> str:
    if value is None:
        return "–"
    if value.mean < -10.0:
        return "< −1000 %"
    return f"{100.0 * value.mean:.{digits}f} %"
