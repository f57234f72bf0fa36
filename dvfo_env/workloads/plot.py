"""A workload as a picture: what would be sent at each cut, and what has been computed by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dvfo_env.errors import ConfigError
from dvfo_env.whole_file import whole_file
from dvfo_env.workloads.card import WorkloadCard

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_SENT, _FLOPS, _TRAFFIC = "#0b7285", "#d9480f", "#868e96"
_TIMES = (
    ("#1864ab", "solid"),
    ("#5f3dc4", (0, (6, 4))),
    ("#2b8a3e", (0, (1, 1.5))),
    ("#a61e4d", (0, (4, 2, 1, 2))),
)


def plot_workload(
    card: WorkloadCard, file: str | PathLike[str], head_ms: Mapping[str, Sequence[float]] | None = None
) -> Path:
    """Draw a card to a picture file; returns its path.

    Above, for every cut, the bytes it sends with 8-bit features, with a line across for the raw input's.
    Below, the share of FLOPs and of memory traffic done before the cut: time follows the one on devices bound
    by arithmetic and the other on those bound by memory. Where times are given, theirs is drawn, too.

    Args:
        card: the workload.
        file: where to draw; its ending names the format.
        head_ms: label -> latency (ms) of what lies before each cut, [cuts], the last the whole network.

    Raises:
        ConfigError: the file's ending is no picture format, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    count = len(card.cuts)
    figure = Figure(figsize=(max(7.5, 2.2 + 0.36 * count), 6.2), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.15, 1])
    _draw_sent(above, card)
    _draw_done(below, card, head_ms or {})
    for axes in (above, below):
        _style(axes, count)
    figure.suptitle(
        f"{card.title}: where it can be cut", x=0.012, ha="left", fontsize=12.5, color=_INK, fontweight="bold"
    )
    path = Path(file)
    try:
        with whole_file(path) as beside:
            figure.savefig(beside, dpi=160)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}".replace("\n", " ")) from error
    return path


def _draw_sent(above: Axes, card: WorkloadCard) -> None:
    """Bytes sent at each cut, a line across for the raw input's, and how many tensors cross."""
    from matplotlib.ticker import FuncFormatter

    cuts = np.arange(len(card.cuts))
    sent = card.elements / 1000
    smaller = card.elements < card.input_bytes
    colours = [_SENT if less else "#a5c9cf" for less in smaller]
    above.bar(cuts, sent, width=0.66, color=colours, zorder=3)
    above.axhline(sent[0], color=_INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=4)
    above.set_yscale("log")
    lowest = min(value for value in sent if value > 0)
    above.set_ylim(10 ** np.floor(np.log10(lowest * 0.999)), sent.max() * 6)
    above.minorticks_off()
    above.set_ylabel("sent at the cut (8 bit)")
    above.yaxis.set_major_formatter(FuncFormatter(_size))
    for cut in range(len(cuts)):
        if sent[cut]:
            above.annotate(
                _size(sent[cut], None),
                (cut, sent[cut]),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                rotation=90 if len(cuts) > 12 else 0,
                fontsize=7.5,
                color=_INK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
                zorder=6,
            )
            crossing = len(card.cuts[cut].tensors)
            if crossing > 1:
                above.text(
                    cut, above.get_ylim()[0] * 1.25, f"{crossing} tensors", rotation=90, ha="center",
                    va="bottom", fontsize=7, color="white" if smaller[cut] else _INK, zorder=5,
                )  # fmt: skip
    above.text(
        1.0, 1.015, f"dashed: the raw input, {_size(sent[0], None)}; dark: cuts that send less",
        transform=above.transAxes, ha="right", va="bottom", fontsize=8, color=_MUTED,
    )  # fmt: skip


def _draw_done(below: Axes, card: WorkloadCard, head_ms: Mapping[str, Sequence[float]]) -> None:
    """Share of FLOPs, of memory traffic and of the given times done before each cut."""
    from matplotlib.ticker import PercentFormatter

    cuts = np.arange(len(card.cuts))
    traffic = np.concatenate([[0.0], np.cumsum(card.traffic_bytes)])
    traffic = traffic / (traffic[-1] or 1.0)
    below.fill_between(cuts, card.depth, color=_FLOPS, alpha=0.10, linewidth=0)
    below.plot(cuts, card.depth, color=_FLOPS, linewidth=3, marker="o", markersize=5.5, zorder=4)
    below.plot(cuts, traffic, color=_TRAFFIC, linewidth=1.6, linestyle=(0, (5, 2)), zorder=3)
    for (label, times), (colour, dashes) in zip(head_ms.items(), _TIMES, strict=False):
        share = np.asarray(times) / (times[-1] or 1.0)
        title = f"time, {label} (all: {times[-1]:{',.0f' if times[-1] >= 100 else '.3g'}} ms)"
        below.plot(cuts, share, color=colour, linewidth=1.5, linestyle=dashes, label=title, zorder=5)
    below.set_ylim(0, 1.04)
    below.yaxis.set_major_formatter(PercentFormatter(1.0))
    below.set_ylabel("done before the cut")
    total = card.flops.sum() / 1e9
    below.plot(
        [], [], color=_FLOPS, linewidth=2, marker="o", markersize=4, label=f"FLOPs (all: {total:.3g} GFLOP)"
    )
    below.plot(
        [], [], color=_TRAFFIC, linewidth=1.6, linestyle=(0, (5, 2)),
        label=f"memory traffic (all: {card.traffic_bytes.sum() / 1e6:,.0f} MB in fp32)",
    )  # fmt: skip
    below.legend(loc="upper left", frameon=False, fontsize=8.5, labelcolor=_INK)
    below.set_xticks(
        cuts,
        [_short(name) for name in card.cut_names],
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        fontsize=8,
    )
    below.set_xlim(-0.7, len(cuts) - 0.3)


def _style(axes: Axes, count: int) -> None:
    """Quiet frame, and a thin line at each of `count` cuts."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.tick_params(colors=_INK, length=0)
    axes.yaxis.label.set_color(_INK)
    axes.grid(axis="y", color=_GRID, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    for cut in range(count):
        axes.axvline(cut, color=_GRID, linewidth=0.6, zorder=0)


def _short(name: str) -> str:
    return name if len(name) <= 24 else "..." + name[-22:]


def _size(kilobytes: float, _: object) -> str:
    if kilobytes >= 1000:
        return f"{kilobytes / 1000:.3g} MB"
    return f"{kilobytes:.3g} kB" if kilobytes >= 1 else f"{kilobytes * 1000:.3g} B"
