"""One process for one network at one place: pinned before it loads anything, told what to do line by line.

Run as `python -m dvfo_env.profiling.worker`. The first line on standard input says what to run, every later
one is a command; each is answered by one line of JSON. It leaves when its input closes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

#: Passes a visit begins with that do not count: caches and branch predictors forget while others run.
WARM_UP_S = 0.05

#: Fewest timed passes of a visit.
MIN_PASSES = 3

_REFERENCE_STEPS = 20_000


def reference_ms() -> float:
    """Time of a fixed piece of integer arithmetic (median of three): how fast this CPU is just now."""
    times = []
    for _ in range(3):
        begun = time.perf_counter_ns()
        value = 1
        for _ in range(_REFERENCE_STEPS):
            value = (value * 1103515245 + 12345) & 0x7FFFFFFF
        times.append(time.perf_counter_ns() - begun)
    return sorted(times)[1] / 1e6


def main() -> int:
    """Serve until the input closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not end up between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started us
    begin = json.loads(sys.stdin.readline())
    if begin["cpus"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, begin["cpus"])
    try:
        if "export" in begin:
            _answer(answers, {"files": _export(begin)})
            return 0
        runner = _runner(begin)
        runner.whole()
        for run in runner.segments:
            run()
        runner.finish()
    except Exception as error:
        _answer(answers, {"error": f"{type(error).__name__}: {error!s:.300}"})
        return 1
    _answer(answers, {"ready": True, "segments": len(runner.segments)})
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "visit":
            _answer(answers, visit(runner, float(command["seconds"])))
        else:
            _answer(answers, {"passes": burn(runner, float(command["seconds"]))})
    return 0


def _export(begin: dict[str, Any]) -> list[str]:
    from dvfo_env.profiling.engines import onnx_files

    return [str(path) for path in onnx_files(_network(begin["network"]), Path(begin["export"]))]


def _network(fields: dict[str, Any]) -> Any:
    from dvfo_env.profiling.plan import Network

    return Network(
        fields["name"],
        fields["source"],
        tuple(fields["cuts"]),
        tuple(fields["positions"]),
        tuple(fields["input_shape"]),
        fields["digest"],
    )


def _runner(begin: dict[str, Any]) -> Any:
    from dvfo_env.profiling.engines import onnx_runner, torch_runner

    if begin["engine"] == "onnxruntime":
        paths = [Path(path) for path in begin["files"]]
        return onnx_runner(paths, tuple(begin["network"]["input_shape"]), begin["threads"], begin["gpu"])
    return torch_runner(_network(begin["network"]), begin["threads"], begin["gpu"])


def visit(runner: Any, seconds: float) -> dict[str, Any]:
    """Warm up, then time passes; every second one runs the segments before the whole."""
    cpu = time.process_time()
    reference = reference_ms()
    stop = time.perf_counter() + WARM_UP_S
    while True:
        _whole(runner)
        _segments(runner)
        if time.perf_counter() >= stop:
            break
    whole: list[float] = []
    segments: list[list[float]] = []
    stop = time.perf_counter() + seconds
    while len(whole) < MIN_PASSES or time.perf_counter() < stop:
        if len(whole) % 2:
            segments.append(_segments(runner))
            whole.append(_whole(runner))
        else:
            whole.append(_whole(runner))
            segments.append(_segments(runner))
    cpu_s = time.process_time() - cpu
    return {"whole_ms": whole, "segments_ms": segments, "reference_ms": reference, "cpu_s": cpu_s}


def burn(runner: Any, seconds: float) -> int:
    """Run the whole network back to back; how often it ran."""
    passes = 0
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        runner.whole()
        passes += 1
    runner.finish()
    return passes


def _whole(runner: Any) -> float:
    begun = time.perf_counter_ns()
    runner.whole()
    runner.finish()
    return (time.perf_counter_ns() - begun) / 1e6


def _segments(runner: Any) -> list[float]:
    times = []
    for run in runner.segments:
        begun = time.perf_counter_ns()
        run()
        runner.finish()
        times.append((time.perf_counter_ns() - begun) / 1e6)
    return times


def _answer(answers: TextIO, data: dict[str, Any]) -> None:
    answers.write(json.dumps(data) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
