"""The report's charts as inline SVG that takes its ink from the page, so one file reads in light and in
dark.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.tables import ACTION_PARTS, CPU, CUT, GPU, LEVEL, MEM, CostTables
from dvfo_evaluation.arena import Arena
from dvfo_evaluation.measures import Row
from dvfo_evaluation.runner import Episodes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# stand-ins that become the page's own colours
_INK, _SOFT, _GRID, _PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
_PAGE_COLOURS = {_INK: "var(--ink)", _SOFT: "var(--soft)", _GRID: "var(--grid)", _PAPER: "var(--paper)"}
_COLOURS = ("#3d85c6", "#e07b39", "#2e9e6b", "#b565a7", "#c9a227", "#5aa7a7", "#8a8f98")
_OTHER = "#8a8f98"
_KIND_COLOURS = {"learned": "#e07b39", "baseline": "#3d85c6", "yardstick": "#8a8f98"}
#: Agents worse than this many times the best fixed action are named in a note, not drawn.
_OFF_SCALE = 2.0

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def _figure(width: float, height: float, rows: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(rows, 1, squeeze=False, **options)
    return figure, list(axes[:, 0])


def _svg(figure: Figure, label: str) -> str:
    """The figure as an SVG element for the inside of a page, with an accessible name."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r"<svg ([^>]*?)>", lambda m: _open_tag(m.group(1), label), text, count=1)
    for stand_in, colour in _PAGE_COLOURS.items():
        text = text.replace(stand_in, colour)
    text = re.sub(r"font: ([^;\"]*?)'sans-serif'[^;\"]*", r"font: \1var(--sans)", text)
    return text


def _open_tag(attributes: str, label: str) -> str:
    view = re.search(r'viewBox="[^"]*"', attributes)
    return f'<svg {view.group(0) if view else ""} role="img" aria-label="{label}">'


def _styled(salt: str) -> Any:
    import matplotlib

    return matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt})


def _drawn(arena: Arena) -> tuple[list[Row], list[Row]]:
    """(rows to draw, rows off the scale): what is compared, and yardsticks; the bound is drawn as a line."""
    fixed = next(row for row in arena.rows if row.agent == "best-fixed")
    limit = _OFF_SCALE * max(1.0, fixed.cost.mean)
    rows = [row for row in arena.rows[:-1] if not row.one_of_several]
    return [row for row in rows if row.cost.mean <= limit], [row for row in rows if row.cost.mean > limit]


def cost_chart(arena: Arena) -> str:
    """Cost of every agent with its interval, single runs as dots; the bound and the best fixed action as
    lines.
    """
    fixed = next(row for row in arena.rows if row.agent == "best-fixed")
    bound = arena.rows[-1]
    rows, left_out = _drawn(arena)
    single = {row.agent: row.cost.mean for row in arena.rows if row.one_of_several}
    with _styled("cost"):
        figure, (axes,) = _figure(6.0, 0.9 + 0.3 * len(rows))
        for at, row in enumerate(reversed(rows)):
            cost = row.cost
            axes.barh(at, cost.mean, height=0.62, color=_KIND_COLOURS[row.kind], alpha=0.9)
            axes.plot([cost.low, cost.high], [at, at], color=_INK, linewidth=1.6, solid_capstyle="butt")
            runs = [single[label] for label in row.runs if label in single]
            axes.plot(
                runs, [at] * len(runs), "o", color=_PAPER, markeredgecolor=_INK, markersize=4.5, zorder=4
            )
            axes.text(
                max(cost.high, *runs, cost.mean),
                at,
                f"  {cost.mean:.3f}",
                va="center",
                color=_INK,
                fontsize=9,
            )
        axes.set_yticks(range(len(rows)), [row.agent for row in reversed(rows)])
        axes.tick_params(axis="y", colors=_INK)
        axes.grid(axis="y", visible=False)
        for row, style in ((bound, "--"), (fixed, ":")):
            axes.axvline(row.cost.mean, color=_INK, linewidth=1.0, linestyle=style, label=row.agent)
        axes.set_xlim(0.0, 1.14 * max(row.cost.high for row in rows))
        axes.set_ylim(-0.6, len(rows) - 0.4)
        note = (
            "\noff the scale: " + ", ".join(f"{r.agent} {r.cost.mean:.1f}" for r in left_out)
            if left_out
            else ""
        )
        dots = "; dots: training seeds" if single else ""
        axes.set_xlabel(f"cost per request, less is better{dots}{note}")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        return _svg(figure, "Cost per request of every agent with 95 % intervals")


