"""A toy scenario file on which evaluations take a second."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.worlds import device, scenario


def scenario_file(folder: Path) -> Path:
    """A scenario of the toy device with an uplink worth adapting to; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    made = scenario(
        folder,
        device(),
        workload="yolov3-tiny",
        requests={"period_ms": 150.0, "deadline_ms": 90.0, "queue_limit_ms": 500.0},
        objective={"eta": 0.7, "accuracy_weight_per_point": 0.005},
        episode_requests=30,
        offload_timeout_ms=400.0,
    )
    path = folder / "world.yaml"
    path.write_text(yaml.safe_dump(made.model_dump(mode="json")), encoding="utf-8")
    return path


def trace_file(folder: Path) -> Path:
    """A CSV trace that goes up and down, with an outage."""
    rates = [12.0] * 20 + [0.0] * 10 + [3.0] * 30 + [40.0] * 40
    lines = ["time_s,mbps", *(f"{0.5 * i},{rate}" for i, rate in enumerate(rates))]
    path = folder / "drive.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
