"""How well predicted and measured latencies agree: errors, rank correlation, the parts, a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: What the model promises on an idle machine: median and 90th percentile of the absolute error in per cent,
#: and Spearman's rank correlation.
MEDIAN_PERCENT, P90_PERCENT, RANK_CORRELATION = 10.0, 25.0, 0.95


@dataclass(frozen=True)
class Agreement:
    """Predicted against measured requests; `predicted_ms` and `measured_ms` float64 [N, phases].

    `labels` [N] say what was done, `answered_by` [N] is device, server or fallback.
    """

    phases: tuple[str, ...]
    predicted_ms: Floats
    measured_ms: Floats
    labels: tuple[str, ...]
    answered_by: tuple[str, ...]

    @property
    def predicted(self) -> Floats:
        """Latency [N], ms."""
        return np.asarray(self.predicted_ms.sum(axis=1))

    @property
    def measured(self) -> Floats:
        """Latency [N], ms."""
        return np.asarray(self.measured_ms.sum(axis=1))

    @property
    def error_percent(self) -> Floats:
        """Signed error [N] of the predicted latency, per cent of the measured one."""
        return 100.0 * (self.predicted / self.measured - 1.0)

    @property
    def median_percent(self) -> float:
        """Median of the absolute error."""
        return float(np.median(np.abs(self.error_percent)))

    @property
    def p90_percent(self) -> float:
        """90th percentile of the absolute error."""
        return float(np.quantile(np.abs(self.error_percent), 0.9))

    @property
    def rank_correlation(self) -> float:
        """Spearman's rank correlation of predicted and measured latencies."""
        from scipy.stats import spearmanr

        return float(spearmanr(self.predicted, self.measured).statistic)

    @property
    def holds(self) -> bool:
        """Whether all three are what the model promises."""
        return (
            self.median_percent <= MEDIAN_PERCENT
            and self.p90_percent <= P90_PERCENT
            and self.rank_correlation >= RANK_CORRELATION
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data: the figures, then one row a request."""
        columns = [f"{phase}_ms" for phase in self.phases]
        rows = zip(self.labels, self.answered_by, self.predicted_ms, self.measured_ms, strict=True)
        return {
            "requests": len(self.labels),
            "median_error_percent": round(self.median_percent, 2),
            "p90_error_percent": round(self.p90_percent, 2),
            "rank_correlation": round(self.rank_correlation, 4),
            "promised": {
                "median_error_percent": MEDIAN_PERCENT,
                "p90_error_percent": P90_PERCENT,
                "rank_correlation": RANK_CORRELATION,
            },
            "holds": self.holds,
            "rows": [
                {
                    "action": label,
                    "answered_by": where,
                    "predicted": dict(zip(columns, np.round(predicted, 4).tolist(), strict=True)),
                    "measured": dict(zip(columns, np.round(measured, 4).tolist(), strict=True)),
                }
                for label, where, predicted, measured in rows
            ],
        }


def phase_rows(agreement: Agreement) -> list[tuple[str, int, float, float, float]]:
    """One row a phase that took time: name, requests with it, mean predicted and measured ms, median
    absolute error in ms.
    """
    rows = []
    for i, phase in enumerate(agreement.phases):
        predicted, measured = agreement.predicted_ms[:, i], agreement.measured_ms[:, i]
        with_it = (predicted > 0.0) | (measured > 0.0)
        if with_it.any():
            error = float(np.median(np.abs(predicted - measured)[with_it]))
            means = float(predicted[with_it].mean()), float(measured[with_it].mean())
            rows.append((phase, int(with_it.sum()), *means, error))
    return rows


def draw(agreement: Agreement, path: Path, title: str) -> None:
    """Write a picture of predicted against measured latency, and of the error's distribution.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    scatter, spread = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    styles = {"device": ("#1b7837", "o"), "server": ("#2166ac", "^"), "fallback": ("#b2182b", "x")}
    where = np.array(agreement.answered_by)
    for name, (colour, marker) in styles.items():
        chosen = where == name
        if chosen.any():
            scatter.plot(
                agreement.measured[chosen], agreement.predicted[chosen], marker, color=colour, markersize=4,
                alpha=0.75, label=f"answered by the {name}" if name != "fallback" else "after a time-out",
            )  # fmt: skip
    both = np.concatenate([agreement.measured, agreement.predicted])
    ends = np.array([both.min() / 1.15, both.max() * 1.15])
    scatter.plot(ends, ends, color="#444444", linewidth=1.0)
    scatter.fill_between(ends, ends * 0.9, ends * 1.1, color="#444444", alpha=0.12, linewidth=0, label="10 %")
    scatter.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    scatter.set(xlabel="measured latency, ms", ylabel="predicted latency, ms")
    plain_ticks(scatter.xaxis)
    plain_ticks(scatter.yaxis)
    scatter.legend(frameon=False, fontsize=8, loc="upper left")
    error = np.sort(np.abs(agreement.error_percent))
    spread.plot(error, np.arange(1, len(error) + 1) / len(error), color="#2166ac")
    for share, promised in ((0.5, MEDIAN_PERCENT), (0.9, P90_PERCENT)):
        spread.plot([promised], [share], "s", color="#b2182b", markersize=5)
        spread.annotate(
            f"promised: {100 * share:.0f} % within {promised:.0f} %", (promised, share),
            textcoords="offset points", xytext=(6 if share < 0.9 else -6, -13), fontsize=8, color="#b2182b",
            ha="left" if share < 0.9 else "right",
        )  # fmt: skip
    spread.set(xlabel="absolute error, %", ylabel="share of requests", ylim=(0.0, 1.01), xlim=(0.0, None))
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=130)


def plain_ticks(axis: Any) -> None:
    """Label a logarithmic axis with 1, 2, 5, 10, ... in full."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
