"""Console output of TFLite's `benchmark_model`, on a board or through `adb logcat`.

Num threads: [4]
Graph: [/data/local/tmp/mobilenet_v2.tflite]
count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798 [p5=... median=...]
Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3e+06, Inference (avg): 2e+06
"""

from __future__ import annotations

import re

from dvfo_env.calibration.own.parsers.text import Timed, number, stem, whole
from dvfo_env.errors import MeasurementError

_GRAPH = re.compile(r"\bGraph:\s*\[?([^\]\s]+)")
_THREADS = re.compile(r"(?:Num threads|#threads used for CPU inference):\s*\[?(\d+)")
_GPU = re.compile(r"Use gpu\s*:\s*\[?(?:1|true)|GPU delegate (?:is )?created", re.IGNORECASE)
_OTHER = re.compile(
    r"Use (nnapi|hexagon|coreml):\s*\[?(?:1|true)|(NNAPI|Hexagon) delegate created", re.IGNORECASE
)
_REFUSED = re.compile(r"will not be executed by the delegate|Failed to apply (?:the default )?\w* ?delegate")
_COUNT = re.compile(r"\bcount=\d+ .*\bmedian=(\S+)")
_RESULT = re.compile(r"Inference timings in us:.*?(?:Inference \(avg\):\s*(\S+)|$)")


def parse(text: str, where: str) -> list[Timed]:
    """Median (where printed, else mean) inference time of every run.

    Raises:
        MeasurementError: a result line is torn, the delegate refused the graph, or it is neither CPU nor GPU.
    """
    found: list[Timed] = []
    graph, threads, gpu, other, refused, middle = "", 1, False, "", False, ""
    for line, content in enumerate(text.splitlines(), start=1):
        here = f"{where}: line {line}"
        if (named := _GRAPH.search(content)) is not None:
            graph = stem(named[1])
        if (count := _THREADS.search(content)) is not None:
            threads = whole(count[1], here, "threads")
        gpu = gpu or _GPU.search(content) is not None
        refused = refused or _REFUSED.search(content) is not None
        if (engine := _OTHER.search(content)) is not None:
            other = engine[1] or engine[2]
        if (last := _COUNT.search(content)) is not None:
            middle = last[1]  # of the warm-up, then of the run
        if (result := _RESULT.search(content)) is not None:
            if result[1] is None:
                raise MeasurementError(f"{here}: expected 'Inference timings in us: ... Inference (avg): US'")
            if other:
                raise MeasurementError(f"{here}: run on {other}: only CPU and GPU are mappings here")
            if gpu and refused:
                raise MeasurementError(f"{here}: the GPU delegate refused the graph: this is a CPU time")
            micros = number(middle or result[1], here, "inference time")
            place = {"mapping": "gpu", "cores": 1} if gpu else {"mapping": "cpu", "cores": threads}
            found.append(Timed(graph, micros / 1000.0, line, **place))  # type: ignore[arg-type]
            graph, threads, gpu, other, refused, middle = "", 1, False, "", False, ""
    return found
