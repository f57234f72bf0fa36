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
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from dvfo_env.profiling.engines import Runner

#: Passes a visit begins with that do not count: caches and branch predictors forget while others run.
WARM_UP_S = 0.05

#: A cut is run until this time is over, at least once; then it is the next one's turn.
CUT_S = 0.05

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
        if begin["do"] == "export":
            _answer(answers, {"whole": _export(begin)})
            return 0
        runner = _runner(begin)
        for run in (runner.whole, *(runner.cut_in_two(1) if runner.inner_cuts else ())):
            run()
        runner.finish()
    except Exception as error:
        _answer(answers, {"error": f"{type(error).__name__}: {error!s:.300}"})
        return 1
    _answer(answers, {"ready": True, "inner_cuts": runner.inner_cuts})
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "visit":
            _answer(answers, visit(runner, float(command["seconds"]), command["cuts"]))
        else:
            _answer(answers, {"passes": burn(runner, float(command["seconds"]))})
    return 0


def _export(begin: dict[str, Any]) -> str:
    from dvfo_env.profiling.onnx_engine import write_models

    return str(write_models(_network(begin["network"]), Path(begin["folder"])))


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


def _runner(begin: dict[str, Any]) -> Runner:
    from dvfo_env.profiling.engines import torch_runner

    network = _network(begin["network"])
    if begin["engine"] == "torch":
        return torch_runner(network, begin["threads"], begin["gpu"])
    from dvfo_env.profiling.onnx_engine import onnx_runner

    return onnx_runner(Path(begin["whole"]), Path(begin["folder"]), network, begin["threads"], begin["gpu"])


def visit(runner: Runner, seconds: float, cuts: Sequence[int]) -> dict[str, Any]:
    """Warm up, then go from cut to cut: the whole, head and tail by turns, every second pass backwards.

    The answer's `passes` are rows of cut, whole, head and tail (ms), or of 0 and whole without `cuts`.
    """
    cpu = time.process_time()
    stop = time.perf_counter() + WARM_UP_S
    runner.whole()
    while time.perf_counter() < stop:
        runner.whole()
    reference = reference_ms()
    passes: list[tuple[float, ...]] = []
    stop = time.perf_counter() + seconds
    for cut in cycle(cuts or (0,)):
        calls = (runner.whole, *(runner.cut_in_two(cut) if cut else ()))
        for call in calls[1:]:
            call()  # a piece's first pass after others takes up to a fifth longer: its memory has moved
        begun = time.perf_counter()
        while not passes or passes[-1][0] != cut or time.perf_counter() < begun + CUT_S:
            turn = 1 if len(passes) % 2 else -1
            times = [_time(runner, call) for call in calls[::turn]]
            passes.append((cut, *times[::turn]))
        if time.perf_counter() >= stop:
            break
    return {"passes": passes, "reference_ms": reference, "cpu_s": time.process_time() - cpu}


def burn(runner: Runner, seconds: float) -> int:
    """Run the whole network back to back; how often it ran."""
    passes = 0
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        runner.whole()
        passes += 1
    runner.finish()
    return passes


def _time(runner: Runner, call: Callable[[], object]) -> float:
    begun = time.perf_counter_ns()
    call()
    runner.finish()
    return (time.perf_counter_ns() - begun) / 1e6


def _answer(answers: TextIO, data: dict[str, Any]) -> None:
    answers.write(json.dumps(data) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
