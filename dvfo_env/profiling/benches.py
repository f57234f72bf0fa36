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


class WorkerProcess:
    """A worker process (`worker.py`): the first line sent to it says what it is for.

    Raises:
        MeasurementError: it reports an error, or dies.
    """

    def __init__(self, name: str, threads: int, begin: dict[str, Any]) -> None:
        self._name = name
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dvfo_env.profiling.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self.send(begin)

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

    def send(self, data: dict[str, Any]) -> None:
        """Write one line to the worker."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(data) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._dead() from None

    def receive(self) -> dict[str, Any]:
        """Wait for the worker's next line."""
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


class WorkerBench(WorkerProcess):
    """One worker process for a network at a place.

    onnxruntime reads the `whole` network's file, and its heads and tails in `folder` as long as it runs.
    """

    def __init__(
        self, network: Network, place: Place, whole: Path | None = None, folder: Path | None = None
    ) -> None:
        begin = {
            "do": "run",
            "engine": place.engine,
            "gpu": place.kind == "gpu",
            "cpus": list(place.cpus),
            "threads": len(place.cpus),
            "network": asdict(network),
            "whole": str(whole),
            "folder": str(folder),
        }
        super().__init__(f"{network.name} on {place.name}", len(place.cpus), begin)
        self._expected = network.inner_cuts

    def wait_until_ready(self) -> None:
        """Wait until the network is loaded and has run once.

        Raises:
            MeasurementError: it could not be.
        """
        found = self.receive()["inner_cuts"]
        if found != self._expected:
            raise MeasurementError(f"{self._name}: found {found} inner cuts, expected {self._expected}")

    def visit(self, seconds: float, cuts: Sequence[int]) -> Sample:
        """See `measure.Bench`."""
        self.send({"do": "visit", "seconds": seconds, "cuts": list(cuts)})
        answer = self.receive()
        return Sample(answer["passes"], answer["reference_ms"], answer["cpu_s"])

    def burn(self, seconds: float) -> int:
        """See `measure.Bench`."""
        self.send({"do": "burn", "seconds": seconds})
        return int(self.receive()["passes"])


def start_benches(network: Network, places: Sequence[Place], folder: Path) -> dict[str, WorkerBench]:
    """Start a worker for every place; ONNX files go into `folder`. They load one after another.

    The files must stay until the workers are closed.

    Raises:
        MeasurementError: a network cannot be exported, split or loaded; every worker is ended.
    """
    whole: Path | None = None
    if any(place.engine == "onnxruntime" for place in places):
        every = sorted({cpu for place in places for cpu in place.cpus})
        whole = _onnx_files(network, folder, every)
    benches: dict[str, WorkerBench] = {}
    try:
        for place in places:
            benches[place.name] = WorkerBench(network, place, whole, folder)
            benches[place.name].wait_until_ready()
    except BaseException:
        for bench in benches.values():
            bench.close()
        raise
    return benches


def _onnx_files(network: Network, folder: Path, cpus: Sequence[int]) -> Path:
    """ONNX files, made by a process of their own: exporters print, and torch stays out of this one."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = {"do": "export", "folder": str(folder), "network": asdict(network), "cpus": list(cpus)}
    worker = WorkerProcess(f"{network.name}: export to ONNX", max(1, len(cpus)), begin)
    try:
        return Path(worker.receive()["whole"])
    finally:
        worker.close()