def trade_chart(arena: Arena) -> str:
    """Latency against energy of every agent; the training seeds of an agent as faint dots around it."""
    rows, _ = _drawn(arena)
    single = {row.agent: row for row in arena.rows if row.one_of_several}
    with _styled("trade"):
        figure, (axes,) = _figure(6.0, 3.6)
        points = []
        for row in rows:
            latency, energy = row.measures["latency_ms"], row.measures["energy_mj"]
            if latency is None or energy is None:
                continue
            colour = _KIND_COLOURS[row.kind]
            axes.errorbar(
                latency.mean, energy.mean,
                xerr=[[max(latency.mean - latency.low, 0.0)], [max(latency.high - latency.mean, 0.0)]],
                yerr=[[max(energy.mean - energy.low, 0.0)], [max(energy.high - energy.mean, 0.0)]],
                fmt="o", color=colour, markersize=6, elinewidth=1.0, zorder=3,
            )  # fmt: skip
            for run in (single[label].measures for label in row.runs if label in single):
                if run["latency_ms"] is not None and run["energy_mj"] is not None:
                    x, y = run["latency_ms"].mean, run["energy_mj"].mean
                    axes.plot(x, y, "o", color=colour, markersize=4, alpha=0.45, zorder=2)
            points.append((latency.mean, energy.mean, row))
        axes.margins(0.16, 0.14)
        deadline_ms = arena.tables.scenario.requests.deadline_ms
        near = deadline_ms <= 1.4 * max(x for x, _, _ in points)
        if near:
            axes.axvline(deadline_ms, color=_SOFT, linewidth=0.9, linestyle=":")
        _label_points(axes, points)
        axes.set_xlabel("mean latency, ms" + (" (dotted: deadline)" if near else ""))
        axes.set_ylabel("energy per request, mJ")
        return _svg(figure, "Mean latency against energy per request")


def _label_points(axes: Axes, points: list[tuple[float, float, Row]]) -> None:
    """Name the points; names that would overlap are stacked upwards, with a line to their point."""
    if not points:
        return
    (x_low, x_high), (y_low, y_high) = axes.get_xlim(), axes.get_ylim()
    taken: list[tuple[float, float]] = []
    for x, y, row in sorted(points, key=lambda point: point[1]):
        u, v = (x - x_low) / (x_high - x_low), (y - y_low) / (y_high - y_low)
        leftwards = u > 0.7
        at = v + 0.035  # above the error bars
        while any(abs(at - other_v) < 0.065 and abs(u - other_u) < 0.3 for other_u, other_v in taken):
            at += 0.03
        taken.append((u, at))
        axes.annotate(
            row.agent, (x, y), xytext=(u + (-0.025 if leftwards else 0.025), at), textcoords="axes fraction",
            ha="right" if leftwards else "left", va="center", fontsize=9, color=_INK, zorder=2,
            bbox={"facecolor": _PAPER, "edgecolor": "none", "pad": 1.0, "alpha": 0.8},
            arrowprops={"arrowstyle": "-", "color": _GRID, "linewidth": 0.8} if at - v > 0.07 else None,
        )  # fmt: skip


def behaviour_chart(tables: CostTables, episodes: Episodes) -> str:
    """What a policy does against the bandwidth there is: shares of cut and level, and the clocks in force."""
    moments = episodes.moments
    rates = moments.rate_mbps
    edges = np.unique(np.quantile(rates, np.linspace(0.0, 1.0, 11)))
    if len(edges) < 2:
        edges = np.array([edges[0], edges[0] + 1.0])
    group = np.clip(np.searchsorted(edges, rates, side="right") - 1, 0, len(edges) - 2)
    places = np.arange(len(edges) - 1)
    with _styled("behaviour"):
        figure, (choices, clocks) = _figure(6.0, 4.6, 2, sharex=True, height_ratios=(3, 2))
        names, shares = _choice_shares(tables, moments.action, group, len(edges) - 1)
        below = np.zeros(len(edges) - 1)
        for name, share, colour in zip(
            names, shares, (*_COLOURS[: len(names) - 1], _last_colour(names)), strict=True
        ):
            choices.bar(places, share, 0.92, bottom=below, label=name, color=colour, linewidth=0)
            below += share
        choices.set_ylabel("share of requests")
        choices.set_ylim(0.0, 1.0)
        choices.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        for column, (part, label) in enumerate(((CPU, "CPU"), (GPU, "GPU"), (MEM, "memory"))):
            values = np.array([float(v) for v in tables.choices[ACTION_PARTS[part]]])
            if len(values) < 2:
                continue
            mhz = values[moments.clocks[:, column]]
            means = [float(np.mean(mhz[group == g])) if (group == g).any() else np.nan for g in places]
            clocks.plot(places, means, marker="o", markersize=3.5, color=_COLOURS[column], label=label)
        clocks.set_ylabel("mean clock, MHz")
        clocks.set_ylim(bottom=0.0)
        if clocks.get_legend_handles_labels()[0]:
            clocks.legend(loc="lower right", bbox_to_anchor=(1.0, 0.94), ncols=3)
        else:
            clocks.text(0.5, 0.5, "no clock to choose", transform=clocks.transAxes, ha="center", color=_SOFT)
        clocks.set_xticks(np.arange(len(edges)) - 0.5, [_rate_text(edge) for edge in edges])
        clocks.grid(axis="x", visible=False)
        choices.grid(visible=False)
        clocks.set_xlabel("true bandwidth when service began, Mbit/s (columns of equal count)")
        return _svg(figure, "Chosen cut, compression and clocks against bandwidth")


