"""The console tables of the ncnn benchmark as rows, and FLOP scaling from measured to unmeasured networks.

The text is `benchmark/README.md` of Tencent/ncnn: one section per board, inside it one or more runs of
`benchncnn`, each with its settings (threads, power-save, GPU) and one line per network with the fastest,
slowest and mean time.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dvfo_env.devices.profile import Fit, SegmentTable
from dvfo_env.errors import MeasurementError
from dvfo_env.schema import Coefficient
from dvfo_env.workloads import list_workloads, load_workload

NCNN_SOURCE = "Tencent/ncnn@a4d2ea1d4422c9e849f166fd7a4aefb52f942f6a:benchmark/README.md"
"""Repository, commit and file of the tables the shipped profiles come from."""

_NCNN_FILE = Path("ncnn-benchmark-tables") / "ncnn_benchmark_README.txt.gz"
_TORCHVISION = "pytorch/vision, docs of the shipped weights (multiply-accumulates, doubled)"
_ZOO = "openvinotoolkit/open_model_zoo@00a4ff87950ff570239c7d16146ac4ae6fd5c1b0:models/public/index.md"


@dataclass(frozen=True)
class StatedFlop:
    """Arithmetic of a network in GFLOP (two per multiply-accumulate), and who states it."""

    gflop: float
    source: str


STATED_GFLOP: Mapping[str, StatedFlop] = {
    "googlenet": StatedFlop(3.266, _ZOO),
    "resnet18": StatedFlop(3.637, _ZOO),
    "yolov4-tiny": StatedFlop(6.9289, _ZOO),
    "resnet50": StatedFlop(
        7.716,
        "counted from Tencent/ncnn@34077b506581e20d27a579c10edc5102cf24ad7a:benchmark/resnet50.param"
        " (stride in the first 1x1; 8.2 GFLOP with the stride in the 3x3)",
    ),
    "vgg16": StatedFlop(30.974, _ZOO),
    "yolov3-tiny": StatedFlop(5.582, _ZOO),
    "inception-v4": StatedFlop(24.584, _ZOO),
    "vgg19": StatedFlop(39.3, _ZOO),
    "resnet152": StatedFlop(23.03, _TORCHVISION),
    "inception-v3": StatedFlop(11.43, _TORCHVISION),
    "vit-b16": StatedFlop(
        35.134,
        "qed-usc/mobile-ml-benchmark@40ba833a9ca560a3035a76a5c3da504082dec001:dataset/"
        "tflite_transformer_e2e.csv, vit-base-patch16-224-in21k",
    ),
    "vision_transformer": StatedFlop(
        26.09,
        "counted from Tencent/ncnn@740c8c7e4e397b90a375090aca2ea010d3df022c:"
        "benchmark/vision_transformer.param (12 layers of 768 over 145 tokens: patches of 32 in 384 x 384)",
    ),
}
"""GFLOP per network: those of the benchmark above 3 GFLOP first, then the workloads it does not hold."""

REFERENCE_NETWORKS = ("googlenet", "resnet18", "yolov4-tiny", "resnet50", "vgg16")
"""The benchmark's networks of plain convolutions above 3 GFLOP: the ones FLOP scaling is tried on."""

NEAREST_NETWORKS: Mapping[str, tuple[str, ...]] = {
    "resnet50": ("resnet50",),
    "vgg19": ("vgg16",),
    "yolov3-tiny": ("yolov4-tiny", "resnet18"),
    "inception-v4": ("resnet50",),
    "mobilenet-v2": ("mobilenet_v2",),
    "efficientnet-b0": ("efficientnet_b0",),
    "resnet18": ("resnet18",),
    "squeezenet": ("squeezenet",),
    "vgg16": ("vgg16",),
    "resnet152": ("resnet50",),
    "inception-v3": ("resnet50",),
    "vit-b16": ("vision_transformer",),
}
"""Workload -> the benchmark's networks that stand for it, best first: itself, or those nearest in structure.

For Inception-v4 that is ResNet-50 (1x1 and 3x3 convolutions with batch norm) rather than GoogLeNet: on the
one chip where both were timed (Snapdragon 835) it comes 3 % (one thread), 19 % (four threads) and 4 % (GPU)
near the measured Inception-v4, GoogLeNet 6 %, 14 % and 7 %, and VGG-16, nearest in FLOPs, 42 %, 39 % and 26
%. Inception-v3 scaled the same way comes 19 % and 34 % above the measured one and 12 % below it on the GPU
(another runtime there).
"""

_EXTENDS = {"vgg19": "vgg16"}
"""Workload -> a network of the benchmark that it holds whole, whose time is therefore a lower bound."""

