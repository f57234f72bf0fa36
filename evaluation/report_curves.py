"""Learning curves of run folders, read from TensorBoard's event files."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_evaluation.report_style import INK, SERIES, figure, styled, svg

_REWARD, _SPEED = "reward/mean", "time/steps_per_s"
_FEW = 4  # points that a line does not show


class Curve(NamedTuple):
    """Mean cost per request served since the point before, exploration included, against seconds trained;
    float64 [P].
    """

    seconds: NDArray[np.float64]
    cost: NDArray[np.float64]


def learning_curve(run: Path) -> Curve | None:
    """The curve of a run folder; None where it holds no events (they are not needed to evaluate)."""
    folder = run / "tensorboard"
    if not folder.is_dir():
        return None
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorboard's own, on import
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 1})
        events.Reload()
    known = events.Tags()["scalars"]
    if _REWARD not in known or _SPEED not in known:
        return None
    # pauses between starts are not training: steps over speed, not the clock on the wall
    speed = events.Scalars(_SPEED)
    steps = np.array([event.step for event in speed], dtype=np.float64)
    per_s = np.array([event.value for event in speed], dtype=np.float64)
    seconds = np.cumsum(np.diff(steps, prepend=0.0) / np.maximum(per_s, 1e-9))
    reward = events.Scalars(_REWARD)
    at = np.interp([event.step for event in reward], steps, seconds)
    return Curve(at, -np.array([event.value for event in reward], dtype=np.float64))


def curves_chart(curves: dict[str, dict[str, Curve]], lines: dict[str, float]) -> str:
    """Cost against seconds for every run, runs of one agent in one colour; `lines`: costs on held-out
    episodes to compare with, by name.
    """
    with styled("curves"):
        drawn, (axes,) = figure(3.0)
        for colour, (agent, runs) in zip(SERIES * 3, curves.items(), strict=False):
            for i, curve in enumerate(runs.values()):
                label = (f"{agent}, {len(runs)} seeds" if len(runs) > 1 else agent) if i == 0 else None
                few = "o" if len(curve.cost) < _FEW else ""
                axes.plot(
                    curve.seconds,
                    curve.cost,
                    color=colour,
                    linewidth=1.2,
                    marker=few,
                    markersize=3,
                    label=label,
                )
        ends = np.concatenate([curve.cost for runs in curves.values() for curve in runs.values()])
        for style, (name, cost) in zip((":", "--", "-."), lines.items(), strict=False):
            axes.axhline(cost, color=INK, linewidth=0.9, linestyle=style, label=name)
        low = min(ends.min(), *lines.values())
        high = max(float(np.quantile(ends, 0.9)), *lines.values())
        axes.set_ylim(low - 0.05 * (high - low), high + 0.15 * (high - low))
        axes.set_xlim(left=0.0)
        axes.set_xlabel("seconds trained")
        axes.set_ylabel("cost per request served")
        drawn.legend(loc="outside upper left", ncols=3)
        told = ", ".join(
            f"{label} ends at {curve.cost[-1]:.3f}"
            for runs in curves.values()
            for label, curve in runs.items()
        )
        return svg(drawn, f"Cost in training against seconds: {told}")
