"""Latency laws of the Jetsons: fitted to a Triton grid, or measured once and bent like a known law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dvfo_env.calibration.fitting import Errors
from dvfo_env.calibration.jetson.boards import Board
from dvfo_env.calibration.laws import LawForm, Points, clock_masks, fit_law, law_errors, leave_one_clock_out
from dvfo_env.devices.layers import value_of
from dvfo_env.devices.profile import Anchor, ClockLaw, Fit
from dvfo_env.schema import Coefficient

SPLIT_NOTE = "assumed: every segment has the network's own ratio of compute to memory time"
GPU_FORM = LawForm(gpu=True, memory=True)
LIKE = {
    "efficientnet-b0": "mobilenet-v2",
    "inception-v3": "inception-v4",
    "mobilenet-v2": "mobilenet-v2",
    "squeezenet": "mobilenet-v2",
    "vgg16": "vgg19",
    "vgg19": "vgg19",
    "yolov3-tiny": "yolov3-tiny",
    "inception-v4": "inception-v4",
}
"""Workload -> the network fitted over its clocks whose split of the time it borrows; otherwise resnet50's."""


class Shape(NamedTuple):
    """Parts of a law at the highest clocks of its own board, as shares of the whole time; p of the maximum.

    `compute` and `memory` are what each would take without the other.
    """

    constant: float
    launch: float
    compute: float
    memory: float
    p: float
    whose: str


def shape_of(law: ClockLaw, top_mhz: tuple[float, float, float], whose: str) -> Shape:
    """Shares of a GPU law at the highest (CPU, GPU, memory) clocks of its board."""
    cpu, gpu, mem = (mhz / 1000.0 for mhz in top_mhz)
    constant, launch = value_of(law.t0_ms), value_of(law.cpu_ms_ghz) / cpu
    compute, memory, p = (
        value_of(law.gpu_ms_ghz) / gpu,
        value_of(law.mem_ms_ghz) / mem,
        value_of(law.shape, 1.0),
    )
    whole = constant + launch + (compute**p + memory**p) ** (1.0 / p)
    return Shape(constant / whole, launch / whole, compute / whole, memory / whole, p, whose)


def triton_law(
    points: Points, board: Board, launch_share: tuple[float, float, float], source: str
) -> tuple[ClockLaw, Errors]:
    """The law of MobileNetV2 over the GPU clock; `launch_share` is what of t0 follows the CPU clock."""
    law, errors = fit_law(points, GPU_FORM), law_errors(points, GPU_FORM, clock_masks(points))
    one_out = law_errors(points, GPU_FORM, leave_one_clock_out(points))
    cpu_ghz = board.top_mhz[0] / 1000.0
    middle, low, high = launch_share
    split = (
        f"{middle:.2f} of the fitted {law.t0_ms:.2f} ms is taken to follow the CPU clock, as on the TX2 "
        f"(mean of six "
        "Keras grids); the CPU clock was not swept"
    )
    memory = (
        "the part that a faster GPU clock does not shrink, taken for memory time; the memory clock was "
        "not swept. "
        "0: it is launch time instead"
    )

    def coefficient(value: float, unit: str, assumed: tuple[float, float, str] | None = None) -> Coefficient:
        if assumed is None:
            return Coefficient(
                value=value, unit=unit, evidence="fitted", source=source, error_percent=errors.fit,
                holdout_error_percent=errors.holdout,
            )  # fmt: skip
        return Coefficient(
            value=value, unit=unit, evidence="assumed", source=source, range=assumed[:2], note=assumed[2]
        )

    t0, clocks = law.t0_ms, sorted(set((1000.0 * points.gpu_ghz).round(2).tolist()))
    return ClockLaw(
        t0_ms=coefficient(t0 * (1.0 - middle), "ms", (t0 * (1.0 - high), t0 * (1.0 - low), split)),
        cpu_ms_ghz=coefficient(
            t0 * middle * cpu_ghz, "ms*GHz", (t0 * low * cpu_ghz, t0 * high * cpu_ghz, split)
        ),
        gpu_ms_ghz=coefficient(law.gpu_ms_ghz, "ms*GHz"),
        mem_ms_ghz=coefficient(law.mem_ms_ghz, "ms*GHz", (0.0, 1.2 * law.mem_ms_ghz, memory)),
        shape=coefficient(law.shape, "1"),
        split="uniform",
        split_note=SPLIT_NOTE,
        fit=Fit(
            points=len(points.latency_ms),
            conditions=(
                f"Triton with ONNX Runtime, batch 1, median of 15 s runs, CPU at {board.top_mhz[0]:g} "
                f"MHz, GPU "
                f"{clocks[0]:g}-{clocks[-1]:g} MHz, memory clock not set"
            ),
            error_percent=errors.fit,
            holdout_error_percent=errors.holdout,
            holdout_worst_percent=errors.holdout_worst_split,
            holdout_method=(
                "ten random fifths of the GPU clocks held back whole; mean, worst split (one clock at a "
                "time: "
                f"{one_out.holdout:.2f} %, worst {one_out.holdout_worst_split:.2f} %)"
            ),
        ),
    ), errors


