"""What `env.render()` shows: the last request as a line, or the episode so far as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.state import PHASES
from dvfo_env.tables import CostTables

_SHOWN = 60
_COLOURS = {
    "waiting": "#c9ced6",
    "decision": "#9d4edd",
    "transition": "#8d99ae",
    "head": "#2a6f97",
    "encode": "#61a5c2",
    "send": "#f4a259",
    "network": "#f6bd60",
    "server": "#84a98c",
    "receive": "#b5c99a",
    "fallback": "#c1121f",
}


def line(history: list[dict[str, Any]], tables: CostTables) -> str:
    """The last request in one line: what was chosen, what it took, against the deadline."""
    if not history:
        return f"{tables.scenario.name}: no request served yet"
    last = history[-1]
    action = last["action"]
    clocks = "/".join(_mhz(action[part]) for part in ("cpu_mhz", "gpu_mhz", "mem_mhz"))
    late = "LATE" if last["deadline_missed"] else "ok"
    out = " timed out" if last["timed_out"] else ""
    return (
        f"#{len(history):<4d} cut {action['cut']:<24} {action['mapping']:<8} {clocks:>18} MHz  "
        f"{action['compression']:<12} {last['rate_mbps']:7.2f} Mbit/s  {last['latency_ms']:8.1f} ms {late:4} "
        f"{last['energy_mj']:8.1f} mJ  {last['temperature_c']:5.1f} C{out}"
    )


def _mhz(value: str | float) -> str:
    return "-" if float(value) == 0.0 else f"{float(value):.0f}"


def frame(history: list[dict[str, Any]], tables: CostTables) -> NDArray[np.uint8]:
    """The last requests as a picture, uint8 [720, 960, 3]: uplink, cut, clocks, latency by phase and
    deadline.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 7.2), dpi=100, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[1.0, 1.2, 1.2, 1.7])
    figure.suptitle(
        f"{tables.scenario.title}: request {len(history)}", fontsize=12, x=0.01, ha="left", weight="bold"
    )
    shown = history[-_SHOWN:]
    x = np.arange(len(history) - len(shown) + 1, len(history) + 1)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25, linewidth=0.6)
        axis.tick_params(labelsize=8)
    _draw_uplink(axes[0], x, shown)
    _draw_cut(axes[1], x, shown, tables)
    _draw_clocks(axes[2], x, shown, tables)
    _draw_latency(axes[3], x, shown, tables)
    axes[3].set_xlabel("request", fontsize=9)
    first = max(len(history) - _SHOWN, 0)
    axes[3].set_xlim(first + 0.4, first + _SHOWN + 0.6)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return pixels[..., :3].copy()


def _draw_uplink(axis: Any, x: NDArray[np.int64], shown: list[dict[str, Any]]) -> None:
    rates = [max(row["rate_mbps"], 0.05) for row in shown]
    axis.step(x, rates, where="mid", color="#f4a259", linewidth=1.6)
    axis.set_yscale("log")
    axis.set_ylim(0.05, 500.0)
    axis.set_yticks([0.1, 1.0, 10.0, 100.0], ["0.1", "1", "10", "100"])
    axis.minorticks_off()
    axis.set_ylabel("uplink\nMbit/s", fontsize=9)
    lost = [i for i, row in zip(x, shown, strict=True) if row["timed_out"]]
    if lost:
        axis.plot(lost, [0.08] * len(lost), "x", color="#c1121f", markersize=6, label="timed out")
        axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), fontsize=8, frameon=False)


def _draw_cut(axis: Any, x: NDArray[np.int64], shown: list[dict[str, Any]], tables: CostTables) -> None:
    names = [str(name) for name in tables.choices["cut"]]
    axis.step(x, [row["cut_index"] for row in shown], where="mid", color="#2a6f97", linewidth=1.2, alpha=0.5)
    axis.scatter(x, [row["cut_index"] for row in shown], s=14, color="#2a6f97", zorder=3)
    ticks = np.unique(np.linspace(0, len(names) - 1, min(len(names), 5)).astype(int))
    labels = [f"{names[i]} (all here)" if i == len(names) - 1 else names[i].split("/")[0] for i in ticks]
    axis.set_yticks(ticks, labels)
    axis.set_ylim(-0.8, len(names) - 0.2)
    axis.set_ylabel("cut after", fontsize=9)


def _draw_clocks(axis: Any, x: NDArray[np.int64], shown: list[dict[str, Any]], tables: CostTables) -> None:
    colours = {"cpu_mhz": "#6d597a", "gpu_mhz": "#2a9d8f", "mem_mhz": "#b56576"}
    for part, colour in colours.items():
        top = max(float(value) for value in tables.choices[part])
        if top == 0.0 or len(tables.choices[part]) == 1:
            continue
        values = [float(row["action"][part]) / top * 100.0 for row in shown]
        label = f"{part.split('_')[0].upper().replace('MEM', 'memory')} (100 % = {top:.0f} MHz)"
        axis.step(x, values, where="mid", color=colour, linewidth=1.5, label=label)
    axis.set_ylim(0, 108)
    axis.set_ylabel("clocks, %", fontsize=9)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="lower left", bbox_to_anchor=(0.0, 0.97), fontsize=8, frameon=False, ncols=3)


def _draw_latency(axis: Any, x: NDArray[np.int64], shown: list[dict[str, Any]], tables: CostTables) -> None:
    bottom = np.zeros(len(shown))
    for phase in PHASES:
        values = np.array([row[f"{phase}_ms"] for row in shown])
        if len(values) and values.max() > 0.0:
            axis.bar(x, values, bottom=bottom, width=0.9, color=_COLOURS[phase], label=phase)
            bottom += values
    deadline = tables.scenario.requests.deadline_ms
    axis.axhline(deadline, color="#222222", linewidth=1.0, linestyle="--")
    axis.annotate(
        f"deadline {deadline:g} ms", (0.995, deadline), xycoords=("axes fraction", "data"), fontsize=8,
        ha="right", va="bottom",
    )  # fmt: skip
    top = max(float(np.quantile(bottom, 0.97)) * 1.3 if len(bottom) else 0.0, deadline * 1.6)
    axis.set_ylim(0, top)
    axis.set_ylabel("latency, ms", fontsize=9)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 0.97),
            fontsize=8,
            frameon=False,
            ncols=10,
            handlelength=1.0,
        )
