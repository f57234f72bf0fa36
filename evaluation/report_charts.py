"""Charts of one scenario's results: cost, energy against latency, and fronts over preferences."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from dvfo_evaluation.arena import Arena
from dvfo_evaluation.measures import Row
from dvfo_evaluation.pareto import BEST_FIXED, Fronts, pareto_front
from dvfo_evaluation.report_style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    KIND_COLOURS,
    MARKERS,
    ORANGE,
    PAPER,
    PURPLE,
    SKY,
    SOFT,
    VERMILION,
    figure,
    styled,
    svg,
    tip,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Agents worse than this many times the best fixed action are named in a note, not drawn.
_OFF_SCALE = 2.0
#: Named in the chart of energy and latency besides those on the front; the others have tooltips.
_NAMED = ("performance", "best-fixed", "planner", "clairvoyant")
_NAME_ALL = 9  # so few are all named
_LINE = 60  # letters of a note
_NAME_LINE = 26  # letters of a line of names, where points lie on each other
_LETTER = 0.0175  # width of a letter, as a share of the chart's
#: How far above or below its point a name may stand, as shares of the chart's height, nearest first.
_STEPS = tuple(0.03 * k * sign for k in range(20) for sign in ((1, -1) if k else (1,)))


def cost_chart(arena: Arena) -> str:
    """Cost of every agent with its interval, single runs as dots; the bound and the best fixed action as
    lines.
    """
    fixed = next(row for row in arena.rows if row.agent == "best-fixed")
    bound = arena.rows[-1]
    rows, left_out = _drawn(arena)
    single = {row.agent: row.cost.mean for row in arena.rows if row.one_of_several}
    with styled("cost"):
        drawn, (axes,) = figure(0.9 + 0.27 * len(rows))
        for at, row in enumerate(reversed(rows)):
            cost = row.cost
            axes.barh(at, cost.mean, height=0.62, color=KIND_COLOURS[row.kind])
            axes.plot([cost.low, cost.high], [at, at], color=INK, linewidth=1.6, solid_capstyle="butt")
            runs = [single[label] for label in row.runs if label in single]
            axes.plot(runs, [at] * len(runs), "o", color=PAPER, markeredgecolor=INK, markersize=4.5, zorder=4)
            end = max(cost.high, *runs, cost.mean)
            axes.annotate(
                f"{cost.mean:.3f}",
                (end, at),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_yticks(range(len(rows)), [row.agent for row in reversed(rows)])
        axes.tick_params(axis="y", colors=INK)
        axes.grid(axis="y", visible=False)
        for row, style in ((bound, "--"), (fixed, ":")):
            axes.axvline(row.cost.mean, color=INK, linewidth=1.0, linestyle=style, label=row.agent)
        axes.set_xlim(0.0, 1.2 * max(row.cost.high for row in rows))
        axes.set_ylim(-0.6, len(rows) - 0.4)
        dots = "; dots: training seeds" if single else ""
        axes.set_xlabel(f"cost per request, less is better{dots}")
        _note_off_scale(drawn, left_out)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
        costs = ", ".join(f"{row.agent} {row.cost.mean:.3f}" for row in [*rows, *left_out, bound])
        return svg(drawn, f"Cost per request: {costs}")


def _drawn(arena: Arena) -> tuple[list[Row], list[Row]]:
    """(rows to draw, rows off the scale): what is compared, and yardsticks; the bound is drawn as a line."""
    fixed = next(row for row in arena.rows if row.agent == "best-fixed")
    limit = _OFF_SCALE * max(1.0, fixed.cost.mean)
    rows = [row for row in arena.rows[:-1] if not row.one_of_several]
    return [row for row in rows if row.cost.mean <= limit], [row for row in rows if row.cost.mean > limit]


def _note_off_scale(drawn: Figure, rows: list[Row]) -> None:
    """The note on agents that are not drawn, in lines as wide as the figure; axes are narrower."""
    lines, line = [], "off the scale, cost:" if rows else ""
    for row in rows:
        word = f" {row.agent} {row.cost.mean:.1f}{',' if row is not rows[-1] else ''}"
        if len(line) + len(word) > _LINE:
            lines.append(line)
            line = ""
        line += word
    if line:
        drawn.supxlabel("\n".join([*lines, line]))


def trade_chart(arena: Arena) -> str:
    """Energy against latency of every agent, and the front: what no other agent beats in both."""
    compared, left_out = _drawn(arena)
    rows = [row for row in compared if row.measures["latency_ms"] and row.measures["energy_mj"]]
    points = np.array([[_mean(row, "latency_ms"), _mean(row, "energy_mj")] for row in rows])
    on_device = [i for i, row in enumerate(rows) if row.kind != "yardstick"]
    front = [on_device[i] for i in pareto_front(points[on_device])]
    named = [
        i
        for i, row in enumerate(rows)
        if len(rows) <= _NAME_ALL or i in front or row.agent in _NAMED or row.kind == "learned"
    ]
    with styled("trade"):
        drawn, (axes,) = figure(3.9)
        axes.step(*points[front].T, where="post", color=GREY, linewidth=1.2, zorder=1)
        for i, row in enumerate(rows):
            latency, energy = row.measures["latency_ms"], row.measures["energy_mj"]
            assert latency is not None
            assert energy is not None
            colour, x, y = KIND_COLOURS[row.kind], latency.mean, energy.mean
            if i in named:
                axes.plot([latency.low, latency.high], [y, y], color=colour, linewidth=1.0)
                axes.plot([x, x], [energy.low, energy.high], color=colour, linewidth=1.0)
            marker = {"learned": "D", "baseline": "o", "yardstick": "^"}[row.kind]
            axes.plot(
                x, y, marker, color=colour, markersize=7 if i in named else 5, zorder=3,
                markeredgecolor=PAPER, markeredgewidth=0.6,
                gid=tip(f"{row.agent}: {x:.1f} ms, {y:.0f} mJ"),
            )  # fmt: skip
        axes.margins(0.12, 0.12)
        deadline_ms = arena.tables.scenario.requests.deadline_ms
        near = deadline_ms <= 1.4 * points[:, 0].max()
        if near:
            axes.axvline(deadline_ms, color=SOFT, linewidth=0.9, linestyle=":")
        _label_points(
            axes, _joined([(float(points[i, 0]), float(points[i, 1]), rows[i].agent) for i in named])
        )
        axes.set_xlabel(f"mean latency, ms{' (dotted: deadline)' if near else ''}")
        _note_off_scale(drawn, left_out)
        axes.set_ylabel("mean energy per request, mJ")
        return svg(
            drawn,
            "Mean latency against energy per request; no other agent beats these in both: "
            + ", ".join(f"{rows[i].agent} {points[i, 0]:.1f} ms {points[i, 1]:.0f} mJ" for i in front),
        )


def _joined(points: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Points that lie on each other under one name."""
    found: list[tuple[float, float, str]] = []
    for x, y, name in points:
        at = next((i for i, (u, v, _) in enumerate(found) if np.allclose((x, y), (u, v), rtol=2e-3)), None)
        if at is None:
            found.append((x, y, name))
        else:
            found[at] = (*found[at][:2], f"{found[at][2]}, {name}")
    return found


