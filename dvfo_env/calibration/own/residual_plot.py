"""A picture of how far a fit lies from every measured point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvfo_env.errors import ConfigError
from dvfo_env.whole_file import whole_file

_COLOURS = ("#3d85c6", "#e07b39", "#2e9e6b", "#b565a7", "#c9a227", "#5aa7a7", "#8a8f98")


def plot_residuals(residuals: Sequence[dict[str, Any]], path: Path | str, title: str) -> None:
    """Draw fitted against measured, one panel per quantity, workload and mapping; PNG, SVG or PDF by suffix.

    Across: the GPU clock on the GPU, else the CPU clock, where the points vary it. Colours are memory clocks.

    Raises:
        ConfigError: the file cannot be written, or its suffix is not a picture's.
    """
    from matplotlib.figure import Figure

    panels: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in residuals:
        power = row["quantity"] == "power"
        key = (row["quantity"], "" if power else row["workload"], "" if power else row["mapping"])
        panels.setdefault(key, []).append(row)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(1.0 + 3.6 * columns, 0.8 + 2.9 * lines), layout="constrained", dpi=110)
    memories = sorted({row["mem_mhz"] or 0.0 for row in residuals})
    colours = {mhz: _COLOURS[i % len(_COLOURS)] for i, mhz in enumerate(memories)}
    for index, (key, rows) in enumerate(panels.items()):
        axes = figure.add_subplot(lines, columns, index + 1)
        _panel(axes, " ".join(filter(None, key)), rows, colours)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    try:
        with whole_file(path) as file:
            figure.savefig(file)
    except ValueError:
        raise ConfigError(f"{path}: expected a name that ends in .png, .svg or .pdf") from None


def _panel(axes: Any, name: str, rows: list[dict[str, Any]], colours: dict[float, str]) -> None:
    clock, label = next(
        (
            (field, f"{text} clock (MHz)")
            for field, text in (("gpu_mhz", "GPU"), ("cpu_mhz", "CPU"), ("mem_mhz", "memory"))
            if len({row[field] for row in rows}) > 1
        ),
        (None, "measured, in order"),
    )
    for mhz, colour in colours.items():
        chosen = [(i, row) for i, row in enumerate(rows) if (row["mem_mhz"] or 0.0) == mhz]
        across = [row[clock] if clock else i for i, row in chosen]
        up = [row["residual_percent"] for _, row in chosen]
        text = f"memory {mhz:g} MHz" if mhz else None
        axes.plot(across, up, "o", color=colour, label=text if chosen else None, markersize=5, alpha=0.85)
    axes.axhline(0.0, color="#8a8f98", linewidth=0.8)
    largest = max(0.5, 1.2 * max(abs(row["residual_percent"]) for row in rows))
    axes.set_ylim(-largest, largest)
    axes.set_title(name, loc="left", fontsize=9)
    axes.set_xlabel(label, fontsize=8)
    axes.set_ylabel("fitted - measured (%)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if len(colours) > 1:
        axes.legend(fontsize=7, frameon=False)