_VARIANTS = {
    "resnet50": "the benchmark's variant: strides in the 1x1 convolutions, 6 % fewer FLOPs than the card",
    "squeezenet": "the benchmark's input is 227 x 227, 3 % more than the card's",
}

_TOKENS = {"vit-b16": 197, "vision_transformer": 145}
"""Tokens of the two vision transformers, otherwise equal but for the patch embedding."""


@dataclass(frozen=True)
class BenchRow:
    """One result line: a network on a board under one setting. Times in ms.

    `gpu_device` is -1 for the CPU. `power_save` is 0 for all cores, 1 for the little and 2 for the big ones.
    `run` counts the runs of the whole text, so that two runs with equal settings stay apart.
    """

    board: str
    section: str
    run: int
    network: str
    threads: int
    power_save: int
    gpu_device: int
    min_ms: float
    max_ms: float
    avg_ms: float


_COMMAND = re.compile(r"benchncnn\S*\s+(\d+)\s+(\d+)\s+([012])\s+(-?\d+)")
_SETTING = re.compile(r"^\s*(loop_count|num_threads|powersave|gpu_device)\s*=\s*(-?\d+)\s*$")
_RESULT = re.compile(
    r"^\s*(?P<network>[\w.\-]+)\s+min\s*=\s*(?P<min>[\d.]+)\s+max\s*=\s*(?P<max>[\d.]+)\s+avg\s*=\s*(?P<avg>[\d.]+)\s*$"
)


def parse_ncnn_tables(text: str) -> list[BenchRow]:
    """Read every result line of the benchmark's text, in its order.

    A heading `### ...` opens a board. A command line (`benchncnn loops threads powersave gpu`) or a line
    `loop_count = ` opens a run; the settings the program prints win over those of the command line. Free text
    outside the code blocks is kept as the section of the runs that follow (`single core`, `With AVX512`,
    ...).
    """
    rows: list[BenchRow] = []
    board, section, run, in_code, printed = "", "", 0, False, False
    settings = {"num_threads": 0, "powersave": 0, "gpu_device": -1}
    for line in text.splitlines():
        if line.startswith("### "):
            board, section, in_code = line[4:].strip(), "", False
        elif line.startswith("```"):
            in_code = not in_code
        elif not in_code:
            section = line.strip(" *#") or section
        elif command := _COMMAND.search(line):
            threads, power_save, gpu = (int(command.group(k)) for k in (2, 3, 4))
            settings = {"num_threads": threads, "powersave": power_save, "gpu_device": gpu}
            run, printed = run + 1, True
        elif setting := _SETTING.match(line):
            if setting.group(1) == "loop_count":
                run, printed = (run if printed else run + 1), False
            else:
                settings[setting.group(1)] = int(setting.group(2))
        elif board and (result := _RESULT.match(line)):
            rows.append(_row(board, section, run, settings, result))
            printed = False
    return rows


def _row(board: str, section: str, run: int, settings: Mapping[str, int], result: re.Match[str]) -> BenchRow:
    return BenchRow(
        board=board,
        section=section,
        run=run,
        network=result.group("network"),
        threads=settings["num_threads"],
        power_save=settings["powersave"],
        gpu_device=settings["gpu_device"],
        min_ms=float(result.group("min")),
        max_ms=float(result.group("max")),
        avg_ms=float(result.group("avg")),
    )


def read_ncnn_tables(measurements: Path) -> list[BenchRow]:
    """Read the benchmark's text from a folder of raw measurements.

    Raises:
        MeasurementError: the file is missing, unreadable, or holds no result line.
    """
    path = Path(measurements) / _NCNN_FILE
    try:
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise MeasurementError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    rows = parse_ncnn_tables(text)
    if not rows:
        raise MeasurementError(f"{path}: no line of the form 'network min = .. max = .. avg = ..' found")
    return rows


def select_run(
    rows: Iterable[BenchRow], board: str, *, threads: int, gpu_device: int = -1, power_save: int | None = None
) -> dict[str, BenchRow]:
    """The one run of a board (its heading starts with `board`) under the given settings: network -> row.

    Raises:
        MeasurementError: no run fits, or more than one does.
    """
    chosen = [
        row
        for row in rows
        if row.board.startswith(board)
        and (row.threads, row.gpu_device) == (threads, gpu_device)
        and power_save in (None, row.power_save)
    ]
    wanted = f"board {board!r}, {threads} threads, GPU {gpu_device}, power-save {power_save}"
    runs = {row.run for row in chosen}
    if len(runs) != 1:
        raise MeasurementError(f"ncnn tables: {wanted}: expected one run, found {len(runs)}")
    return {row.network: row for row in chosen}