def _mean(row: Row, name: str) -> float:
    value = row.measures[name]
    return float("nan") if value is None else value.mean


def _label_points(axes: Axes, points: list[tuple[float, float, str]]) -> None:
    """Name the points, each at the nearest place where its name covers no other name and no point."""
    (x_low, x_high), (y_low, y_high) = axes.get_xlim(), axes.get_ylim()
    placed = [((x - x_low) / (x_high - x_low), (y - y_low) / (y_high - y_low), name) for x, y, name in points]
    boxes = [(u - 0.015, v - 0.02, u + 0.015, v + 0.02) for u, v, _ in placed]
    for (u, v, name), (x, y, _) in sorted(zip(placed, points, strict=True), key=lambda pair: pair[0][1]):
        lines = textwrap.wrap(name, _NAME_LINE, break_on_hyphens=False)
        width, half = _LETTER * max(map(len, lines)), 0.028 * len(lines)
        for step, side in ((step, side) for step in _STEPS for side in (1, -1)):
            at, near = v + step, u + side * 0.03
            box = (min(near, near + side * width), at - half, max(near, near + side * width), at + half)
            if box[0] > 0.0 and box[2] < 1.02 and not any(_overlap(box, other) for other in boxes):
                break
        boxes.append(box)
        axes.annotate(
            "\n".join(lines), (x, y), xytext=(near, at), textcoords="axes fraction", fontsize=9, zorder=4,
            va="center", ha="left" if side > 0 else "right",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.4, "alpha": 0.75},
            arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.6} if abs(step) > 0.05 else None,
        )  # fmt: skip


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


_FRONT_COLOURS = {BEST_FIXED: BLUE, "clairvoyant": GREY, "planner": GREEN}


def fronts_chart(fronts: Fronts) -> str:
    """Energy against latency of each contestant at several weights of energy; ends name the weight."""
    colours = iter((VERMILION, PURPLE, ORANGE, SKY))
    told = []
    with styled("fronts"):
        drawn, (axes,) = figure(4.2)
        for front, marker in zip(fronts.fronts, MARKERS, strict=False):
            colour = _FRONT_COLOURS.get(front.agent) or next(colours)
            share = f"{100.0 * front.hypervolume:.1f} %"
            axes.plot(
                front.latency_ms, front.energy_mj, color=colour, marker=marker, markersize=5,
                linewidth=1.4, linestyle="--" if front.agent == "clairvoyant" else "-",
                label=f"{front.agent}, hypervolume {share}",
            )  # fmt: skip
            told.append(f"{front.agent} {share}")
        asked = fronts.fronts[0]
        for i in (0, len(asked.eta) - 1):
            axes.annotate(
                f"eta {asked.eta[i]:g}", (asked.latency_ms[i], asked.energy_mj[i]),
                xytext=(8, 8), textcoords="offset points", fontsize=9,
            )  # fmt: skip
        axes.margins(0.1, 0.1)
        axes.set_xlabel("mean latency, ms")
        axes.set_ylabel("mean energy per request, mJ")
        drawn.legend(loc="outside upper left", ncols=1)
        return svg(
            drawn,
            "Energy against latency over the weights of energy; hypervolumes: " + ", ".join(told),
        )
