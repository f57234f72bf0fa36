"""Console output of NVIDIA-AI-IOT/jetson_benchmarks (TensorRT on all networks of a table).

Exec Start: 1739807186.1136515                       (some versions)
------------Executing vgg19_N2------------
---------------------- 576.568 0 0                   (some versions: latency in ms of GPU and both DLAs)
Model Name: vgg19_N2
FPS:1.73
"""

from __future__ import annotations

import re

from dvfo_env.calibration.own.parsers.text import Timed, number, stem
from dvfo_env.errors import MeasurementError

_EXECUTING = re.compile(r"^\s*-+\s*Executing (\S+?)\s*-+\s*$")
_MODEL = re.compile(r"^\s*Model Name:\s*(\S+)")
_LATENCY = re.compile(r"^\s*-{10,} (\S+)(?: (\S+) (\S+))?\s*$")
_FPS = re.compile(r"^\s*FPS:\s*(\S+)")
_EDGE = re.compile(r"^\s*Exec (Start|End):\s*(\S+)")


def parse(text: str, where: str) -> list[Timed]:
    """Latency of every network; from FPS (two decimals) where no latency is printed.

    Raises:
        MeasurementError: a figure is no number, a DLA took part, or a network has no figure.
    """
    found: list[Timed] = []
    edges: dict[str, float] = {}
    name, latency, begun = "", None, 0
    for line, content in enumerate(text.splitlines(), start=1):
        here = f"{where}: line {line}"
        if (edge := _EDGE.match(content)) is not None:
            edges[edge[1]] = number(edge[2], here, f"Exec {edge[1]}")
        elif (executing := _EXECUTING.match(content)) is not None:
            if name:
                raise MeasurementError(f"{where}: line {begun}: {name} has neither latency nor FPS")
            name, latency, begun = stem(executing[1]), None, line
        elif (model := _MODEL.match(content)) is not None:
            name, begun = stem(model[1]), begun or line
        elif (dashes := _LATENCY.match(content)) is not None:
            latency = number(dashes[1], here, "latency")
            if any(part not in (None, "0", "0.0") for part in dashes.groups()[1:]):
                raise MeasurementError(f"{here}: a DLA ran beside the GPU; run with the GPU alone")
        elif (rate := _FPS.match(content)) is not None:
            fps = number(rate[1], here, "FPS")
            if not name:
                raise MeasurementError(f"{here}: FPS of no network: 'Model Name:' is missing before it")
            note = "" if latency is not None else "latency from FPS: one image at a time, no DLA"
            found.append(Timed(name, latency or 1000.0 / fps, line, mapping="gpu", cores=1, note=note))
            name, latency = "", None
    if name:
        raise MeasurementError(f"{where}: line {begun}: {name} has neither latency nor FPS")
    if len(found) == 1 and len(edges) == 2 and edges["Start"] < edges["End"]:
        (only,) = found
        found = [Timed(**{**vars(only), "start_s": edges["Start"], "end_s": edges["End"]})]
    return found