def _last_colour(names: list[str]) -> str:
    return _OTHER if names[-1] == "other" else _COLOURS[len(names) - 1]


def _choice_shares(
    tables: CostTables, actions: NDArray[np.int64], group: NDArray[np.int64], groups: int
) -> tuple[list[str], list[NDArray[np.float64]]]:
    """Names and shares [groups] of the most frequent (cut, level) pairs; the rest is "other"."""
    local = tables.sizes[CUT] - 1
    codes = actions[:, CUT] * 1000 + np.where(actions[:, CUT] < local, actions[:, LEVEL], 0)
    found, counts = np.unique(codes, return_counts=True)
    frequent = found[np.argsort(-counts, kind="stable")][: len(_COLOURS) - 1]
    total = np.maximum(np.bincount(group, minlength=groups), 1)
    names, shares = [], []
    for code in frequent:
        cut, level = int(code) // 1000, int(code) % 1000
        name = f"cut at {tables.choices['cut'][cut]}, {tables.encoders[cut][level]}"
        names.append("all on the device" if cut == local else name)
        shares.append(np.bincount(group[codes == code], minlength=groups) / total)
    if len(frequent) < len(found):
        names.append("other")
        shares.append(np.clip(1.0 - np.sum(shares, axis=0), 0.0, 1.0))
    return names, shares


def _rate_text(rate_mbps: float) -> str:
    return f"{rate_mbps:.0f}" if rate_mbps >= 9.95 else f"{rate_mbps:.1f}"


def _bandwidth_axis(axis: Any, log2_values: NDArray[np.float64]) -> None:
    low, high = int(np.floor(log2_values.min())), int(np.ceil(log2_values.max()))
    ticks = list(range(high, low - 1, -max(-(-(high - low) // 4), 1)))
    axis.set_ticks(ticks, [f"{2.0**tick:.3g}" for tick in ticks])


def timeline_chart(tables: CostTables, episodes: Episodes, requests: int = 160) -> str:
    """One episode: bandwidth, cut, clocks, and latency against the deadline."""
    moments = episodes.moments
    chosen = np.flatnonzero(moments.episode == 0)[:requests]
    seconds = moments.arrival_ms[chosen] / 1000.0
    with _styled("timeline"):
        figure, (rate, cut, clocks, latency) = _figure(6.0, 6.4, 4, sharex=True, height_ratios=(3, 3, 3, 4))
        logs = np.log2(np.maximum(moments.rate_mbps[chosen], 2.0**-4))
        rate.fill_between(
            seconds, logs, logs.min() - 0.2, step="post", color=_COLOURS[5], alpha=0.35, linewidth=0
        )
        rate.step(seconds, logs, where="post", color=_COLOURS[5], linewidth=1.1)
        _bandwidth_axis(rate.yaxis, logs)
        rate.set_title("true bandwidth, Mbit/s", color=_SOFT)
        cuts = moments.action[chosen, CUT]
        used = np.unique(cuts)
        cut.scatter(seconds, np.searchsorted(used, cuts), s=7, color=_COLOURS[0])
        local = tables.sizes[CUT] - 1
        names = ["all on the device" if int(c) == local else str(tables.choices["cut"][int(c)]) for c in used]
        cut.set_yticks(range(len(used)), names)
        cut.set_ylim(-0.7, len(used) - 0.3)
        cut.set_title("cut", color=_SOFT)
        for column, (part, label) in enumerate(((CPU, "CPU"), (GPU, "GPU"), (MEM, "memory"))):
            values = np.array([float(v) for v in tables.choices[ACTION_PARTS[part]]])
            if len(values) > 1:
                share = values[moments.clocks[chosen, column]] / values[-1]
                clocks.step(
                    seconds, 100.0 * share, where="post", linewidth=1.1, color=_COLOURS[column], label=label
                )
        if clocks.get_legend_handles_labels()[0]:
            clocks.legend(loc="lower right", ncols=3)
        clocks.set_ylim(0.0, 108.0)
        clocks.set_title("clocks in force, % of the highest", color=_SOFT)
        deadline_ms = tables.scenario.requests.deadline_ms
        late = moments.latency_ms[chosen] > deadline_ms
        values_ms = moments.latency_ms[chosen]
        for mask, colour, label in ((~late, _COLOURS[0], "in time"), (late, _COLOURS[1], "late")):
            if mask.any():
                latency.scatter(seconds[mask], values_ms[mask], s=8, color=colour, label=label)
        latency.axhline(deadline_ms, color=_INK, linewidth=0.9, linestyle="--", label="deadline")
        if values_ms.max() > 8.0 * deadline_ms:
            latency.set_yscale("log")
        else:
            latency.set_ylim(bottom=0.0)
        latency.legend(loc="best", ncols=3)
        latency.set_title("latency, ms", color=_SOFT)
        latency.set_xlabel("time, s")
        return _svg(figure, "One episode: bandwidth, cut, clocks, latency")
