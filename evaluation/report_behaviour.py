"""Charts of what a policy does: maps over bandwidth and temperature, and a time line of one episode."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.tables import ACTION_PARTS, CPU, CUT, GPU, MAPPING, MEM, CostTables
from dvfo_evaluation.behaviour import DecisionMap, Record
from dvfo_evaluation.report_style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    figure,
    styled,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REQUESTS = 160  # on a time line
_CLOCKS = ((CPU, "CPU", BLUE), (GPU, "GPU", VERMILION), (MEM, "memory", PURPLE))
_PARTS = {CUT: "cut", MAPPING: "mapping", CPU: "CPU clock", GPU: "GPU clock"}
_MOST_NAMES = 8  # in a legend
_LOCAL, _LOCAL_COLOUR = "all on the device", "#d9d9d9"


def map_charts(
    tables: CostTables, maps: dict[str, DecisionMap]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(what, chart) of the cut and of each clock there is to choose, policies side by side; and, where all
    of them choose the same everywhere, (what, choice) in the place of a chart.
    """
    charts, everywhere = [], []
    for part, what in _PARTS.items():
        used = np.unique(np.concatenate([shown.actions[..., part].ravel() for shown in maps.values()]))
        if tables.sizes[part] > 1 and len(used) > 1:
            charts.append((what, _map_chart(tables, part, maps)))
        elif tables.sizes[part] > 1:
            everywhere.append((what, choice_name(tables, part, int(used[0]))))
    return charts, everywhere


