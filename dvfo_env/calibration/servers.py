"""From the ncnn benchmark's tables to the shipped server profiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvfo_env.calibration.ncnn_tables import (
    NCNN_SOURCE,
    NEAREST_NETWORKS,
    REFERENCE_NETWORKS,
    STATED_GFLOP,
    BenchRow,
    network_latency,
    read_ncnn_tables,
    scaling_errors_percent,
    select_run,
)
from dvfo_env.schema import Coefficient
from dvfo_env.servers.profile import LoadProcess, ServerProfile


@dataclass(frozen=True)
class _Board:
    """Which run of the tables stands for a server, and what is assumed of its load."""

    name: str
    title: str
    runtime: str
    heading: str
    threads: int
    gpu_device: int
    mean_factor: float
    mean_range: tuple[float, float]
    correlation_time_ms: float
    correlation_range_ms: tuple[float, float]


_BOARDS = (
    _Board(
        name="cloud-cpu",
        title="cloud CPU: AWS c5.4xlarge (Xeon Platinum 8124M, 3.0 GHz)",
        runtime="ncnn 20240102, 8 threads, fp32 convolutions on AVX-512, batch 1",
        heading="AWS c5.4xlarge",
        threads=8,
        gpu_device=-1,
        mean_factor=1.5,
        mean_range=(1.1, 3.0),
        correlation_time_ms=30_000.0,
        correlation_range_ms=(1_000.0, 300_000.0),
    ),
    _Board(
        name="edge-gpu",
        title="desktop GPU: NVIDIA GeForce RTX 3060 Ti",
        runtime="ncnn with Vulkan (October 2023), fp16, batch 1",
        heading="NVIDIA GeForce RTX 3060 Ti",
        threads=16,
        gpu_device=0,
        mean_factor=1.25,
        mean_range=(1.05, 2.0),
        correlation_time_ms=5_000.0,
        correlation_range_ms=(500.0, 60_000.0),
    ),
    _Board(
        name="desktop-cpu",
        title="desktop CPU: Intel Core i7-13700K (8 + 8 cores)",
        runtime="ncnn (October 2023), 16 threads, fp32, batch 1",
        heading="Intel® Core™ i7-13700K",
        threads=16,
        gpu_device=-1,
        mean_factor=1.25,
        mean_range=(1.05, 2.0),
        correlation_time_ms=5_000.0,
        correlation_range_ms=(500.0, 60_000.0),
    ),
    _Board(
        name="cloud-gpu",
        title="cloud GPU: NVIDIA Tesla V100-PCIE-32GB",
        runtime="ncnn with Vulkan, fp16, batch 1",
        heading="NVIDIA Tesla V100",
        threads=1,
        gpu_device=0,
        mean_factor=1.5,
        mean_range=(1.1, 3.0),
        correlation_time_ms=30_000.0,
        correlation_range_ms=(1_000.0, 300_000.0),
    ),
)


def calibrate_servers(measurements: Path) -> tuple[list[ServerProfile], list[dict[str, Any]]]:
    """Build every shipped server profile from a folder of raw measurements.

    Returns the profiles, and one report row per server and workload: server, workload, latency_ms, evidence,
    low_ms, high_ms, scaling_median_percent and scaling_worst_percent (how wrong FLOP scaling is between the
    measured networks of that server).

    Raises:
        MeasurementError: the tables are missing, unreadable, or lack a run.
    """
    rows = read_ncnn_tables(measurements)
    profiles, report = [], []
    for board in _BOARDS:
        run = select_run(rows, board.heading, threads=board.threads, gpu_device=board.gpu_device)
        profile = _profile(board, run)
        profiles.append(profile)
        errors = scaling_errors_percent(run)
        for workload, latency in profile.network_ms.items():
            low, high = latency.range or (latency.value, latency.value)
            report.append(
                {
                    "server": board.name,
                    "workload": workload,
                    "latency_ms": latency.value,
                    "evidence": latency.evidence,
                    "low_ms": low,
                    "high_ms": high,
                    "scaling_median_percent": round(_median(errors), 1),
                    "scaling_worst_percent": round(errors[-1], 1),
                }
            )
    return profiles, report


def _median(values: list[float]) -> float:
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else 0.5 * (values[middle - 1] + values[middle])


def _workloads(board: _Board) -> list[str]:
    """Workloads to list. Not the transformer on a GPU: its time in these tables is no time of that GPU.

    The benchmark's program had no attention on GPUs and fell back to the CPU, so the GPUs look slower than a
    CPU (an RTX 3060 Ti 55 ms, the desktop CPU 89 ms with 16 threads, a V100 166 ms).
    """
    skipped = {"vit-b16"} if board.gpu_device >= 0 else set()
    return sorted(set(NEAREST_NETWORKS) - skipped)


def _profile(board: _Board, run: dict[str, BenchRow]) -> ServerProfile:
    return ServerProfile(
        name=board.name,
        title=board.title,
        runtime=board.runtime,
        network_ms={workload: network_latency(run, workload) for workload in _workloads(board)},
        other_ms_per_gflop=_rate(run),
        tail_share=Coefficient(
            value=1.0,
            unit="exponent of the FLOP share",
            evidence="assumed",
            source="no per-layer times of a server in the tables",
            range=(0.5, 1.0),
            note="a tail takes the share of the whole-network time that its share of the FLOPs is",
        ),
        load=_load(board),
    )


def _rate(run: dict[str, BenchRow]) -> Coefficient:
    """Time per GFLOP of an unlisted workload: ResNet-50's; range: all reference networks of the run."""
    rates = [run[name].avg_ms / STATED_GFLOP[name].gflop for name in REFERENCE_NETWORKS if name in run]
    row = run["resnet50"]
    return Coefficient(
        value=round(row.avg_ms / STATED_GFLOP["resnet50"].gflop, 4),
        unit="ms/GFLOP",
        evidence="assumed",
        source=f"{NCNN_SOURCE}, '{row.board}'",
        range=(round(min(rates), 4), round(max(rates), 4)),
        note="resnet50's rate; range: the rates of all measured networks of plain convolutions above 3 GFLOP",
    )


def _load(board: _Board) -> LoadProcess:
    source = "no measurement of a server's load in the sources"
    busy = 1.0 - 1.0 / board.mean_factor
    return LoadProcess(
        mean_factor=Coefficient(
            value=board.mean_factor,
            unit="1",
            evidence="assumed",
            source=source,
            range=board.mean_range,
            note=f"a processor shared with others and busy {busy:.0%} stretches a request by 1/(1 - busy)",
        ),
        log_std=Coefficient(
            value=1.0,
            unit="1",
            evidence="assumed",
            source=source,
            range=(0.3, 1.5),
            note="heavy tail: one moment in twenty the extra load is five times its median (exp(1.64) = 5.2)",
        ),
        correlation_time_ms=Coefficient(
            value=board.correlation_time_ms,
            unit="ms",
            evidence="assumed",
            source=source,
            range=board.correlation_range_ms,
            note="other clients' jobs come and go in seconds on one desktop, in a minute on a shared host",
        ),
    )
