"""Latency laws from a table of measured points: which form the points can carry, its fit, its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_env.calibration.fitting import Errors, percent_error
from dvfo_env.calibration.laws import (
    FittedLaw,
    LawForm,
    Points,
    clock_masks,
    fit_law,
    law_errors,
    leave_one_clock_out,
)
from dvfo_env.calibration.own.board import Board
from dvfo_env.calibration.own.design import design
from dvfo_env.calibration.own.table import Row
from dvfo_env.errors import MeasurementError

ASSUMED_SHAPE = 3.0
"""p where the points cannot tell: 2.6-3.9 was fitted to three TensorRT networks on a Jetson TX2."""
SIX_PAIRS = 6
"""Clock pairs that fix p: from six, three networks on a Jetson TX2 are predicted to 0.7-0.8 %."""
IDLE_SHARE = 0.01
"""A processor whose part of the time is smaller than this at its lowest clock was most likely not slowed."""
FEW_CLOCKS = 12
"""Up to so many clock combinations each is held out in turn, above them random fifths are."""


@dataclass(frozen=True)
class LatencyFit:
    """The fitted law of one workload and mapping (all its core counts), and how well it holds.

    `errors.holdout` is NaN where nothing could be held back. `swept` names the clocks the points vary.
    """

    workload: str
    mapping: str
    rows: tuple[Row, ...]
    points: Points
    form: LawForm
    law: FittedLaw
    errors: Errors
    method: str
    swept: frozenset[str]

    @property
    def idle_clock(self) -> str:
        """The processor whose clock was varied and takes no part in the time, else empty."""
        name = "GPU" if self.rows[0].runs_on_gpu else "CPU"
        ghz = self.points.gpu_ghz if name == "GPU" else self.points.cpu_ghz
        work = self.law.gpu_ms_ghz if name == "GPU" else self.law.cpu_ms_ghz
        told = name.lower() in self.swept and work / ghz.min() < IDLE_SHARE * self.points.latency_ms.max()
        return name if told else ""

    @property
    def residual_percent(self) -> list[float]:
        """Fitted over measured minus one, of every row, in percent."""
        return [float(x) for x in (self.law.predict(self.points) / self.points.latency_ms - 1.0) * 100.0]


def fit_latency(rows: Sequence[Row], board: Board) -> LatencyFit:
    """Fit the rows of one workload and mapping.

    Raises:
        MeasurementError: too few or degenerate points; the message says which to measure.
    """
    kept = tuple(rows)
    points = _points(kept)
    form, swept = _form(kept, board)
    law = fit_law(points, form, robust=True)
    error = percent_error(law.predict(points), points.latency_ms)
    inside = float(error.mean())
    masks = leave_one_clock_out(points)
    method = "each clock combination left out in turn"
    if len(masks) > FEW_CLOCKS:
        masks, method = clock_masks(points), "ten random fifths of the clock combinations held back"
    masks = [mask for mask in masks if _carries(kept, ~mask, board, form, swept)]
    if masks:
        errors = law_errors(points, form, masks, robust=True)
        if len(masks) < len(set(points.clocks)) <= FEW_CLOCKS:
            method += f" ({len(masks)} of {len(set(points.clocks))}: the others are needed by the law)"
    else:
        errors = Errors(inside, float("nan"), float("nan"), float("nan"))
        method = "none held back: the law needs every point"
    return LatencyFit(
        kept[0].workload, kept[0].mapping, kept, points, form, law, errors, method, frozenset(swept)
    )


def _points(rows: Sequence[Row]) -> Points:
    columns = [
        (row.cores, *(mhz / 1000.0 for mhz in row.clocks), row.latency_ms or float("nan")) for row in rows
    ]
    return Points(*np.asarray(columns, dtype=np.float64).T)


def _carries(
    rows: Sequence[Row], keep: NDArray[np.bool_], board: Board, form: LawForm, swept: set[str]
) -> bool:
    """Whether the kept rows alone would have led to a law with the same parts."""
    rest = [row for row, kept in zip(rows, keep, strict=True) if kept]
    try:
        smaller, still = _form(rest, board)
    except (MeasurementError, IndexError):
        return False
    return smaller._replace(shape=form.shape) == form and still == swept


def _form(rows: Sequence[Row], board: Board) -> tuple[LawForm, set[str]]:
    """The parts of the law that the rows determine, and the clocks they vary.

    Raises:
        MeasurementError: a clock the board offers was not varied enough.
    """
    cores = _varied(rows, "cores")
    if rows[0].runs_on_gpu:
        form, swept = _gpu_form(rows, board)
    else:
        form, swept = _cpu_form(rows, board)
    form = form._replace(cores=cores > 1 and form.cpu)
    needed, found = len(form.parameters), len({(row.cores, *row.clocks) for row in rows})
    if found < needed:
        raise MeasurementError(f"{_of(rows)}: {found} points for {needed} parameters; {_advice(rows, board)}")
    return form, swept


def _gpu_form(rows: Sequence[Row], board: Board) -> tuple[LawForm, set[str]]:
    swept = set()
    gpu = _varied(rows, "gpu_mhz", same=("cpu_mhz", "mem_mhz"))
    if len(board.gpu_mhz) > 1:
        _require(rows, board, "GPU", gpu, min(3, len(board.gpu_mhz)), "one memory clock")
        swept.add("gpu")
    if len(board.mem_mhz) > 1:
        mem = _varied(rows, "mem_mhz", same=("cpu_mhz", "gpu_mhz"))
        _require(rows, board, "memory", mem, 2, "one GPU clock")
        swept.add("mem")
    if _varied(rows, "cpu_mhz", same=("gpu_mhz", "mem_mhz")) > 1:
        swept.add("cpu")
    pairs = {(row.gpu_mhz, row.mem_mhz) for row in rows}
    both = {"gpu", "mem"} <= swept
    shape = None if both and len(pairs) >= SIX_PAIRS and gpu >= 3 else ASSUMED_SHAPE
    form = LawForm(
        cpu="cpu" in swept, gpu="gpu" in swept, memory="mem" in swept, shape=shape if both else 1.0
    )
    return form, swept


def _cpu_form(rows: Sequence[Row], board: Board) -> tuple[LawForm, set[str]]:
    swept = set()
    if len(board.cpu_mhz) > 1:
        cpu = _varied(rows, "cpu_mhz", same=("cores", "mem_mhz"))
        _require(rows, board, "CPU", cpu, min(3, len(board.cpu_mhz)), "one core count and memory clock")
        swept.add("cpu")
    if _varied(rows, "mem_mhz", same=("cores", "cpu_mhz")) > 1:
        swept.add("mem")
    return LawForm(cpu="cpu" in swept, memory="mem" in swept, shape=1.0), swept


def _varied(rows: Sequence[Row], field: str, same: tuple[str, ...] = ()) -> int:
    """Most distinct values of `field` among rows that agree in the fields `same`."""
    groups: dict[tuple[object, ...], set[object]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, name) for name in same), set()).add(getattr(row, field))
    return max((len(values) for values in groups.values()), default=0)


def _require(rows: Sequence[Row], board: Board, clock: str, found: int, needed: int, where: str) -> None:
    if found < needed:
        clocks = "1 clock" if found == 1 else f"{found} clocks"
        raise MeasurementError(
            f"{_of(rows)}: {clocks} of the {clock} measured at {where}, {needed} are needed; "
            f"{_advice(rows, board)}"
        )


def _of(rows: Sequence[Row]) -> str:
    return f"{rows[0].workload} on {rows[0].mapping}"


def _advice(rows: Sequence[Row], board: Board) -> str:
    """The points of the design that are not among the rows."""
    have = {(row.cores, *row.clocks) for row in rows}
    top = max(row.cores for row in rows)
    missing = []
    for point in design(board, [(rows[0].mapping, top)], power=False):
        clocks = {"cpu": point.cpu_mhz, "gpu": point.gpu_mhz, "mem": point.mem_mhz}
        if (point.cores, *(mhz or 0.0 for mhz in clocks.values())) not in have:
            missing.append(" ".join(f"{name} {mhz:g}" for name, mhz in clocks.items() if mhz is not None))
    return f"measure (MHz): {'; '.join(missing)}" if missing else "vary one clock at a time"