def _map_chart(tables: CostTables, part: int, maps: dict[str, DecisionMap]) -> str:
    from matplotlib.patches import Patch

    used = np.unique(np.concatenate([shown.actions[..., part].ravel() for shown in maps.values()]))
    names = [choice_name(tables, part, int(index)) for index in used]
    colours = _colours(names)
    with styled(f"map-{part}"):
        heats = any(len(shown.temperature_c) > 1 for shown in maps.values())
        drawn, axes = figure(2.9 if heats else 1.5, 1, columns=len(maps), sharey=True)
        for axis, (name, shown) in zip(axes, maps.items(), strict=True):
            _draw_map(axis, shown, np.searchsorted(used, shown.actions[..., part]), colours)
            axis.set_title(name)
            axis.set_xlabel("bandwidth seen, Mbit/s")
        if heats:
            axes[0].set_ylabel("temperature, °C")
        every = -(-len(used) // _MOST_NAMES)
        keys = [Patch(color=c, label=n) for c, n in zip(colours[::every], names[::every], strict=True)]
        longest = max(len(name) for name in names)
        drawn.legend(handles=keys, loc="outside lower center", ncols=max(1, min(4, 44 // (longest + 5))))
        told = "; ".join(f"{name}: {_most(shown, used, names, part)}" for name, shown in maps.items())
        return svg(drawn, f"Chosen {_PARTS[part]} over bandwidth seen and temperature. {told}")


def choice_name(tables: CostTables, part: int, index: int) -> str:
    """A choice of an action part as people call it."""
    if part == CUT:
        local = tables.sizes[CUT] - 1
        return _LOCAL if index == local else f"cut at {tables.choices['cut'][index]}"
    value = tables.choices[ACTION_PARTS[part]][index]
    return str(value) if part == MAPPING else f"{float(value):g} MHz"


def _colours(names: list[str]) -> list[str]:
    """Dark to bright in the order of the choices, which also reads in grey; the last cut is light grey."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    scale = mpl.colormaps["viridis"]
    cuts = [name for name in names if name != _LOCAL]
    found = {name: to_hex(scale(0.05 + 0.9 * i / max(len(cuts) - 1, 1))) for i, name in enumerate(cuts)}
    return [found.get(name, _LOCAL_COLOUR) for name in names]


def _draw_map(axis: Axes, shown: DecisionMap, classes: NDArray[np.int64], colours: list[str]) -> None:
    """One rectangle for every stretch of bandwidths with the same choice; rows overlap: no seams."""
    rates, heat = np.log2(shown.rate_mbps), shown.temperature_c
    step = rates[1] - rates[0]
    height = heat[1] - heat[0] if len(heat) > 1 else 1.0
    for row, temperature in zip(classes, heat, strict=True):
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        widths = np.diff(np.append(starts, len(row))) * step
        spans = list(zip(rates[starts] - 0.5 * step, widths, strict=True))
        axis.broken_barh(
            spans, (temperature - 0.5 * height, 1.1 * height), facecolors=[colours[row[i]] for i in starts],
            antialiased=False, linewidth=0,
        )  # fmt: skip
    axis.set_xlim(rates[0] - 0.5 * step, rates[-1] + 0.5 * step)
    axis.set_ylim(heat[0] - 0.5 * height, heat[-1] + 0.5 * height)
    _bandwidth_axis(axis.xaxis, rates)
    axis.grid(visible=False)
    if len(heat) == 1:
        axis.set_yticks([])


def _most(shown: DecisionMap, used: NDArray[np.int64], names: list[str], part: int) -> str:
    """The most frequent choices of a map in words."""
    counts = np.bincount(np.searchsorted(used, shown.actions[..., part]).ravel(), minlength=len(used))
    ranked = [i for i in np.argsort(-counts, kind="stable") if counts[i] > 0][:3]
    return ", ".join(f"{names[i]} {100.0 * counts[i] / counts.sum():.0f} %" for i in ranked)


def _bandwidth_axis(axis: object, log2_values: NDArray[np.float64]) -> None:
    low, high = int(np.floor(log2_values.min())), int(np.ceil(log2_values.max()))
    ticks = [t for t in range(high, low - 1, -max(-(-(high - low) // 4), 1))]
    inside = [t for t in ticks if log2_values.min() - 0.2 <= t <= log2_values.max() + 0.2] or ticks
    names = [f"{2.0**tick:.0f}" if tick >= 0 else f"{2.0**tick:.2g}" for tick in inside]
    axis.set_ticks(inside, names)  # type: ignore[attr-defined]


def timeline_chart(tables: CostTables, met: Record) -> tuple[str, str]:
    """(caption, chart) of one episode: bandwidth, cut, latency, clocks and temperature, time-outs marked."""
    n = met.most_varied()
    at = np.flatnonzero(met.ran[:, n])[:_REQUESTS], n
    one = _Episode(
        met.arrival_ms[at] / 1000.0, met.rate_mbps[at], met.actions[at], met.clocks[at], met.latency_ms[at],
        met.temperature_c[at], met.timed_out[at],
    )  # fmt: skip
    rows = [_rate_panel, _cut_panel, _latency_panel, _clock_panel]
    if tables.params[0]["thermal"]:
        rows.append(_temperature_panel)
    if all(tables.sizes[part] == 1 for part, _, _ in _CLOCKS):
        rows.remove(_clock_panel)
    with styled("timeline"):
        heights = [1.0 if panel is not _latency_panel else 1.5 for panel in rows]
        drawn, axes = figure(1.25 * sum(heights), len(rows), sharex=True, height_ratios=heights)
        for axis, panel in zip(axes, rows, strict=True):
            panel(axis, tables, one)
        axes[-1].set_xlabel("time, s")
        late = (one.latency_ms > tables.scenario.requests.deadline_ms).sum()
        caption = (
            f"the first {len(one.seconds)} requests of the one of {met.ran.shape[1]} held-out episodes in "
            f"which bandwidth changes most: {late} late ({one.timed_out.sum()} timed out), "
            f"{met.dropped[at].sum():.0f} dropped"
        )
        return caption, svg(drawn, f"One episode: bandwidth, cut, latency, clocks, temperature; {caption}")


class _Episode(NamedTuple):
    """One episode; columns as in `Record`, one row for each request."""

    seconds: NDArray[np.float64]
    rate_mbps: NDArray[np.float64]
    actions: NDArray[np.int64]
    clocks: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    temperature_c: NDArray[np.float64]
    timed_out: NDArray[np.bool_]


def _rate_panel(axis: Axes, tables: CostTables, met: _Episode) -> None:
    del tables
    logs = np.log2(np.maximum(met.rate_mbps, 2.0**-4))
    axis.fill_between(met.seconds, logs, logs.min() - 0.2, step="post", color=SKY, alpha=0.35, linewidth=0)
    axis.step(met.seconds, logs, where="post", color=BLUE, linewidth=1.1)
    _bandwidth_axis(axis.yaxis, logs)
    axis.set_title("true bandwidth, Mbit/s")


def _cut_panel(axis: Axes, tables: CostTables, met: _Episode) -> None:
    cuts = met.actions[:, CUT]
    used = np.unique(cuts)
    axis.scatter(met.seconds, np.searchsorted(used, cuts), s=7, color=BLUE)
    names = [choice_name(tables, CUT, int(cut)).removeprefix("cut at ") for cut in used]
    axis.set_yticks(range(len(used)), ["device" if name == _LOCAL else name for name in names])
    axis.set_ylim(-0.7, len(used) - 0.3)
    axis.set_title("cut")


def _latency_panel(axis: Axes, tables: CostTables, met: _Episode) -> None:
    deadline_ms = tables.scenario.requests.deadline_ms
    latency_ms, timed_out = met.latency_ms, met.timed_out
    late = (latency_ms > deadline_ms) & ~timed_out
    kinds = (
        (~late & ~timed_out, BLUE, "o", "in time"),
        (late, ORANGE, "s", "late"),
        (timed_out, VERMILION, "X", "timed out"),
    )
    for mask, colour, marker, label in kinds:
        if mask.any():
            axis.scatter(
                met.seconds[mask],
                latency_ms[mask],
                s=12,
                marker=marker,
                color=colour,
                label=label,
                linewidth=0,
            )
    axis.axhline(deadline_ms, color=INK, linewidth=0.9, linestyle="--", label="deadline")
    if latency_ms.max() > 8.0 * deadline_ms:
        axis.set_yscale("log")
    else:
        axis.set_ylim(0.0, 1.1 * max(latency_ms.max(), deadline_ms))
    axis.set_title("latency, ms")
    axis.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.0, handletextpad=0.2,
        columnspacing=0.8,
    )  # fmt: skip


def _clock_panel(axis: Axes, tables: CostTables, met: _Episode) -> None:
    for column, (part, label, colour) in enumerate(_CLOCKS):
        values = np.array([float(v) for v in tables.choices[ACTION_PARTS[part]]])
        if len(values) > 1:
            share = 100.0 * values[met.clocks[:, column]] / values[-1]
            style = ("-", "--", ":")[column]
            axis.step(
                met.seconds, share, where="post", linewidth=1.2, linestyle=style, color=colour, label=label
            )
    axis.set_ylim(0.0, 108.0)
    axis.set_title("clocks, % of highest")
    axis.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=3,
        borderaxespad=0.0,
        columnspacing=0.8,
        handlelength=1.4,
    )


def _temperature_panel(axis: Axes, tables: CostTables, met: _Episode) -> None:
    heat = met.temperature_c
    axis.plot(met.seconds, heat, color=GREEN, linewidth=1.3)
    trips = tables.params[0]["trip_c"][: int(tables.params[0]["n_trips"])]
    for trip in trips[trips < heat.max() + 5.0]:
        axis.axhline(trip, color=INK, linewidth=0.9, linestyle=":")
    axis.set_ylim(min(heat.min(), 0.5 * (heat.min() + heat.max()) - 1.0), None)
    axis.margins(y=0.15)
    axis.set_title("temperature, °C")
