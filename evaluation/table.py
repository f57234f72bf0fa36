"""The results table in the terminal: sorted by cost, the bound last, the verdict under it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from dvfo_env.evidence import assumed_line
from dvfo_evaluation.arena import Arena, verdict
from dvfo_evaluation.measures import Row
from dvfo_evaluation.statistics import Interval

_HEADINGS = ("cost", "score", "ms", "p95", "p99", "mJ", "lost", "late", "saved", "decision")
_WIDTH_IN_A_FILE = 200  # a file has no width: no cell is cut off
_NARROW = (0, 1, 2, 5, 7, 8)  # headings that fit into a terminal of 80 columns


def print_arena(arena: Arena, console: Console | None = None) -> None:
    """Print one scenario's table and, as the first line under it, the plain verdict."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _WIDTH_IN_A_FILE))
    scenario = arena.tables.scenario
    uplink = arena.tables.uplink.name
    title = f"{scenario.name}: {scenario.device}, {scenario.workload}, uplink {uplink}"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("agent", no_wrap=True)
    shown = range(len(_HEADINGS)) if console.width >= 118 else _NARROW
    for heading in (_HEADINGS[i] for i in shown):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in arena.rows:
        style = {"learned": "bold", "bound": "dim", "yardstick": "dim"}.get(row.kind)
        cells = _cells(row)
        name = row.agent
        if row.one_of_several:
            name, style = f"  {name}", None
        table.add_row(name, *(cells[i] for i in shown), style=style)
    console.print(table)
    for line in _notes(arena):
        console.print(line, highlight=False, soft_wrap=True)


def _notes(arena: Arena) -> list[str]:
    """What stands under the table; the verdict first."""
    room = arena.headroom
    lines = [
        f"[bold]{verdict(arena)}[/bold]",
        f"Headroom {100 * room.mean:.1f} % [{100 * room.low:.1f}, {100 * room.high:.1f}]: "
        "what adapting can gain at all over the best fixed action.",
        assumed_line(arena.tables.coefficients),
        f"{len(arena.bound)} held-out episodes; brackets are 95 % intervals; "
        "ms and mJ per request; saved: energy against `performance`.",
    ]
    if arena.swapped_uplink:
        lines.append(
            f"Policies were tuned or trained on uplink {arena.training.uplink.name}, not on this one."
        )
    return [line.replace("% [", "% \\[") for line in lines]


def _cells(row: Row) -> list[str]:
    m = row.measures
    decision = "" if row.decision_us is None else f"{row.decision_us:.0f} us"
    return [
        _with_interval(m["cost"], 3),
        _with_interval(m["score"], 2) if row.kind != "bound" else "1",
        _plain(m["latency_ms"], 1),
        _plain(m["latency_p95_ms"], 0),
        _plain(m["latency_p99_ms"], 0),
        _plain(m["energy_mj"], 0),
        _plain(m["accuracy_lost"], 2),
        _plain(m["deadline_missed"], 1, 100.0, " %"),
        _plain(m["savings"], 0, 100.0, " %"),
        decision,
    ]


def _with_interval(value: Interval | None, digits: int) -> str:
    if value is None:
        return ""
    if abs(value.mean) >= 10.0:
        digits = 1
    return f"{value.mean:.{digits}f} \\[{value.low:.{digits}f}, {value.high:.{digits}f}]"


def _plain(value: Interval | None, digits: int, scale: float = 1.0, unit: str = "") -> str:
    return "" if value is None else f"{value.mean * scale:.{digits}f}{unit}"
