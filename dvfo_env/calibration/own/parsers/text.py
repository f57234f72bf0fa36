"""What every parser of a tool's output needs: numbers, and errors that name file and line."""

from __future__ import annotations

import math
import re
from calendar import timegm
from dataclasses import dataclass
from time import strptime

from dvfo_env.errors import MeasurementError

NUMBER = r"[-+.\deE]+"
"""What stands where a number should; `number` says whether it is one."""


@dataclass(frozen=True)
class Timed:
    """One timed network as a tool prints it; None where the tool does not say."""

    workload: str
    latency_ms: float
    line: int
    mapping: str | None = None
    cores: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    note: str = ""


def number(text: str, where: str, what: str) -> float:
    """A figure above zero.

    Raises:
        MeasurementError: not a number, not finite, or not above 0.
    """
    try:
        value = float(text)
    except ValueError:
        raise MeasurementError(f"{where}: {what} {text!r}: not a number") from None
    if not math.isfinite(value) or value <= 0.0:
        raise MeasurementError(f"{where}: {what} {text!r}: expected a number above 0")
    return value


def whole(text: str, where: str, what: str) -> int:
    """A whole number from 1 to 1024.

    Raises:
        MeasurementError: not one.
    """
    if not re.fullmatch(r"\d{1,4}", text) or not 1 <= int(text) <= 1024:
        raise MeasurementError(f"{where}: {what} {text!r}: expected a whole number from 1 to 1024")
    return int(text)


def clock_time(text: str, layout: str) -> float | None:
    """Seconds since 1970 of a date that names no time zone, taken as UTC; None where it is no date."""
    try:
        return float(timegm(strptime(text, layout)))
    except ValueError:
        return None


def stem(path: str) -> str:
    """Name of a model file without folder and suffix."""
    name = path.strip("'\"").replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"\.(onnx|engine|plan|trt|uff|caffemodel|prototxt|tflite|param)$", "", name)
