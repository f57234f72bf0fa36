"""Worker processes as benches: started pinned, spoken to over pipes, always ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dvfo_env.errors import MeasurementError
from dvfo_env.profiling.measure import Sample
from dvfo_env.profiling.plan import Network, Place


class WorkerBench:
    """One worker process (`worker.py`) for a network at a place.

    Raises:
        MeasurementError: the worker cannot load or split the network, or dies.
    """

    def __init__(self, network: Network, place: Place, files: Sequence[Path] = ()) -> None:
        self._name = f"{network.name} on {place.name}"
        threads = len(place.cpus)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dvfo_env.profiling.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self._send(
            {
                "engine": place.engine,
                "gpu": place.kind == "gpu",
                "cpus": list(place.cpus),
                "threads": threads,
                "network": asdict(network),
                "files": [str(path) for path in files],
            }
        )
        self._expected = len(network.segments)

    def wait_until_ready(self) -> None:
        """Wait until the network is loaded and has run once.

        Raises:
            MeasurementError: it could not be.
        """
        found = self._receive()["segments"]
        if found != self._expected:
            raise MeasurementError(f"{self._name}: split into {found} segments, expected {self._expected}")

    def visit(self, seconds: float) -> Sample:
        """See `measure.Bench`."""
        self._send({"do": "visit", "seconds": seconds})
        answer = self._receive()
        return Sample(answer["whole_ms"], answer["segments_ms"], answer["reference_ms"], answer["cpu_s"])

    def burn(self, seconds: float) -> int:
        """See `measure.Bench`."""
        self._send({"do": "burn", "seconds": seconds})
        return int(self._receive()["passes"])

    def close(self) -> None:
        """Let the worker go; it is killed where it does not."""
        process = self._process
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        try:
            process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _send(self, data: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(data) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._dead() from None

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._dead()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MeasurementError(f"{self._name}: {answer['error']}")
        return answer

    def _dead(self) -> MeasurementError:
        status = self._process.wait()
        reason = "killed, perhaps for want of memory" if status in (-9, 137) else f"exit status {status}"
        return MeasurementError(f"{self._name}: the worker process ended unexpectedly: {reason}")


def start_benches(network: Network, places: Sequence[Place], folder: Path) -> dict[str, WorkerBench]:
    """Start a worker for every place; ONNX files go into `folder`. They load one after another.

    Raises:
        MeasurementError: a network cannot be exported, split or loaded; every worker is ended.
    """
    files: tuple[Path, ...] = ()
    if any(place.engine == "onnxruntime" for place in places):
        files = _onnx_files(network, folder)
    benches: dict[str, WorkerBench] = {}
    try:
        for place in places:
            benches[place.name] = WorkerBench(network, place, files)
            benches[place.name].wait_until_ready()
    except BaseException:
        for bench in benches.values():
            bench.close()
        raise
    return benches


def _onnx_files(network: Network, folder: Path) -> tuple[Path, ...]:
    from dvfo_env.profiling.engines import onnx_files

    folder.mkdir(parents=True, exist_ok=True)
    return onnx_files(network, folder)
