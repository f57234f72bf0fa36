"""How the report's charts look: figures as inline SVG, dark on white, in colours that the colour-blind tell
apart.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GRID, PAPER = "#1d2127", "#525a64", "#dfe2e6", "#ffffff"
#: Okabe and Ito, "Color universal design" (2008), darkest first.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f98",
)  # fmt: skip
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
KIND_COLOURS = {"learned": VERMILION, "baseline": BLUE, "yardstick": GREY}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

#: Charts are drawn as wide as a phone shows them, so that their letters keep their size there.
WIDTH_IN = 4.8

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.labelsize": 10,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def figure(height_in: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the common width with `rows` axes below each other, or `columns` beside each other."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasSVG(drawn)
    axes = drawn.subplots(rows, columns, squeeze=False, **options)
    return drawn, list(axes.ravel())


def styled(salt: str) -> Any:
    """The context in which a chart is drawn; `salt` keeps its inner names apart from other charts'."""
    import matplotlib

    return matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt})


def svg(drawn: Figure, label: str) -> str:
    """The figure as an SVG element for the inside of a page. `label` says in words what it shows; artists
    whose gid begins with `tip:` carry the rest of it as a tooltip.
    """
    buffer = io.StringIO()
    drawn.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r"<svg ([^>]*?)>", lambda m: _open_tag(m.group(1), label), text, count=1)
    text = re.sub(r'<g id="tip:([^"]*)">', r"<g><title>\1</title>", text)
    text = re.sub(r"font: ([^;\"]*?)'sans-serif'[^;\"]*", r"font: \1var(--sans)", text)
    text = re.sub(r' (?:d|x|y|width|height|transform)="[^"]*"', lambda m: _rounded(m.group(0)), text)
    return re.sub(r"\n\s*", "\n", text)


def _open_tag(attributes: str, label: str) -> str:
    view = re.search(r'viewBox="[^"]*"', attributes)
    return f'<svg {view.group(0) if view else ""} role="img" aria-label="{escape(label, quote=True)}">'


def _rounded(attribute: str) -> str:
    """Coordinates to hundredths of a point: nobody sees more, and the file gets a third smaller."""
    return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m.group(0)):.2f}".rstrip("0").rstrip("."), attribute)


def tip(text: str) -> str:
    """The gid that makes `text` a tooltip."""
    return f"tip:{text}"