def cpu_law(row: Coefficient, board: Board, threads: int, split: str = "time follows FLOPs") -> ClockLaw:
    """T = c / f_cpu through one whole-network time (ms) on some CPU cores, taken at the highest clock."""
    ghz = board.top_mhz[0] / 1000.0
    note = (
        f"{row.note + '; ' if row.note else ''}{row.value:g} ms with {threads} threads, taken at "
        f"{board.top_mhz[0]:g} "
        "MHz; t = c / f_cpu is assumed: the tables know one clock"
    )
    conditions = f"ncnn, {threads} threads, one setting, {board.top_mhz[0]:g} MHz taken"
    bounds = row.range or (row.value, row.value)
    return ClockLaw(
        cpu_ms_ghz=Coefficient(
            value=row.value * ghz, unit="ms*GHz", evidence=row.evidence, source=row.source,
            range=(bounds[0] * ghz, bounds[1] * ghz), note=note,
        ),
        split_note=f"assumed: {split} over the layers",
        fit=Fit(points=1 if row.evidence == "measured" else 0, conditions=conditions),
    )  # fmt: skip


def anchored_law(row: Coefficient, board: Board, shape: Shape, others: Mapping[str, Shape]) -> ClockLaw:
    """A GPU law through one whole-network time (ms) at the highest clocks, bent like `shape`.

    Each coefficient's range spans the shares of all `others`.
    """
    cpu, gpu, mem = (mhz / 1000.0 for mhz in board.top_mhz)
    why = (
        f"the time at the highest clocks is {row.evidence}; its course over the clocks is that of "
        f"{shape.whose}, range: "
        "of every network fitted over its clocks"
    )

    def part(name: str, ghz: float, unit: str) -> Coefficient:
        shares = [getattr(other, name) for other in (shape, *others.values())]
        times = [row.value * share * ghz for share in (getattr(shape, name), min(shares), max(shares))]
        return Coefficient(
            value=times[0],
            unit=unit,
            evidence="assumed",
            source=row.source,
            range=(times[1], times[2]),
            note=why,
        )

    return ClockLaw(
        t0_ms=part("constant", 1.0, "ms"),
        cpu_ms_ghz=part("launch", cpu, "ms*GHz"),
        gpu_ms_ghz=part("compute", gpu, "ms*GHz"),
        mem_ms_ghz=part("memory", mem, "ms*GHz"),
        shape=Coefficient(
            value=shape.p, unit="1", evidence="assumed", source=row.source, note=why,
            range=(min(o.p for o in others.values()), max(o.p for o in others.values())),
        ),
        split="uniform",
        split_note=SPLIT_NOTE,
        anchor=Anchor(
            latency=row, cpu_mhz=board.top_mhz[0], gpu_mhz=board.top_mhz[1], mem_mhz=board.top_mhz[2]
        ),
        fit=Fit(
            points=1 if row.evidence == "measured" else 0,
            conditions="ncnn with Vulkan, batch 1, one setting, the highest clocks taken",
        ),
    )  # fmt: skip
