"""Calibrating an uplink model from a user's own traces; the shipped models come from `uplink_shipped`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dvfo_env.calibration.uplink.shipped import calibrate_shipped
from dvfo_env.errors import MeasurementError, TraceError
from dvfo_env.uplinks.fit import Direction, fitted_model
from dvfo_env.uplinks.library import COMPANION_MODEL, load_model
from dvfo_env.uplinks.model import Provenance, UplinkModel
from dvfo_env.uplinks.radio import relabelled
from dvfo_env.uplinks.traces import DEFAULT_MAX_GAP_MS, load_trace
from dvfo_env.uplinks.yaml_file import write_model

__all__ = ["calibrate_shipped", "calibrate_uplink", "fit_report_rows", "write_model"]


def calibrate_uplink(
    paths: Path | str | Sequence[Path | str],
    name: str,
    *,
    title: str | None = None,
    direction: Direction = "uplink",
    step_ms: float | None = None,
    companion: str | Path = COMPANION_MODEL,
    max_gap_ms: float = DEFAULT_MAX_GAP_MS,
) -> tuple[UplinkModel, list[dict[str, float | str | None]]]:
    """Fit a model to a user's own traces.

    Args:
        paths: a folder (every file in it is read; hidden files are skipped), or trace files.
        name: of the model: lower case, digits, dots and dashes.
        title: for reports; by default the name.
        direction: of the traces.
        step_ms: of the model; by default 100 ms if every trace is at least that fine, else 1000 ms.
        companion: model that lends round-trip times, answer rate and radio power, all then labelled assumed.
        max_gap_ms: longest pause inside a trace.

    Returns:
        The model and the rows of its report (see `fit_report_rows`).

    Raises:
        TraceError: a trace cannot be used.
        MeasurementError: no trace, or too few samples with bandwidth.
        ConfigError: unknown companion.
    """
    files = _trace_files(paths)
    traces = [load_trace(path, max_gap_ms=max_gap_ms) for path in files]
    if step_ms is None:
        step_ms = 100.0 if max(trace.step_ms for trace in traces) <= 100.0 else 1000.0
    lender = load_model(companion)
    note = f"taken from the model {lender.name}; the traces do not say"
    provenance = Provenance(
        repository="own measurements",
        commit="",
        files=tuple(path.name for path in files),
        cite="traces given to dvfo calibrate uplink",
        series=len(traces),
        seconds=round(sum(trace.duration_ms for trace in traces) / 1e3, 1),
    )
    model = fitted_model(
        name,
        title or name,
        direction,
        traces,
        step_ms,
        provenance,
        rtt=lender.rtt.model_copy(update={"evidence": "assumed", "note": note}),
        downlink_mbps=lender.downlink_mbps.model_copy(update={"evidence": "assumed", "note": note}),
        radio=relabelled(lender.radio, note),
    )
    return model, fit_report_rows(model)


def fit_report_rows(model: UplinkModel) -> list[dict[str, float | str | None]]:
    """One row per figure: `figure`, `real`, `fitted`, `held_back_real`, `held_back_fitted` (None
    without one).
    """
    if model.fit is None:
        return []
    fit = model.fit
    return [
        {
            "figure": figure,
            "real": real,
            "fitted": getattr(fit.fitted, figure),
            "held_back_real": None if fit.holdout_real is None else getattr(fit.holdout_real, figure),
            "held_back_fitted": None if fit.holdout_fitted is None else getattr(fit.holdout_fitted, figure),
        }
        for figure, real in fit.real.model_dump().items()
    ]


def _trace_files(paths: Path | str | Sequence[Path | str]) -> list[Path]:
    given = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += sorted(
                item for item in path.iterdir() if item.is_file() and not item.name.startswith(".")
            )
        elif path.is_file():
            files.append(path)
        else:
            raise TraceError(f"{path}: no such file or folder")
    if not files:
        raise MeasurementError(f"{given[0]}: holds no trace file")
    return files
