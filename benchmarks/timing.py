"""How a speed is taken: warmed up, repeated, the median reported, with the machine named beside it."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def per_second(
    run: Callable[[], int],
    *,
    repeats: int = 7,
    seconds: float = 0.3,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median over `repeats` of how many items a second `run` handles; it returns how many it handled.

    One call warms up, another says how many calls fill `seconds` of `clock`; each repeat makes that many.
    """
    run()
    begun = clock()
    run()
    calls = max(1, round(seconds / max(clock() - begun, 1e-6)))
    rates = []
    for _ in range(repeats):
        begun = clock()
        items = sum(run() for _ in range(calls))
        rates.append(items / (clock() - begun))
    return statistics.median(rates)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What the figures were taken on: processor, cores, how busy they were, Python and packages."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "load_average_1_min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "numba", "gymnasium")},
    }


def _processor() -> str:
    """The processor's name; /proc/cpuinfo knows it better than `platform` where there is one."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
