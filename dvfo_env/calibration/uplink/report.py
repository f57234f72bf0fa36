"""The page on uplinks, made from the model files: the table of measured against fitted figures, and
the picture.

Run as `python -m dvfo_env.calibration.uplink.report docs`: it rewrites the tables in `docs/uplinks.md`
between its marks, and draws `docs/images/uplinks.png`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dvfo_env.errors import DvfoError, ResultsError
from dvfo_env.uplinks.fit import generated_statistics
from dvfo_env.uplinks.library import list_uplinks, load_model, load_uplink
from dvfo_env.uplinks.model import UplinkModel
from dvfo_env.uplinks.statistics import SeriesStatistics

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
QUANTILES = ("p5_mbps", "p25_mbps", "p50_mbps", "p75_mbps", "p95_mbps")
PICTURE_SECONDS = 60.0


def fit_table() -> str:
    """Markdown: one line per model and kind (measured, generated, held-back series, fit to the other
    series).
    """
    lines = [
        "| model | series, h | | p5 | p25 | p50 | p75 | p95 | mean "
        "| r step | r 1 s | r 5 s | outage % | dwell s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in list_uplinks():
        model = load_model(name)
        amount = f"{model.provenance.series}, {model.provenance.seconds / 3600.0:.2f}"
        if model.fit is None:
            lines.append(_line(name, amount, "generated", generated_statistics(model.process, 2, 404)))
            continue
        lines.append(_line(name, amount, "measured", model.fit.real))
        lines.append(_line("", "", "fitted", model.fit.fitted))
        if model.fit.holdout_real is not None and model.fit.holdout_fitted is not None:
            lines.append(_line("", str(model.fit.holdout_series), "held back", model.fit.holdout_real))
            lines.append(_line("", "", "fit to the rest", model.fit.holdout_fitted))
    return "\n".join(lines)


def parts_table() -> str:
    """Markdown: round-trip time, answer rate and radio power of each model, with their labels."""
    lines = [
        "| model | RTT p5 / p50 / p95 ms | answer Mbit/s | sending mW | receiving mW |",
        "|---|---|---|---|---|",
    ]
    for name in list_uplinks():
        model = load_model(name)
        rtt, radio, down = model.rtt, model.radio, model.downlink_mbps
        times = np.interp([0.05, 0.5, 0.95], rtt.probabilities, rtt.quantiles_ms)
        send, receive = radio.transmit_base_mw, radio.receive_base_mw
        lines.append(
            f"| {name} | {times[0]:.0f} / {times[1]:.0f} / {times[2]:.0f} ({rtt.evidence}) "
            f"| {down.value:.3g} ({down.evidence}) "
            f"| {send.value:.0f} + {radio.transmit_mw_per_mbps.value:.3g} r ({send.evidence}) "
            f"| {receive.value:.0f} + {radio.receive_mw_per_mbps.value:.3g} r ({receive.evidence}) |"
        )
    return "\n".join(lines)


def update_page(path: Path) -> None:
    """Put fresh tables between the marks of the page.

    Raises:
        ResultsError: the page has no marks.
    """
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ResultsError(f"{path}: has no {BEGIN} and {END} to write the tables between")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    path.write_text(f"{before}{BEGIN}\n{fit_table()}\n\n{parts_table()}\n{END}{after}", encoding="utf-8")


def draw(path: Path) -> None:
    """Draw a generated minute and the quantile curve (measured as dots) of every model."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list_uplinks()
    figure, axes = plt.subplots(len(names), 2, figsize=(11, 1.45 * len(names)), width_ratios=(3, 1))
    for row, name in enumerate(names):
        model = load_model(name)
        uplink = load_uplink(name)
        steps = int(PICTURE_SECONDS * 1000.0 / uplink.step_ms)
        rates = uplink.bank(steps, seed=7)[:, 0]
        left, right = axes[row]
        left.step(
            np.arange(steps) * uplink.step_ms / 1000.0, rates, where="post", linewidth=0.8, color="#1f5a8a"
        )
        left.fill_between(
            np.arange(steps) * uplink.step_ms / 1000.0, rates, step="post", alpha=0.15, color="#1f5a8a"
        )
        left.set_xlim(0, PICTURE_SECONDS)
        left.set_ylim(bottom=0)
        left.set_title(model.title, fontsize=8, loc="left", pad=2)
        left.set_ylabel("Mbit/s", fontsize=7)
        _quantile_curve(right, model)
        for axis in (left, right):
            axis.tick_params(labelsize=6, labelbottom=row == len(names) - 1)
            axis.grid(alpha=0.3, linewidth=0.4)
    axes[-1][0].set_xlabel("time, s (one generated minute)", fontsize=7)
    axes[-1][1].set_xlabel("share of time below", fontsize=7)
    figure.tight_layout(pad=0.4, h_pad=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _quantile_curve(axis: object, model: UplinkModel) -> None:
    levels = np.linspace(0.01, 0.99, 99)
    made = load_uplink(model.name).bank(262_144, seed=11)[:, 0]
    plot = axis.plot  # type: ignore[attr-defined]
    plot(levels, np.quantile(made, levels), color="#1f5a8a", linewidth=1.0, label="generated")
    if model.fit is not None:
        measured = [getattr(model.fit.real, name) for name in QUANTILES]
        plot([0.05, 0.25, 0.5, 0.75, 0.95], measured, "o", color="#c4452d", markersize=3, label="measured")
    if model.name == list_uplinks()[0]:
        axis.legend(fontsize=6, loc="upper left", frameon=False)  # type: ignore[attr-defined]


def _line(name: str, amount: str, kind: str, figures: SeriesStatistics) -> str:
    rates = " | ".join(f"{getattr(figures, key):.3g}" for key in (*QUANTILES, "mean_mbps"))
    memory = (figures.autocorrelation_step, figures.autocorrelation_1s, figures.autocorrelation_5s)
    lags = " | ".join(f"{value:.2f}" for value in memory)
    outage = f"{100.0 * figures.outage_share:.1f} | {figures.outage_dwell_s:.2f}"
    return f"| {name} | {amount} | {kind} | {rates} | {lags} | {outage} |"


def main(arguments: list[str]) -> int:
    """Rewrite the page and the picture under the folder given (default `docs`)."""
    folder = Path(arguments[0] if arguments else "docs")
    try:
        update_page(folder / "uplinks.md")
        draw(folder / "images" / "uplinks.png")
    except DvfoError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
