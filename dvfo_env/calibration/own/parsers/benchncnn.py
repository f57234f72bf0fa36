"""Console output of `benchncnn` (Tencent/ncnn): settings, then one line per network.

num_threads = 4
powersave = 2
gpu_device = -1
mobilenet_v2  min =    6.65  max =    6.86  avg =    6.76
"""

from __future__ import annotations

import re

from dvfo_env.calibration.own.parsers.text import NUMBER, Timed, number, whole
from dvfo_env.errors import MeasurementError

_SETTING = re.compile(r"^\s*(num_threads|powersave|gpu_device)\s*=\s*(\S+)\s*$")
_RESULT = re.compile(r"^\s*(\S+)\s+min\s*=\s*(\S+)\s+max\s*=\s*(\S+)\s+avg\s*=\s*(\S+)\s*$")
_LOOKS_LIKE = re.compile(r"\bmin\s*=.*\bmax\s*=")
_CLUSTERS = {"0": "cpu", "1": "little", "2": "big"}
"""What `powersave` runs on: all cores, little ones, big ones."""


def parse(text: str, where: str) -> list[Timed]:
    """Every network's mean time with the mapping that the settings before it say.

    Raises:
        MeasurementError: a result line is torn, or stands before its settings.
    """
    found = []
    settings: dict[str, str] = {}
    for line, content in enumerate(text.splitlines(), start=1):
        here = f"{where}: line {line}"
        setting = _SETTING.match(content)
        if setting:
            settings[setting[1]] = setting[2]
        elif _LOOKS_LIKE.search(content):
            found.append(_result(content, settings, line, here))
    return found


def _result(content: str, settings: dict[str, str], line: int, here: str) -> Timed:
    match = _RESULT.match(content)
    if match is None:
        raise MeasurementError(f"{here}: expected 'NETWORK min = MS max = MS avg = MS'")
    least, most, mean = (number(match[k], here, name) for k, name in ((2, "min"), (3, "max"), (4, "avg")))
    if not least - 0.01 <= mean <= most + 0.01:
        raise MeasurementError(f"{here}: avg {mean:g} is not between min {least:g} and max {most:g}")
    if "num_threads" not in settings or "gpu_device" not in settings:
        raise MeasurementError(f"{here}: num_threads and gpu_device of this run are not printed before it")
    device = settings["gpu_device"]
    if not re.fullmatch(rf"{NUMBER}", device) or not re.fullmatch(r"-1|\d+", device):
        raise MeasurementError(f"{here}: gpu_device {device!r}: expected -1, 0, 1, ...")
    if device != "-1":
        return Timed(match[1], mean, line, mapping="gpu", cores=1)
    cluster = _CLUSTERS.get(settings.get("powersave", "0"), "cpu")
    cores = whole(settings["num_threads"], here, "num_threads")
    return Timed(match[1], mean, line, mapping=cluster, cores=cores)
