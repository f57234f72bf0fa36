"""Speed of training: steps a second, the environment's share of the time and peak memory of a short run.

Nothing heavy is imported here: what this process holds would count as the peak of the one it starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dvfo_benchmarks.timing import machine


def bench_train(
    scenario: str = "default", *, agent: str = "hindsight", minutes: float = 0.5
) -> dict[str, Any]:
    """Train for `minutes` in a process of its own and report its speed and peak memory.

    `steps_per_s` and `env_share` (share of the training time spent in the environment) are those the run
    reports; `peak_memory_mb` is the most it held at any time, compilation included (None where the system
    does not say).

    Raises:
        DvfoError: training failed; the message is the last line it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = ["--agent", agent, "--scenario", scenario, "--minutes", f"{minutes:g}", "--json"]
        command = [sys.executable, "-m", "dvfo_train", *told, "--out", str(Path(folder) / "run")]
        status, printed, complaint, peak_mb = _run(command, Path(folder))
    if status != 0:
        from dvfo_env.errors import DvfoError

        last = (complaint.strip() or f"exit status {status}").splitlines()[-1]
        raise DvfoError(f"the training run failed: {last}")
    result = json.loads(printed)
    return {
        **{key: result[key] for key in ("scenario", "agent", "steps", "seconds", "steps_per_s", "env_share")},
        "peak_memory_mb": peak_mb,
        **machine(),
    }


def _run(command: list[str], folder: Path) -> tuple[int, str, str, float | None]:
    """Exit status, standard output, standard error and peak memory (MB, 10^6 bytes) of a command."""
    out, error = folder / "stdout", folder / "stderr"
    with out.open("wb") as stdout, error.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
        peak_mb = None
        if hasattr(os, "wait4"):
            _, code, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(code)
            peak_mb = usage.ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0) / 1e6
        status = process.wait()
    return status, out.read_text(encoding="utf-8"), error.read_text(encoding="utf-8"), peak_mb
