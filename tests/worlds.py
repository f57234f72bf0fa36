"""Small made-up devices and scenarios for tests: every number here is a toy, none is a measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dvfo_env.accuracy import AccuracyTable, write_accuracy_table
from dvfo_env.accuracy.table import Difficulty, Machine, Row, columns_of
from dvfo_env.scenario import Scenario, load_scenario
from dvfo_env.workloads import load_workload

#: Toy encoders: bits sent and nanoseconds of encoding per element, points lost at the input and at the end.
FEATURE_LEVELS = {
    "fp32": (32.0, 1.0, 0.0, 0.0),
    "fp16": (16.0, 2.0, 0.01, 0.01),
    "int8": (7.0, 12.0, 0.5, 0.1),
    "int8-half": (3.5, 8.0, 8.0, 2.5),
    "int4-half": (1.5, 7.0, 12.0, 4.0),
    "int4-quarter": (0.7, 5.0, 20.0, 6.0),
}
INPUT_LEVELS = {
    "raw": (8.0, 0.5, 0.0, 0.0),
    "jpeg-q95": (1.276, 25.0, 5.5, 5.5),
    "jpeg-q75": (0.553, 22.0, 14.0, 14.0),
}


def coefficient(value: float, unit: str = "toy") -> dict[str, Any]:
    return {"value": value, "unit": unit, "evidence": "assumed", "source": "toy device of the test suite"}


def device(
    *, gpu: bool = True, memory: bool = True, points: int = 3, hot: bool = False, delay: float = 1.0
) -> dict[str, Any]:
    """A device profile as plain data; `hot` makes it reach its trip points quickly."""

    def domain(low: float, high: float, ms: float) -> dict[str, Any]:
        step = (high - low) / max(points - 1, 1)
        mhz = [low + step * i for i in range(points)] if points > 1 else [high]
        return {"mhz": mhz, "effect_delay_ms": coefficient(ms * delay, "ms"), "source": "toy"}

    fit = {"points": 0, "conditions": "toy"}
    law: dict[str, Any] = {
        "kind": "clock_law",
        "t0_ms": coefficient(2.0),
        "cpu_ms_ghz": coefficient(3.0),
        "fit": fit,
    }
    if gpu:
        law |= {"gpu_ms_ghz": coefficient(40.0)}
    if memory:
        law |= {"mem_ms_ghz": coefficient(30.0)}
    law |= {"shape": coefficient(3.0)}
    cpu_law = {
        "kind": "clock_law",
        "cpu_ms_ghz": coefficient(500.0),
        "core_exponent": coefficient(0.8),
        "t0_ms": coefficient(1.0),
        "fit": fit,
    }
    core = {"core_mw": coefficient(900.0), "reference_mhz": 2000.0}
    board: dict[str, Any] = {"base_mw": coefficient(1500.0), "cores": {"big": core}, "fit": fit}
    if memory:
        board["mem_idle_mw"] = [coefficient(150.0 * i) for i in range(points)]
    mappings = {"cpu4": {"kind": "cpu", "cluster": "big", "threads": 4}}
    laws: dict[str, Any] = {"cpu4": cpu_law}
    if gpu:
        board["gpu"] = {
            "busy_mw": coefficient(7000.0),
            "idle_mw": coefficient(200.0),
            "reference_mhz": 1300.0,
            "voltage": {"knee_ghz": coefficient(0.8), "slope_per_ghz": coefficient(0.5)},
        }
        mappings["gpu"] = {"kind": "gpu", "cluster": "big", "threads": 1}
        laws["gpu"] = law
    return {
        "name": "toy",
        "title": "Toy device",
        "cores": {"big": 4},
        "cpu": domain(400.0, 2000.0, 1.0),
        "gpu": domain(100.0, 1300.0, 5.0) if gpu else None,
        "memory": domain(1000.0, 1800.0, 8.0) if memory else None,
        "mappings": mappings,
        "out_of_the_box": "gpu" if gpu else "cpu4",
        "latency": {"inception-v4": laws, "yolov3-tiny": laws},
        "copies": {
            "cpu>gpu": {"base_ms": coefficient(0.2), "ms_per_mb": coefficient(0.3)},
            "gpu>cpu": {"base_ms": coefficient(0.2), "ms_per_mb": coefficient(0.3)},
        },
        "power": {"board": board},
        "thermal": {
            "ambient_c": coefficient(25.0),
            "resistance_c_per_w": coefficient(12.0 if hot else 4.0),
            "time_constant_s": coefficient(2.0 if hot else 60.0),
            "start_c": 30.0,
            "trips": [
                {
                    "temperature_c": 60.0,
                    "release_c": 55.0,
                    "domain": "cpu",
                    "max_mhz": 1200.0,
                    "evidence": "assumed",
                    "source": "toy",
                },
                *(
                    [
                        {
                            "temperature_c": 65.0,
                            "release_c": 58.0,
                            "domain": "gpu",
                            "max_mhz": 700.0,
                            "evidence": "assumed",
                            "source": "toy",
                        }
                    ]
                    if gpu
                    else []
                ),
            ],
        },
    }


def accuracy_table(folder: Path, workload: str = "inception-v4") -> Path:
    """A toy accuracy table of a shipped network, with two classes of difficulty."""
    card = load_workload(workload)
    rows = []
    for index, cut in enumerate(card.cuts[:-1]):
        depth = float(card.depth[index])
        for name, (bits, ns, first, last) in (INPUT_LEVELS if index == 0 else FEATURE_LEVELS).items():
            lost = first + depth * (last - first)
            size, agreement = cut.elements * bits / 8.0, 1.0 - lost / 100.0
            rows.append(
                Row(
                    cut=cut.name, codec=name, ranking="", keep=1.0, bits=8, coder="none", exit=0,
                    task="classify",
                    bytes_mean=size, bytes_p95=size, encode_ms=cut.elements * ns * 1e-6,
                    decode_ms=cut.elements * 1e-6, accuracy=0.8 * agreement, accuracy_low=0.0,
                    accuracy_high=1.0, agreement=agreement, agreement_low=0.0, agreement_high=1.0,
                    lost_points=lost, lost_low=0.0, lost_high=100.0,
                    lost_by_class=(2.5 * lost, 0.5 * lost), disagreed_by_class=(2.5 * lost, 0.5 * lost),
                )
            )  # fmt: skip
    table = AccuracyTable(
        name="toy",
        title="toy",
        workload=workload,
        evidence="assumed",
        source="toy of the test suite",
        charges="accuracy",
        machine=Machine(cpu="toy", software="toy", reference_encode_ms=1.0),
        difficulty=Difficulty(edges=(0.7,), shares=(0.25, 0.75)),
        rows=columns_of(rows),
    )
    return write_accuracy_table(table, folder / f"toy-accuracy-{workload}.json")


def scenario(folder: Path, device_data: dict[str, Any] | None = None, **changes: Any) -> Scenario:
    """A toy scenario whose device file lies in `folder`; `changes` replace top-level fields."""
    path = folder / "toy-device.yaml"
    path.write_text(yaml.safe_dump(device_data or device()), encoding="utf-8")
    data: dict[str, Any] = {
        "name": "toy",
        "title": "Toy scenario",
        "device": str(path),
        "workload": "inception-v4",
        "uplink": "lte-driving",
        "server": "edge-gpu",
        "accuracy": str(accuracy_table(folder, changes.get("workload", "inception-v4"))),
        "compression_levels": len(FEATURE_LEVELS),
        "requests": {"period_ms": 120.0, "deadline_ms": 100.0, "queue_limit_ms": 600.0},
        "episode_requests": 32,
    }
    data.update(changes)
    file = folder / "toy.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return load_scenario(file)
