"""The HTML report: one self-contained file; the answer first, then the evidence, then the charts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from dvfo_env.errors import ResultsError
from dvfo_env.evidence import assumed, assumed_line
from dvfo_env.tables import CostTables
from dvfo_evaluation.arena import Arena, verdict
from dvfo_evaluation.measures import Row
from dvfo_evaluation.statistics import Interval

_TEMPLATE = Path(__file__).parent / "report.html.j2"


def write_report(path: Path, arenas: list[Arena]) -> None:
    """Write the report of one or several scenarios' evaluations.

    Raises:
        ResultsError: the file cannot be written.
    """
    text = render(arenas)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written: {error.strerror or error}") from None


def render(arenas: list[Arena]) -> str:
    """The report as HTML text; nothing in it refers to anything outside the file."""
    import jinja2

    import dvfo_env

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=_number, spread=_spread, percent=_percent)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(sections=[_section(arena) for arena in arenas], version=dvfo_env.__version__)


def _section(arena: Arena) -> dict[str, Any]:
    from dvfo_evaluation.plots import behaviour_chart, cost_chart, timeline_chart, trade_chart

    best = arena.contenders[0]
    shown = arena.typical_run(next((row for row in arena.contenders if row.kind == "learned"), best))
    episodes = arena.episodes[shown]
    scenario = arena.tables.scenario
    return {
        "title": scenario.title,
        "description": scenario.description,
        "name": scenario.name,
        "summary": f"{scenario.device} · {scenario.workload} · uplink {arena.tables.uplink.name} · "
        f"{scenario.server}",
        "verdict": verdict(arena),
        "best": best,
        "facts": _facts(arena, best),
        "evidence": evidence(arena.tables),
        "rows": arena.rows,
        "headroom": arena.headroom,
        "trained_on": arena.training.uplink.name if arena.swapped_uplink else None,
        "shown": shown,
        "episodes": len(arena.bound),
        "banks": len(arena.blocks),
        "requests": scenario.episode_requests,
        "deadline_ms": scenario.requests.deadline_ms,
        "period_ms": scenario.requests.period_ms,
        "eta": scenario.objective.eta,
        "charts": {
            "cost": cost_chart(arena),
            "trade": trade_chart(arena),
            "behaviour": behaviour_chart(arena.tables, episodes),
            "timeline": timeline_chart(arena.tables, episodes),
        },
    }


def _facts(arena: Arena, best: Row) -> list[tuple[str, str]]:
    """(figure, what it says) of the best policy a device can run."""
    fixed = next(row for row in arena.rows if row.agent == "best-fixed")
    m = best.measures
    facts = []
    for name, label in (("savings", "energy"), ("latency_savings", "latency")):
        value = m[name]
        if value is not None:
            less = "less" if value.mean >= 0.0 else "more"
            facts.append((f"{100 * abs(value.mean):.0f} %", f"{less} {label} than out of the box"))
    gain = 1.0 - best.cost.mean / fixed.cost.mean
    facts.append((f"{100 * gain:.1f} %", "below the cost of the best fixed action"))
    score = m["score"]
    if score is not None:
        facts.append((f"{score.mean:.2f}", "score: 0 is the best fixed action, 1 the bound nobody can beat"))
    facts.append((f"{100 * arena.headroom.mean:.0f} %", "headroom: what adapting can gain at all here"))
    return facts


def evidence(tables: CostTables) -> dict[str, Any]:
    """How many coefficients behind the numbers are measured, fitted and assumed, and which ones are
    assumed.
    """
    counts = Counter(coefficient.evidence for coefficient in tables.coefficients.values())
    total = max(sum(counts.values()), 1)
    kinds = [(kind, counts[kind], counts[kind] / total) for kind in ("measured", "fitted", "assumed")]
    listed = [
        (name, f"{c.value:g} {c.unit}", c.note or c.source)
        for name, c in assumed(tables.coefficients).items()
    ]
    return {
        "kinds": kinds,
        "total": total,
        "assumed": listed,
        "in_words": assumed_line(tables.coefficients),
    }


def _number(value: Interval | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value.mean:.{digits if abs(value.mean) < 1000.0 else 0}f}"


def _spread(value: Interval | None, digits: int) -> str:
    if value is None or value.low == value.high or abs(value.mean) >= 10.0:
        return ""
    return f"{value.low:.{digits}f} to {value.high:.{digits}f}"


def _percent(value: Interval | None, digits: int = 0) -> str:
    return "-" if value is None else f"{100.0 * value.mean:.{digits}f} %"
