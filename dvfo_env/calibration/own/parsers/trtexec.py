"""Console output of NVIDIA's `trtexec`, TensorRT 5 to 10.

&&&& RUNNING TensorRT.trtexec # trtexec --onnx=resnet50.onnx --fp16          one run begins
[09/02/2024-17:47:04] [I] Latency: min = 0.94 ms, max = 1.5 ms, mean = 0.95 ms, median = 0.95 ms, ...   8-10
[10/20/2020-19:56:29] [I] Host Latency                                       7, followed by
[10/20/2020-19:56:29] [I] median: 4.49951 ms (end to end 4.51025 ms)
[I] Average over 10 runs is 4.41 ms (host walltime is 4.5 ms, ...)           5 and 6
"""

from __future__ import annotations

import re
from statistics import median

from dvfo_env.calibration.own.parsers.text import Timed, clock_time, number, stem, whole
from dvfo_env.errors import MeasurementError

_RUN = re.compile(r"&&&& RUNNING TensorRT\.trtexec")
_MODEL = re.compile(r"--(?:onnx|loadEngine|deploy|uff|model)=(\S+)")
_BATCH = re.compile(r"--batch=(\S+)|--(?:shapes|optShapes)=[^\s:]+:(\d+)x")
_LATENCY = re.compile(r"\]\s*Latency:\s*min = .*?(?:median = (\S+) ms|$)")
_HOST = re.compile(r"\]\s*Host Latency\s*$")
_MEDIAN = re.compile(r"\]\s*median:\s*(\S+?)\s*ms")
_AVERAGE = re.compile(r"Average over \d+ runs is (\S+) ms")
_STAMP = re.compile(r"^\s*\[(\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d)\]")
_BEGINS = re.compile(r"Starting inference|Average on \d+ runs")
_ENDS = re.compile(r"=== Performance summary ===|\]\s*Host Latency\s*$")


class _Run:
    """What one run of trtexec has printed so far."""

    def __init__(self) -> None:
        self.model = ""
        self.batch = 1
        self.latency_ms: float | None = None
        self.averages: list[float] = []
        self.line = 0
        self.start_s: float | None = None
        self.end_s: float | None = None
        self.host = False


def parse(text: str, where: str) -> list[Timed]:
    """The median host latency (transfers and computing) of every run.

    Raises:
        MeasurementError: a latency line is torn, a run has none, or its batch is not 1.
    """
    runs: list[_Run] = []
    for line, content in enumerate(text.splitlines(), start=1):
        if _RUN.search(content) or not runs:
            runs.append(_Run())
        _read(runs[-1], content, line, f"{where}: line {line}")
    return [timed for run in runs if (timed := _finished(run, where)) is not None]


def _read(run: _Run, content: str, line: int, here: str) -> None:
    run.line = run.line or line
    if (model := _MODEL.search(content)) is not None and not run.model:
        run.model = stem(model[1])
    if (batch := _BATCH.search(content)) is not None:
        run.batch = whole(batch[1] or batch[2], here, "batch")
    if (stamp := _STAMP.match(content)) is not None:
        seconds = clock_time(stamp[1], "%m/%d/%Y-%H:%M:%S")
        if _ENDS.search(content):
            run.end_s = run.end_s or seconds
        elif _BEGINS.search(content):
            run.start_s = run.start_s or seconds
    if (latency := _LATENCY.search(content)) is not None:
        if latency[1] is None:
            raise MeasurementError(f"{here}: expected 'Latency: min = ... median = MS ms'")
        run.latency_ms, run.line = number(latency[1], here, "median"), line
    elif _HOST.search(content):
        run.host = True
    elif run.host and (middle := _MEDIAN.search(content)) is not None:
        run.latency_ms, run.line, run.host = number(middle[1], here, "median"), line, False
    elif (average := _AVERAGE.search(content)) is not None:
        run.averages.append(number(average[1], here, "average"))


def _finished(run: _Run, where: str) -> Timed | None:
    latency = run.latency_ms if run.latency_ms is not None else None
    if latency is None and run.averages:
        latency = median(run.averages)
    if latency is None:
        if run.model:
            raise MeasurementError(f"{where}: line {run.line}: run of {run.model} has no latency line")
        return None
    if run.batch != 1:
        raise MeasurementError(
            f"{where}: line {run.line}: batch {run.batch}: a request is one input, run trtexec with batch 1"
        )
    timed = run.start_s is not None and run.end_s is not None and run.start_s < run.end_s
    return Timed(
        run.model,
        latency,
        run.line,
        mapping="gpu",
        cores=1,
        start_s=run.start_s if timed else None,
        end_s=run.end_s if timed else None,
    )
