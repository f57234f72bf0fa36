"""A table as a picture: bytes against what compression costs, a curve for every cut and image codec."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from dvfo_env.accuracy.pareto import charged_points, worth_choosing
from dvfo_env.accuracy.table import AccuracyTable, Row
from dvfo_env.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
#: Families of image codecs at the input, by the beginning of their names.
_IMAGES = (("jpeg", "JPEG", "#c92a2a", "s"), ("webp-q", "WebP", "#d9480f", "D"))
_LOSSLESS = ("#5f3d2e", "P")
_LOSSLESS_NAMES = {"webp-lossless": "WebP lossless", "png": "PNG", "raw": "raw"}
#: Points lost up to which the axis is linear, and where it ends.
_LINEAR, _WORST = 1.0, 60.0
_TICKS = (0, 0.5, 1, 2, 5, 10, 20, 50)


def plot_table(table: AccuracyTable, file: str | PathLike[str]) -> Path:
    """Draw a table to a picture file; returns its path.

    Upwards is better: points of accuracy lost, or of agreement missing where the table charges agreement.
    A line joins the settings of a cut that no other of the same cut beats; the others are faint dots. Rings
    mark those that no setting of any cut beats.

    Raises:
        ConfigError: the file's ending is no picture format, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 6.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    rows = table.all_rows()
    input_cut = rows[0].cut if rows[0].codec == _image_of(rows[0]) else ""
    cuts = [cut for cut in dict.fromkeys(row.cut for row in rows) if cut != input_cut]
    _draw_features(axes, table, [row for row in rows if row.cut != input_cut], cuts)
    _draw_images(axes, table, [row for row in rows if row.cut == input_cut])
    _mark_best(axes, table, rows)
    _dress(axes, table)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8.5, labelcolor=_INK)
    path = Path(file)
    try:
        figure.savefig(path, dpi=120)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}".replace("\n", " ")) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def _image_of(row: Row) -> str:
    """The codec's name where it is an image codec's, which has no entropy coder in its name."""
    return row.codec if row.codec.split("-")[0] in ("raw", "png", "webp", "jpeg") else ""


def _draw_features(axes: Axes, table: AccuracyTable, rows: Sequence[Row], cuts: Sequence[str]) -> None:
    from matplotlib import colormaps

    colours = colormaps["viridis"]
    for number, cut in enumerate(cuts):
        here = [row for row in rows if row.cut == cut]
        best = sorted(worth_choosing(here, table.charges), key=lambda row: row.bytes_mean)
        colour = colours(0.92 * number / max(1, len(cuts) - 1))
        others = [row for row in here if row not in best]
        axes.scatter(*_places(table, others), s=5, color=colour, alpha=0.22, linewidths=0, zorder=2)
        axes.plot(
            *_places(table, best),
            color=colour,
            linewidth=1.3,
            marker="o",
            markersize=3.6,
            label=cut,
            zorder=3,
        )


def _draw_images(axes: Axes, table: AccuracyTable, rows: Sequence[Row]) -> None:
    drawn: set[str] = set()
    for prefix, label, colour, marker in _IMAGES:
        family = sorted((r for r in rows if r.codec.startswith(prefix)), key=lambda row: row.bytes_mean)
        drawn |= {row.codec for row in family}
        if family:
            axes.plot(
                *_places(table, family), color=colour, linewidth=2.2, linestyle=(0, (5, 2)), marker=marker,
                markersize=6, label=f"{label} of the input", zorder=5,
            )  # fmt: skip
    for row in rows:
        if row.codec not in drawn:
            colour, marker = _LOSSLESS
            axes.scatter(*_places(table, [row]), s=48, color=colour, marker=marker, zorder=5)
            axes.annotate(
                _LOSSLESS_NAMES.get(row.codec, row.codec),
                (row.bytes_mean, charged_points(row, table.charges)),
                xytext=(-3, 6),
                textcoords="offset points",
                rotation=62,
                rotation_mode="anchor",
                fontsize=8,
                color=colour,
            )


def _mark_best(axes: Axes, table: AccuracyTable, rows: Sequence[Row]) -> None:
    """Rings around what no setting of any cut beats."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.bytes_mean, charged_points(row, table.charges))):
        if not best or charged_points(row, table.charges) < charged_points(best[-1], table.charges):
            best.append(row)
    shown = [row for row in best if charged_points(row, table.charges) <= _WORST]
    axes.scatter(
        *_places(table, shown), s=110, facecolors="none", edgecolors=_INK, linewidths=1.3, zorder=6,
        label="best of all cuts",
    )  # fmt: skip


def _places(table: AccuracyTable, rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    shown = [row for row in rows if charged_points(row, table.charges) <= _WORST]
    return [row.bytes_mean for row in shown], [charged_points(row, table.charges) for row in shown]


def _dress(axes: Axes, table: AccuracyTable) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=_LINEAR, linscale=0.8)
    axes.set_ylim(_WORST, -0.6)
    axes.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(_size))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    what = "accuracy lost" if table.charges == "accuracy" else "answers that differ from the uncompressed"
    axes.set_ylabel(f"{what}, points (up is better)", color=_INK)
    axes.set_xlabel("bytes sent for one image, mean", color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.tick_params(colors=_INK, length=0, labelsize=9)
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(_title(table), loc="left", fontsize=11.5, color=_INK, fontweight="bold")


def _title(table: AccuracyTable) -> str:
    if table.data is None or table.baseline is None:
        return table.title
    accuracy = f"uncompressed {table.baseline.accuracy:.1%} right"
    kinds = "" if table.data.clusters == table.data.images else f" of {table.data.clusters} photographs"
    return f"{table.title.split(', measured on')[0]}\n{accuracy}, {table.data.images:,} images{kinds}"


def _size(value: float, _: object) -> str:
    return f"{value / 1000:g} kB" if value >= 1000 else f"{value:g} B"