def scaling_errors_percent(run: Mapping[str, BenchRow]) -> list[float]:
    """How wrong FLOP scaling is where it can be checked: every ordered pair of reference networks in one run.

    Each entry is |t_a * F_b / F_a - t_b| / t_b in percent.
    """
    known = [name for name in REFERENCE_NETWORKS if name in run]
    rate = {name: run[name].avg_ms / STATED_GFLOP[name].gflop for name in known}
    return sorted(abs(rate[a] / rate[b] - 1.0) * 100.0 for a in known for b in known if a != b)


SCALING = "flop-scaling"
"""What a profile calls the fit of `scaling_fit` among those that support it."""


def scaling_fit(runs: Iterable[Mapping[str, BenchRow]]) -> Fit:
    """How far to trust a time scaled by FLOPs on a board: each reference network from each other, per run."""
    errors = [error for run in runs for error in scaling_errors_percent(run)]
    return Fit(
        points=len(errors),
        conditions="a network's time told from another network's of the same run by FLOPs alone, as behind"
        " every time that is scaled",
        holdout_error_percent=round(sum(errors) / len(errors), 1),
        holdout_worst_percent=round(max(errors), 1),
        holdout_method="each plain network above 3 GFLOP from each other one, never from itself",
    )


def network_latency(run: Mapping[str, BenchRow], workload: str) -> Coefficient:
    """Whole-network time of a workload (ms) from one run: measured where it holds it, else scaled by FLOPs.

    The scaled value is the time of the nearest network times the ratio of stated FLOPs. Its range spans what
    every other reference network of the same run would predict, which is also how well FLOP scaling works
    there.

    Raises:
        MeasurementError: neither the workload nor its nearest network is in the run.
    """
    nearest = next((name for name in NEAREST_NETWORKS[workload] if name in run), None)
    if nearest is None:
        known = " or ".join(NEAREST_NETWORKS[workload])
        raise MeasurementError(f"ncnn tables: {workload}: the run holds no {known} to scale from")
    row = run[nearest]
    source = f"{NCNN_SOURCE}, '{row.board}'"
    if nearest.replace("_", "-") == workload:
        return Coefficient(
            value=row.avg_ms,
            unit="ms",
            evidence="measured",
            source=source,
            range=(row.min_ms, row.max_ms),
            note=_VARIANTS.get(workload),
        )
    gflop = STATED_GFLOP[workload].gflop
    ratio = gflop / STATED_GFLOP[nearest].gflop
    if workload in _TOKENS:
        bounds = [row.avg_ms, row.avg_ms * (_TOKENS[workload] / _TOKENS[nearest]) ** 2]
        reason = "range: fewer tokens, to the square of their ratio"
    else:
        bounds = [run[k].avg_ms * gflop / STATED_GFLOP[k].gflop for k in REFERENCE_NETWORKS if k in run]
        reason = "range: from each network"
    if _EXTENDS.get(workload) in run:
        bounds.append(run[_EXTENDS[workload]].avg_ms)
    return Coefficient(
        value=round(row.avg_ms * ratio, 3),
        unit="ms",
        evidence="assumed",
        source=f"{source}; GFLOP from {STATED_GFLOP[workload].source}",
        range=(round(min(bounds), 3), round(max(bounds), 3)),
        note=f"{nearest}'s {row.avg_ms:g} ms times the FLOP ratio {ratio:.3f}; {reason}",
    )


def workloads_of(*runs: Mapping[str, BenchRow]) -> tuple[str, ...]:
    """Workloads with a card whose time every one of `runs` gives, measured or scaled; sorted.

    A GPU's run tells nothing of a vision transformer: the benchmark's program had no attention on GPUs.
    """
    cards = set(list_workloads())
    if any(row.gpu_device >= 0 for run in runs for row in run.values()):
        cards -= set(_TOKENS)
    return tuple(
        workload
        for workload in sorted(NEAREST_NETWORKS)
        if workload in cards and all(any(n in run for n in NEAREST_NETWORKS[workload]) for run in runs)
    )


def split_by_flops(total: Coefficient, workload: str, conditions: str) -> SegmentTable:
    """A network's whole time shared out over its segments by FLOPs, to 1 us: one pinned setting.

    Raises:
        ConfigError: no card has this name.
    """
    card = load_workload(workload)
    share = card.flops / card.flops.sum()
    cuts = zip(card.cut_names[1:], share, strict=True)
    segments = {cut: round(total.value * float(part), 3) for cut, part in cuts}
    whole = sum(segments.values())  # rounding may carry it past a range that ends at the value
    low, high = total.range or (total.value, total.value)
    return SegmentTable(
        segment_ms=segments,
        evidence=total.evidence,
        source=total.source,
        range_ms=(min(low, whole), max(high, whole)),
        split_note="only the whole network's time is known; its split by FLOPs is assumed",
        fit=Fit(points=1, conditions="; ".join(filter(None, (conditions, total.note)))),
    )
